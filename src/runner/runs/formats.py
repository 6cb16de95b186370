"""A comparison as a text table, CSV, Markdown, LaTeX, JSON or an HTML page."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.runs.compare import Comparison
from runner.runs.latex import as_latex
from runner.runs.page import page
from runner.runs.tables import as_csv, fitted_table, markdown_table, text_table, without
from runner.runs.verdict import sentences
from runner.tracking.results import as_json

FORMATS = ("table", "csv", "md", "json", "latex", "html")
MOST_GROUPS = 12  # lines about groups in the verdict of a text table
GROUPS = "Runs that differ only in seed or fold, as mean ± standard deviation:"


def render(comparison: Comparison, kind: str, width: int = 120, target: Path | None = None) -> str:
    """Return a comparison as text.

    Args:
        comparison: runs to show.
        kind: one of `FORMATS`.
        width: maximum number of columns of a text table.
        target: file that a page will be written to, for relative links to pictures; None: unknown.
    """
    if kind == "csv":
        return as_csv(with_verdict(comparison))
    if kind == "latex":
        return as_latex(comparison.verdicts())
    if kind == "json":
        return render_json(comparison)
    if kind == "html":
        return page(comparison, target)
    return render_markdown(comparison) if kind == "md" else render_table(comparison, width)


def render_json(comparison: Comparison) -> str:
    """Return rows and groups as JSON, with all keys in which the runs differ."""
    runs = [{**row, "metrics": run.metrics} for row, run in zip(comparison.complete(), comparison.runs, strict=True)]
    groups = [asdict(group) for group in comparison.groups()]
    found = sentences.all_as_json(comparison.verdicts())
    return as_json({"schema": 1, "keys": comparison.keys, "runs": runs, "groups": groups, **found})


def with_verdict(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the rows, with the verdict about each run's group if there are repeats and no columns were chosen."""
    rows = comparison.complete()
    if comparison.chosen is not None or not comparison.groups():
        return rows
    groups = {name: group for verdict in comparison.verdicts() for group in verdict.groups for name in group.runs}
    kept = ("verdict", "difference", "p")
    return [row | {key: getattr(groups.get(row["run"]), key, None) for key in kept} for row in rows]


def render_markdown(comparison: Comparison) -> str:
    """Return the verdict, a Markdown table of the runs, and one of the groups."""
    parts = [*sentences.as_markdown(comparison.verdicts()), markdown_table(comparison.shown())]
    if groups := comparison.groups():
        names = [", ".join(group.names) for group in groups]
        rows = [{**row, "runs": runs} for row, runs in zip(comparison.group_rows(), names, strict=True)]
        parts += [GROUPS, markdown_table(rows)]
    return "\n\n".join(parts) + "\n"


def render_table(comparison: Comparison, width: int) -> str:
    """Return a table of the runs, a table of the groups followed by the names of their runs, and the verdict."""
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
    text = sentences.as_text(comparison.verdicts(), MOST_GROUPS, "--format md")
    if text:
        lines += ["", *(part for line in text for part in textwrap.wrap(line, width, subsequent_indent="  "))]
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
