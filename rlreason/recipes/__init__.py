"""Recipes: the stages of a folder, planned, checked and run one after another."""
