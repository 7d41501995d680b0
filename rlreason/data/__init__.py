"""Data: tasks, chat templates, batches, the shipped task generators."""
