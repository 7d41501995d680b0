"""Pages that people look at. They read run directories and nothing else."""
