"""What is said beside the results, on stderr: that it cannot be said stops nothing."""

import contextlib
import sys
import warnings


def is_watched() -> bool:
    """Whether stderr is a terminal; a stream that cannot say so is none."""
    with contextlib.suppress(Exception):
        return bool(sys.stderr.isatty())
    return False


def tell(text: str) -> None:
    """Write to stderr, if that is there, open, and can spell the text."""
    with contextlib.suppress(Exception):
        sys.stderr.write(text)
        sys.stderr.flush()


def warn(sentence: str, stacklevel: int = 1) -> None:
    """What `warnings.warn` would do in its place.

    Raises: Warning: where the user has made errors of warnings.
    """
    try:
        warnings.warn(sentence, stacklevel=stacklevel + 1)
    except Warning:
        raise
    except Exception:  # whatever shows warnings could not write
        return
