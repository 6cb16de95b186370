"""results.json: the status and results of a run, up to date at any time."""

import json
import logging
import math
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runner.machine.files import write_atomically

if TYPE_CHECKING:  # reading results does not import torch
    from runner.training.parts import Parts
    from runner.training.state import TrainState

Status = Literal["running", "completed", "stopped early", "failed", "diverged", "interrupted", "dropped"]
DONE = ("completed", "stopped early")
DROPPED: Status = "dropped"  # a race did not need the run
ENDED = (*DONE, "failed", "diverged", DROPPED)  # a resume skips these by default
FILE = "results.json"
log = logging.getLogger("runner")


class Results:
    """The contents of results.json; every change rewrites the file atomically.

    Args:
        folder: run folder.
        values: contents of the file.
    """

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.path, self.values = folder / FILE, values
        self.spent = values["seconds"]["total"]  # seconds that earlier processes of the run have taken
        self._opened = time.monotonic()
        self._works = True

    @classmethod
    def open(cls, folder: Path, name: str, seed: int, overrides: list[str]) -> "Results":
        """Return the results in a folder, or those of a new run if there are none or the file is damaged.

        Args:
            folder: run folder.
            name: name of the run.
            seed: seed of the run.
            overrides: overrides of the run; they replace those in the file.
        """
        values: dict[str, Any] = {
            "schema": 1,
            "name": name,
            "status": "running",
            "error": None,
            "overrides": overrides,
            "seed": seed,
            "epoch": 0,
            "step": 0,
            "train": {},
            "val": {},
            "test": {},
            "best": None,
            "fit": "unknown",
            "parameters": None,
            "seconds": {"total": 0.0, "train": 0.0, "data": 0.0},
            "samples_per_second": None,
            "started": now(),
            "finished": None,
            "resumed": 0,
            "changed": [],
        }
        return cls(folder, values | read_results(folder) | {"overrides": overrides})

    def update(self, **changes: Any) -> None:
        """Change values and write the file. If it cannot be written, warn once; the run continues."""
        total = round(self.spent + time.monotonic() - self._opened, 3)
        self.values |= changes
        self.values["seconds"] = self.values["seconds"] | {"total": total}
        try:
            write_atomically(self.path, as_json(self.values))
        except OSError as error:
            if self._works:
                log.warning("%s: cannot be written: %s; the run continues", self.path, error)
            self._works = False

    def end(self, status: Status, **changes: Any) -> None:
        """Record the outcome in a single write, so that no reader sees only a part of it."""
        self.update(status=status, finished=now(), **changes)

    def progress(self, state: "TrainState", parts: "Parts") -> None:
        """Record how far training has come. If only the times have changed, the next `update` writes them."""
        full = parts.train.size * parts.config.trainer.accumulate
        samples = state.epoch * parts.train.samples + min(state.position * full, parts.train.samples)
        best = state.best
        changes = {
            "epoch": state.epoch,
            "step": state.step,
            "train": dict(state.train),
            "val": dict(state.val),
            "best": None
            if best.value is None
            else {
                "metric": best.metric,
                "value": best.value,
                "epoch": best.epoch,
                "step": best.step,
                "checkpoint": "checkpoints/best.pt",
            },
        }
        seconds = {"train": round(state.seconds, 3), "data": round(state.data_seconds, 3)}
        has_changed = any(self.values[key] != value for key, value in changes.items())
        self.values["seconds"] = self.values["seconds"] | seconds
        self.values["samples_per_second"] = round(samples / state.seconds, 1) if state.seconds else None
        if has_changed:
            self.update(**changes)


def outcome(values: Mapping[str, Any], folder: Path, exit_code: int) -> dict[str, Any]:
    """Return how a run has ended, for programs.

    Args:
        values: contents of results.json.
        folder: run folder.
        exit_code: exit code of the run.
    """
    return {"folder": str(folder), "status": values["status"], "exit_code": exit_code, "results": values}


def status_of(folder: Path) -> Status | None:
    """Return the status in a run folder's results.json, or None if there is none."""
    return read_results(folder).get("status")


def read_results(folder: Path) -> dict[str, Any]:
    """Return the contents of a run folder's results.json, or {} if it is missing or damaged."""
    try:
        values = json.loads((folder / FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) and _is_sound(values) else {}


def _is_sound(values: dict[str, Any]) -> bool:
    """Return whether the values have the types that `Results` writes, so that readers need no checks."""
    numbers = [values.get(key, {}) for key in ("train", "val", "test")]
    counts = [values.get(key, 0) for key in ("epoch", "step", "resumed")]
    best, error, seconds = values.get("best"), values.get("error"), values.get("seconds", {"total": 0.0})
    return (
        isinstance(values.get("status", ""), str)
        and all(isinstance(count, int) for count in [*counts, *_as_list(values.get("changed", []))])
        and all(isinstance(part, dict) and all(map(_is_number, part.values())) for part in numbers)
        and (best is None or (_holds(best, "metric", "value") and _is_number(best["value"])))
        and (error is None or _holds(error, "type", "message"))
        and _holds(seconds, "total")
        and isinstance(seconds["total"], int | float)
    )


def _holds(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and value.keys() >= set(keys)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def now() -> str:
    """Return the local time with its offset, in ISO 8601."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def as_json(values: Any) -> str:
    """Return values as indented JSON, with null for NaN and infinity."""
    return json.dumps(plain(values), indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Replace NaN and infinity by None at any depth, as JSON cannot represent them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def judge_fit(score: str | None, train: dict[str, float], val: dict[str, float]) -> str:
    """Return "underfitting", "overfitting", "good fit" or "unknown".

    A training score below 0.75 is underfitting; a validation score more than 0.1 below the training score is
    overfitting.

    Args:
        score: metric to judge by, such as accuracy for classification and r2 for regression; None: unknown.
        train: metrics of the last epoch.
        val: metrics of the last validation.
    """
    if score is None or not all(math.isfinite(part.get(score, math.nan)) for part in (train, val)):
        return "unknown"
    if train[score] < 0.75:
        return "underfitting"
    return "overfitting" if train[score] - val[score] > 0.1 else "good fit"
