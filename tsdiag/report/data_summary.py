"""DataSummary -> words: what was read, and everything that was counted on the way to windows."""

from __future__ import annotations

from tsdiag.data.summary import DataSummary
from tsdiag.escaping import plain
from tsdiag.report.wording import paragraph, percent, plural, table

NAMES_SHOWN = 6


def data_summary_text(summary: DataSummary) -> str:
    """Return the summary for a terminal of 80 columns."""
    parts = [paragraph(_source(summary)), _windows(summary)]
    if summary.filled_cells:
        share = percent(summary.filled_share, 2)
        parts.append(paragraph(f"Filled forward: {summary.filled_cells:,} cells ({share})."))
    parts += [paragraph(f"Note: {plain(note)}") for note in summary.notes]
    return "\n".join(parts)


def _source(summary: DataSummary) -> str:
    when = f", {summary.first} to {summary.last}" if summary.first and summary.last else ""
    season = f", a season of {plural(summary.season, 'row')}" if summary.season else ""
    return (
        f"{plain(summary.source)}: {plural(summary.rows, 'row')} of "
        f"{plural(len(summary.channels), 'channel')}{plain(when)}{season}. "
        f"Target{'s' if len(summary.targets) > 1 else ''}: {_names(summary.targets)}."
    )


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(plain(name) for name in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _windows(summary: DataSummary) -> str:
    """Return the counts per span; ties are targets exactly equal to the last known value."""
    rows = [
        [
            span,
            f"{count:,}",
            f"{summary.dropped_windows.get(span, 0):,}",
            f"{summary.ties.get(span, 0):,}",
        ]
        for span, count in summary.windows.items()
    ]
    return table(["span", "windows", "left out", "ties"], rows)
