"""`python -m dynamics` is the command `dynamics`."""

from dynamics.cli import entry

if __name__ == "__main__":
    entry()
