"""Ctrl-C that is never lost: asked for once, it takes effect at the next recording time."""

import signal
import threading


class Stopped(KeyboardInterrupt):
    """A callback of the user's raised an exception, its cause: the run ends as by Ctrl-C."""


class Interrupts:
    """While entered, the first SIGINT is remembered for `check`; a second one raises at once.

    An exception raised wherever the signal happens to land may be swallowed there (in a callback of the
    garbage collector, say). Outside the main thread, and where the program handles SIGINT in a way of its
    own, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._changed = False

    def __enter__(self) -> "Interrupts":
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._remember)
            self._changed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._changed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _remember(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was asked for."""
        if self.asked:
            raise KeyboardInterrupt
