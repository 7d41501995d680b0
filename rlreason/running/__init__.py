"""What every stage runs in: its job, checkpoints, console, interrupts, lineage."""
