"""Numbers in sentences."""


def counted(number: int, what: str) -> str:
    """A number of things: "1 seed", "1,024 seeds"."""
    return f"{number:,} {what}{'s' * (number != 1)}"
