"""Words and formulas of claims as HTML, for notebooks and reports."""

import html
from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Text as HTML; `$` is no sign of a formula to what typesets notebooks."""
    return html.escape(text).replace("$", "<span>$</span>")


def inline(formula: str) -> str:
    """A formula between `$`, as notebooks typeset it; "": nothing."""
    return f"${html.escape(formula)}$" if formula else ""


def mathml(formula: str) -> str:
    r"""A LaTeX formula as MathML, which browsers show by themselves; "": nothing.

    Raises: ValueError: a formula that cannot be read, or has words with `<`, `>` or `&` in it.
    """
    from latex2mathml.converter import convert

    if "&" in formula:  # the converter would let it through, in words, as HTML; so too < and >
        raise ValueError(f"the formula {formula!r} must be without &")
    try:
        found = convert(formula.replace("<", r"\lt ").replace(">", r"\gt ")) if formula else ""
    except Exception as error:  # of many classes, without a common one
        raise ValueError(f"the formula {formula!r} is no LaTeX: {type(error).__name__}") from None
    if "\\" in found:
        raise ValueError(f"the formula {formula!r} has a command that is not known as LaTeX")
    return found


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells, which are HTML, as a table whose text stands on the left."""

    def row(cells, tag):
        return "<tr>" + "".join(f'<{tag} style="text-align: left">{c}</{tag}>' for c in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"
