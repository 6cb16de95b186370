"""The data of the comparison page."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.runs.compare import Comparison
from runner.runs.found import Run
from runner.runs.page.datasets import Datasets, verdicts
from runner.runs.page.details import Pictures, failure, log_end
from runner.runs.tables import REPEATS
from runner.tracking.metrics_csv import Curves, read_curves
from runner.tracking.results import DONE, plain

LONGEST = 200  # points of a curve
MOST = 400_000  # points of all curves together, so that the page stays small
FEWEST = 25  # points of a curve, however many there are


def contents(comparison: Comparison, target: Path | None, follow: float | None) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        comparison: runs to show.
        target: file that the page will be written to; None: unknown.
        follow: seconds after which the page reloads itself; None: never.
    """
    runs = comparison.runs
    metrics = list(comparison.metrics)
    found = [read_curves(run.folder) for run in runs]
    names = list(dict.fromkeys(name for curves in found for name in curves.metrics))
    longest = max(FEWEST, min(LONGEST, MOST // max(1, len(runs) * len(names))))
    pictures, datasets = Pictures(target), Datasets(runs)
    values = {
        "written": datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        "follow": follow,
        "runs": [
            {**describe(run, pictures), "dataset": dataset}
            for run, dataset in zip(runs, datasets.labels(), strict=True)
        ],
        "metrics": metrics,
        "higher": [name for name, more_is_better in comparison.metrics.items() if more_is_better],
        "keys": comparison.keys,
        "main": comparison.main_keys,
        "chosen": comparison.chosen,
        "repeats": REPEATS,
        "done": DONE,
        "values": columns(comparison, metrics),
        "verdicts": verdicts(comparison, datasets),
        "curveMetrics": names,
    }
    return {**plain(values), "curves": [thin_curves(curves, longest) for curves in found]}


def columns(comparison: Comparison, metrics: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of all runs in each column; a key that a run does not have is None."""
    runs = comparison.runs
    keys = dict.fromkeys([*comparison.keys, *(key for key in comparison.chosen or () if key not in metrics)])
    return {
        **{name: [run.metrics.get(name) for run in runs] for name in metrics},
        **{key: [run.config.get(key) for run in runs] for key in keys},
        "seconds": [run.results.get("seconds", {}).get("total") for run in runs],
        "parameters": [run.results.get("parameters") for run in runs],
    }


def describe(run: Run, pictures: Pictures) -> dict[str, Any]:
    """Return what the page shows of a run besides its values."""
    ended = run.status in (*DONE, "running")
    return {
        "name": run.name,
        "status": run.status,
        "folder": str(run.folder),
        "pictures": pictures.of(run.folder),
        "error": failure(run),
        "log": None if ended else log_end(run.folder),
    }


def thin_curves(curves: Curves, longest: int) -> dict[str, Any]:
    """Return curves of about `longest` points at most."""
    step = max(1, -(-len(curves.axes["epoch"]) // longest))
    return {
        "x": {name: thin(values, step) for name, values in curves.axes.items()},
        "y": {name: thin(values, step) for name, values in curves.metrics.items()},
    }


def thin(values: Sequence[float | None], step: int) -> list[float | None]:
    """Return every `step`-th value and the last one, with six significant digits, which keeps the page small."""
    kept = values if step == 1 else [*values[:-1:step], *values[-1:]]
    return [value if value is None else float(f"{value:.6g}") for value in kept]
