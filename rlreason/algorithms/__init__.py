"""Algorithms: pure functions on numbers and tensors; no configuration object, no I/O."""
