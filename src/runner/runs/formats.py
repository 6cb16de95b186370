"""A comparison as a text table, CSV, Markdown, JSON or an HTML page."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from runner.runs.compare import Comparison
from runner.runs.page import page
from runner.runs.tables import as_csv, fitted_table, markdown_table, text_table, without
from runner.tracking.results import as_json

FORMATS = ("table", "csv", "md", "json", "html")
GROUPS = "Runs that differ only in seed or fold, as mean ± standard deviation:"


def render(comparison: Comparison, kind: str, width: int = 120) -> str:
    """Return a comparison as text.

    Args:
        comparison: runs to show.
        kind: one of `FORMATS`.
        width: maximum number of columns of a text table.
    """
    if kind == "csv":
        return as_csv(comparison.complete())
    if kind == "json":
        return render_json(comparison)
    if kind == "html":
        return page(comparison)
    return render_markdown(comparison) if kind == "md" else render_table(comparison, width)


def render_json(comparison: Comparison) -> str:
    """Return rows and groups as JSON, with all keys in which the runs differ."""
    runs = [{**row, "metrics": run.metrics} for row, run in zip(comparison.complete(), comparison.runs, strict=True)]
    groups = [asdict(group) for group in comparison.groups()]
    return as_json({"schema": 1, "keys": comparison.keys, "runs": runs, "groups": groups})


def render_markdown(comparison: Comparison) -> str:
    """Return a Markdown table of the runs, and one of the groups."""
    parts = [markdown_table(comparison.shown())]
    if groups := comparison.groups():
        names = [", ".join(group.names) for group in groups]
        rows = [{**row, "runs": runs} for row, runs in zip(comparison.group_rows(), names, strict=True)]
        parts += [GROUPS, markdown_table(rows)]
    return "\n\n".join(parts) + "\n"


def render_table(comparison: Comparison, width: int) -> str:
    """Return a table of the runs, and a table of the groups followed by the names of their runs."""
    if comparison.chosen is not None:
        return "\n".join(text_table(comparison.shown())) + "\n"
    lines, left_out = fitted_table(comparison.shown(), width)
    if left_out and all(run.status == "completed" for run in comparison.runs):
        lines, left_out = fitted_table([without(row, "status") for row in comparison.shown()], width)
    if groups := comparison.groups():
        rows = [{"group": number, **row} for number, row in enumerate(comparison.group_rows(), start=1)]
        table, more = fitted_table(rows, width)
        lines += ["", *textwrap.wrap(GROUPS, width), *table, ""]
        for number, group in enumerate(groups, start=1):
            lines += textwrap.wrap(f"{number}: {', '.join(group.names)}", width, subsequent_indent="   ")
        left_out = list(dict.fromkeys([*left_out, *more]))
    if left_out:
        note = f"{len(left_out)} columns left out, to choose: --columns KEY,... ("
        lines += ["", note + cut_list(left_out, width - len(note) - 1) + ")"]
    return "\n".join(lines) + "\n"


def cut_list(names: Sequence[str], width: int) -> str:
    """Return as many of the first names as fit a width, separated by commas."""
    for count in range(len(names), 0, -1):
        text = ", ".join(names[:count]) + (", ..." if count < len(names) else "")
        if len(text) <= width:
            return text
    return "..."
