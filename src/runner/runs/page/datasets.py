"""The datasets of the compared runs, which the page shows apart, and the verdicts about them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runner.runs.compare import Comparison
from runner.runs.found import Run, differing
from runner.runs.tables import show
from runner.runs.verdict import sentences
from runner.runs.verdict.groups import Verdict
from runner.runs.verdict.scores import Entry

UNKNOWN = "no dataset"  # of a run whose config cannot be read
Data = Mapping[str, Any]  # config values that identify the data of a run


class Datasets:
    """The names of the datasets of runs; if two datasets have the same name, with the values in which they differ.

    Args:
        runs: runs to show.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.of_runs = [data_of(run) for run in runs]
        distinct = list({_key(data): data for data in self.of_runs if data}.values())
        self.names = {_key(data): _name(data, distinct) for data in distinct}

    def labels(self) -> list[str]:
        """Return the name of the dataset of each run."""
        return [self.name(data) for data in self.of_runs]

    def name(self, data: Data) -> str:
        """Return the name of a dataset."""
        return self.names.get(_key(data), UNKNOWN)


def data_of(run: Run) -> Data:
    """Return the config values that identify the data of a run."""
    return Entry(run.name, {}, run.config, run.status, run.results).data()


def _key(data: Data) -> str:
    return json.dumps(data, sort_keys=True, default=str)


def _name(data: Data, distinct: Sequence[Data]) -> str:
    name = str(data.get("dataset.name", UNKNOWN))
    same = [each for each in distinct if each.get("dataset.name") == data.get("dataset.name")]
    values = [f"{key.removeprefix('dataset.')}={_text(data[key])}" for key in differing(same) if key in data]
    return " ".join([name, *values]) if len(same) > 1 else name


def _text(value: Any) -> str:
    return "null" if value is None else show(value)


def verdicts(comparison: Comparison, datasets: Datasets) -> list[dict[str, Any]]:
    """Return each verdict that compares something, with its dataset, and sentences about the best group and limits."""
    return [describe(verdict, datasets) for verdict in sentences.compared(comparison.verdicts())]


def describe(verdict: Verdict, datasets: Datasets) -> dict[str, Any]:
    """Return a verdict for the page."""
    best = next((group for group in verdict.groups if group.verdict == "best"), None)
    return {
        **sentences.as_json(verdict),
        "dataset": datasets.name(verdict.data),
        "best": None if best is None else sentences.about(best, verdict),
        "notes": sentences.notes(verdict),
    }
