"""A package, so that what its files share ends with the folder and not with the run of pytest."""
