"""Shipped generators: rows for tasks, conversations and web pages, all functions of a seed."""
