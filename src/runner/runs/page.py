"""A comparison as a self-contained HTML page: a sortable table, learning curves, metrics against config values."""

import json
from pathlib import Path

from runner.runs.compare import Comparison
from runner.runs.tables import columns
from runner.tracking.metrics_csv import read_curves
from runner.tracking.results import plain

TEMPLATE = Path(__file__).with_name("page.html")
POINTS = 200  # about the maximum number of points of a curve


def page(comparison: Comparison) -> str:
    """Return the page as HTML, including its data and its script."""
    data = {
        "summary": summary(comparison),
        "keys": comparison.keys,
        "rows": comparison.rows(),
        "columns": columns(comparison.shown()),
        "metrics": list(dict.fromkeys(name for run in comparison.runs for name in run.metrics)),
        "groups": [
            {**row, "runs": ", ".join(group.names)}
            for row, group in zip(comparison.group_rows(), comparison.groups(), strict=True)
        ],
        "curves": [{name: thin(points) for name, points in read_curves(run.folder).items()} for run in comparison.runs],
    }
    text = json.dumps(plain(data), allow_nan=False, default=str)
    text = text.replace("<", "\\u003c")  # so that "</script>" or "<!--" in the data cannot end the script
    return TEMPLATE.read_text().replace("/*DATA*/null", text)


def summary(comparison: Comparison) -> str:
    """Return the number of runs with each status, in words."""
    found = [run.status for run in comparison.runs]
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(sorted(found)))


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most `POINTS` evenly spaced points and the last one."""
    step = -(-len(points) // POINTS)
    return points if step <= 1 else [*points[:-1:step], points[-1]]
