"""Numbers in sentences, and in options."""


def counted(number: int, what: str) -> str:
    """A number of things: "1 seed", "1,024 seeds"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def whole(name: str, text: str, low: int, high: int) -> int:
    """An integer from `low` to `high`.

    Raises: ValueError: anything else.
    """
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {text!r}")
    return number
