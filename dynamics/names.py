"""Names in results: what a variable or a dimension of a file may be called."""

from typing import Any

LONGEST = 200


def check(name: Any, what: str) -> None:
    """Refuse a name that a result's file cannot hold; `what` begins the sentence.

    Raises: TypeError: no text. ValueError: text that cannot be a name.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be called by text, got {name!r}")
    if not name or name != name.strip() or "/" in name or name == "." or not name.isprintable():
        raise ValueError(
            f"{what} cannot be called {name!r}: names in a result's file are not empty, and have no '/', "
            "no control characters and no space at either end"
        )
    if len(name) > LONGEST:
        raise ValueError(f"{what} must be called by at most {LONGEST} characters, got {len(name)}")
