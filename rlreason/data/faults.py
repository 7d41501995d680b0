"""What a library may raise over one strange page, record or template; its own errors stand beside."""

FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Their subclasses too: RecursionError, UnicodeError. Not OSError: a disk that fails is no fault of the page."""
