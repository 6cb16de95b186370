import math
from dataclasses import replace
from typing import Any

import pytest

from runner.runs.verdict.scores import mode_of
from runs.verdict.entries import run


@pytest.mark.parametrize(
    ("status", "score"),
    [
        ("completed", 0.5),
        ("diverged", math.nan),
        *((status, None) for status in ("stopped early", "failed", "interrupted", "running", "dropped", "waiting")),
    ],
)
def test_only_completed_and_diverged_runs_have_a_score(status: str, score: float | None) -> None:
    assert run(0.5, status).score("val/loss") == pytest.approx(score, nan_ok=True)


def test_score_of_another_metric_is_that_of_its_split() -> None:
    entry = run(0.5, results={"val": {"accuracy": 0.8}, "test": {"accuracy": 0.7, "f1": None}})
    assert entry.score("val/accuracy") == 0.8
    assert entry.score("test/accuracy") == 0.7
    assert math.isnan(entry.score("test/f1") or 0.0)  # JSON has null for NaN
    assert entry.score("test/recall") is None


def test_direction_of_the_own_metric_is_that_of_the_config() -> None:
    config = {"trainer.checkpoint.metric": "val/oddity", "trainer.checkpoint.mode": "min"}
    entry = replace(run(0.5, results={"best": {"metric": "val/oddity", "value": 1.0}}), config=config)
    assert entry.chosen_by == ("val/oddity", "min")
    assert mode_of("test/oddity", [run(0.5), entry]) == "min"


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({"dataset__seed": 3}, True),
        ({"dataset__workers": 2}, True),
        ({"dataset__augment__flip": True}, True),
        ({"dataset__root": "/elsewhere/data"}, True),
        ({"dataset__name": "mnist"}, False),
        ({"dataset__val_share": 0.3}, False),
        ({"dataset__keep": [1, 2]}, False),
        ({"dataset__path": "other.csv"}, False),
        ({"dataset__path": "/elsewhere/table.csv"}, True),
    ],
)
def test_runs_on_the_same_data_have_the_same_identity(keys: dict[str, Any], same: bool) -> None:
    common: dict[str, Any] = {
        "dataset__root": "data",
        "dataset__path": "data/table.csv",
        "dataset__keep": None,
        "dataset__val_share": 0.1,
    }
    assert (run(0.5, **(common | keys)).data() == run(0.5, **common).data()) == same
