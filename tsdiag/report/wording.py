"""Numbers, names and tables as words for a terminal of 80 columns."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size  # a Chinese character is two columns wide

# Reports have them from here, with the other ways of wording.
from tsdiag.escaping import plain

WIDTH = 80
# An interval stands on one line; textwrap breaks no line at a space of this kind.
_INTERVAL = re.compile(r"\[[-+\d.]+, [-+\d.]+\]")
_FIXED = "\u00a0"


def decimals_for(difference: float) -> int:
    """Return how many decimals show two digits of a difference: at least 3, at most 7."""
    if not math.isfinite(difference) or difference == 0:
        return 3
    return min(7, max(3, 1 - math.floor(math.log10(abs(difference)))))


def number(value: float | None, decimals: int = 3, *, signed: bool = False) -> str:
    """Return a number, or "-" for one that there is not; large ones without idle decimals."""
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) >= 1e5:
        return f"{value:{'+' if signed else ''}.3g}"
    if abs(value) >= 100:
        decimals = min(decimals, 1)
    # adding 0.0 turns the -0.0 of a rounded small number into 0.0
    return f"{round(value, decimals) + 0.0:{'+' if signed else ''}.{decimals}f}"


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share as a percentage, or "-"."""
    return "-" if share is None else f"{100 * share:.{decimals}f} %"


def size(count: int | None) -> str:
    """Return a number of parameters in three digits: 812, 22.1 k, 3.35 M."""
    if count is None:
        return "-"
    for least, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * least:
            short = count / least
            return f"{short:.{max(0, 2 - math.floor(math.log10(max(short, 1))))}f} {unit}"
    return str(count)


def duration(seconds: float) -> str:
    """Return a time in its two largest units: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(seconds: float) -> str:
    """Return a time for a narrow column: 1:15 is a minute and a quarter, 2:10:00 are hours."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Return "1 seed", "5 seeds"; thousands are set apart."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def listing(items: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def paragraph(text: str, indent: str = "") -> str:
    """Fold a text at the terminal's width, but not within an interval."""
    kept = _INTERVAL.sub(lambda found: found[0].replace(" ", _FIXED), text)
    folded = textwrap.fill(
        kept, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return folded.replace(_FIXED, " ")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table as text; the first ``words`` columns are words, the others numbers.

    Where it would be wider than the terminal, the first column is cut.
    """
    grid = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*grid, strict=True)]
    widths[0] = max(6, min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    lines = [
        "  ".join(
            _cell(cell, width, position < words)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in grid
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(text: str, width: int, words: bool) -> str:
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    space = " " * (width - cell_len(text))
    return text + space if words else space + text


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
