"""Stages: jobs. Configuration in, an artifact directory out."""
