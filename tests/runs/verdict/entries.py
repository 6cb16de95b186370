"""Runs to compare, made up for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from runner.runs.verdict.scores import Entry

GOOD, MIDDLE, BAD = [0.05, 0.04, 0.06, 0.04, 0.05], [0.06, 0.04, 0.07, 0.05, 0.07], [0.10, 0.07, 0.09, 0.08, 0.10]
FOLDS: dict[str, Any] = {"dataset__folds": 5}
CONFIG: dict[str, Any] = {
    "seed": 0,
    "dataset.name": "digits",
    "dataset.seed": 0,
    "dataset.folds": None,
    "dataset.fold": None,
    "trainer.checkpoint.metric": "val/loss",
    "trainer.checkpoint.mode": "min",
}


def run(best: float | None, status: str = "completed", results: Mapping[str, Any] | None = None, **keys: Any) -> Entry:
    """Return a run with the given best val/loss; in the names of keys, `__` stands for a dot."""
    dotted = {key.replace("__", "."): value for key, value in keys.items()}
    own = {key: value for key, value in dotted.items() if not key.startswith("dataset.folds")}
    values = {"best": {"metric": "val/loss", "value": best}, **(results or {})}
    return Entry(",".join(f"{key}={value}" for key, value in own.items()), own, CONFIG | dotted, status, values)


def group(losses: Sequence[float], **keys: Any) -> list[Entry]:
    """Return runs with seeds 0, 1, ... and the given best val/loss."""
    return [run(loss, seed=seed, **keys) for seed, loss in enumerate(losses)]
