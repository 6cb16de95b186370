"""A comparison as one HTML page: a table that sorts, learning curves, and metrics against parameters. No network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.runs.compare import Comparison

TEMPLATE = Path(__file__).with_name("page.html")
POINTS = 200  # of a curve; longer ones are thinned


def page(comparison: "Comparison") -> str:
    """The whole page, with its data and its script inside."""
    from runner.runs.compare import summary
    from runner.runs.found import curves
    from runner.runs.tables import columns
    from runner.tracking.results import plain

    rows, shown = comparison.rows(), comparison.shown()
    data = {
        "summary": summary(comparison),
        "keys": comparison.keys,
        "rows": rows,
        "columns": columns(shown),
        "metrics": list(dict.fromkeys(name for run in comparison.runs for name in run.metrics)),
        "groups": [
            {**row, "runs": ", ".join(group.names)}
            for row, group in zip(comparison.group_rows(), comparison.groups(), strict=True)
        ],
        "curves": [{name: thin(points) for name, points in curves(run.folder).items()} for run in comparison.runs],
    }
    text = json.dumps(plain(data), allow_nan=False, default=str)
    text = text.replace("<", "\\u003c")  # neither "</script>" nor "<!--<script" in it changes where the script ends
    return TEMPLATE.read_text().replace("/*DATA*/null", text)


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many points, the last one among them."""
    step = -(-len(points) // POINTS)
    return points if step <= 1 else [*points[:-1:step], points[-1]]
