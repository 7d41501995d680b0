"""Pages served by this machine, to this machine unless told otherwise, and only with a token."""
