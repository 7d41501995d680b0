"""Configuration: strict schema and its loader."""
