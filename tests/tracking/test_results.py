import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.tracking.results import Results, judge_fit, status_of
from runner.training.state import Best


def opened(folder: Path) -> Results:
    return Results.open(folder, name="first", seed=3, overrides=["optim.lr=0.1"])


def strictly_read(folder: Path) -> dict[str, Any]:
    """Read results.json as strict JSON, without NaN and infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    values: dict[str, Any] = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    return values


def test_new_run_has_every_key(tmp_path: Path) -> None:
    opened(tmp_path).update()
    values = strictly_read(tmp_path)
    assert list(values) == [
        *("schema", "name", "status", "error", "overrides", "seed", "epoch", "step", "train", "val", "test", "best"),
        *("fit", "parameters", "seconds", "samples_per_second", "started", "finished", "resumed", "changed"),
    ]
    assert (values["schema"], values["status"], values["fit"]) == (1, "running", "unknown")
    assert (values["name"], values["seed"], values["overrides"]) == ("first", 3, ["optim.lr=0.1"])


def test_opening_writes_nothing(tmp_path: Path) -> None:
    opened(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_update_rewrites_the_whole_file(tmp_path: Path) -> None:
    results = opened(tmp_path)
    results.update(status="failed", error={"type": "ValueError", "message": "größer"})
    results.update(step=5)
    values = strictly_read(tmp_path)
    assert (values["status"], values["step"], values["error"]["message"]) == ("failed", 5, "größer")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_progress_is_written_unless_only_the_times_have_changed(tmp_path: Path) -> None:
    train = SimpleNamespace(size=10, samples=100)
    parts: Any = SimpleNamespace(train=train, config=SimpleNamespace(trainer=SimpleNamespace(accumulate=1)))
    best = Best("val/loss", "min")
    state: Any = SimpleNamespace(epoch=1, step=10, position=0, train={"loss": 0.5}, val={}, best=best)
    state.seconds, state.data_seconds = 2.0, 0.25
    results = opened(tmp_path)
    results.progress(state, parts)
    first = (tmp_path / "results.json").read_bytes()
    assert strictly_read(tmp_path)["samples_per_second"] == 50
    state.seconds = 4.0
    results.progress(state, parts)
    assert (tmp_path / "results.json").read_bytes() == first
    results.update()
    assert strictly_read(tmp_path)["seconds"] | {"total": 0} == {"total": 0, "train": 4.0, "data": 0.25}
    state.train["loss"] = 0.25
    results.progress(state, parts)
    assert strictly_read(tmp_path)["train"] == {"loss": 0.25}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_written_as_null(tmp_path: Path, value: float) -> None:
    opened(tmp_path).update(samples_per_second=value, test={"loss": value, "accuracy": 0.5}, overrides=[value, 1.5])
    values = strictly_read(tmp_path)
    assert values["samples_per_second"] is None
    assert values["test"] == {"loss": None, "accuracy": 0.5}
    assert values["overrides"] == [None, 1.5]


def test_reopened_results_take_the_new_overrides(tmp_path: Path) -> None:
    opened(tmp_path).update(step=5, started="before", test={"loss": 0.1})
    again = Results.open(tmp_path, name="first", seed=3, overrides=["optim.lr=0.1", "trainer.epochs=9"]).values
    assert (again["step"], again["started"], again["test"]) == (5, "before", {"loss": 0.1})
    assert again["overrides"] == ["optim.lr=0.1", "trainer.epochs=9"]


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b'{"status": "comp', b"[1, 2]", b"null", b"\xff\xfe\x00", b'{"status": 3}', b'{"best": {"value": 1}}'),
        *(b'{"best": []}', b'{"test": []}', b'{"val": {"loss": "x"}}', b'{"error": {"type": "E"}}', b'{"seconds": {}}'),
        *(b'{"status": "failed", "resumed": null}', b'{"status": "failed", "step": "3"}'),
        *(b'{"status": "failed", "changed": null}', b'{"status": "failed", "changed": ["3"]}'),
        *(b'{"seconds": {"total": null}}', b'{"best": {"metric": "loss", "value": "0"}}'),
    ],
)
def test_damaged_file_is_ignored(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "results.json").write_bytes(damage)
    assert opened(tmp_path).values["status"] == "running"
    assert status_of(tmp_path) is None


def test_status_of_returns_the_recorded_status(tmp_path: Path) -> None:
    assert status_of(tmp_path) is None
    opened(tmp_path).update(status="diverged")
    assert status_of(tmp_path) == "diverged"


@pytest.mark.parametrize(
    ("score", "train", "val", "fit"),
    [
        ("accuracy", 0.74, 0.74, "underfitting"),
        ("accuracy", 0.74, 0.10, "underfitting"),
        ("accuracy", 0.75, 0.75, "good fit"),
        ("accuracy", 0.95, 0.86, "good fit"),
        ("accuracy", 0.95, 0.84, "overfitting"),
        ("accuracy", 0.80, 0.95, "good fit"),
        ("accuracy", math.nan, 0.9, "unknown"),
        ("r2", 0.9, math.nan, "unknown"),
        ("r2", -3.0, -3.0, "underfitting"),
        ("r2", 0.99, 0.5, "overfitting"),
        ("r2", 0.99, 0.95, "good fit"),
    ],
)
def test_fit_depends_on_training_score_and_its_gap_to_validation(
    score: str, train: float, val: float, fit: str
) -> None:
    assert judge_fit(score, {"loss": 1.0, score: train}, {"loss": 1.0, score: val}) == fit


@pytest.mark.parametrize(("train", "val"), [({}, {}), ({"accuracy": 0.9}, {}), ({}, {"accuracy": 0.9})])
def test_fit_without_a_score_is_unknown(train: dict[str, float], val: dict[str, float]) -> None:
    assert judge_fit("accuracy", train, val) == "unknown"
