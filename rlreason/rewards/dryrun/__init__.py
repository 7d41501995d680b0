"""Tries a reward before a run depends on it."""
