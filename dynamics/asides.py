"""What is said beside the results, on stderr: that it cannot be said stops nothing."""

import contextlib
import sys
import warnings


def place() -> str:
    """Where what is said is read: "terminal", "notebook" or "pipe" (also a stream that cannot say so)."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if type(shell).__name__ == "ZMQInteractiveShell":
        return "notebook"
    with contextlib.suppress(Exception):
        return "terminal" if sys.stderr.isatty() else "pipe"
    return "pipe"


class Line:
    """A line that is written over, in a terminal or in a notebook; in a pipe, lines below each other."""

    def __init__(self, where: str):
        self._where, self._shown = where, None

    def show(self, text: str) -> None:
        """Write the text in the place of the one before."""
        if self._where == "notebook":
            with contextlib.suppress(Exception):
                self._in_notebook(text)
        else:
            tell(f"\r\x1b[2K{text}" if self._where == "terminal" else f"{text}\n")
            self._shown = text

    def clear(self) -> None:
        """Take the line away, where that can be."""
        if self._shown is not None and self._where != "pipe":
            self.show("")
            self._shown = None

    def _in_notebook(self, text):
        from IPython.display import Pretty, display

        if self._shown is None:
            self._shown = display(Pretty(text), display_id=True)
        else:
            self._shown.update(Pretty(text))


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
