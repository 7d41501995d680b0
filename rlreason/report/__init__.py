"""The report page of a run: reads only the files of its run directory."""
