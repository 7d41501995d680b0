"""What every reward runs in: loading of functions, deadlines, combining verdicts."""
