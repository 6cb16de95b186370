"""results.json: what a run is and what came of it, true at every moment."""

import json
import logging
import math
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runner.machine.files import write_atomically

if TYPE_CHECKING:  # who only reads results needs no torch
    from runner.training.metrics import Task
    from runner.training.parts import Parts
    from runner.training.state import TrainState

Status = Literal["running", "completed", "stopped early", "failed", "diverged", "interrupted"]
DONE = ("completed", "stopped early")
ENDED = (*DONE, "failed", "diverged")  # nothing is left to do, unless it is asked for
FILE = "results.json"
log = logging.getLogger("runner")


class Results:
    """The contents of results.json; every change rewrites the file whole.

    Args:
        folder: the run folder.
        values: what the file holds.
    """

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.path, self.values = folder / FILE, values
        self.spent = values["seconds"]["total"]  # seconds, before this was opened
        self._opened = time.monotonic()
        self._works = True

    @classmethod
    def open(cls, folder: Path, name: str, seed: int, overrides: list[str]) -> "Results":
        """Those in the folder; where there are none, or a damaged file, those of a run that begins now."""
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
        }
        return cls(folder, values | read_results(folder) | {"overrides": overrides})

    def update(self, **changes: Any) -> None:
        """Changes values and writes the file. When the disk refuses it warns once, and the run goes on."""
        total = round(self.spent + time.monotonic() - self._opened, 3)
        self.values |= changes
        self.values["seconds"] = self.values["seconds"] | {"total": total}
        try:
            write_atomically(self.path, as_json(self.values))
        except OSError as error:
            if self._works:
                log.warning("%s: cannot be written: %s; the run goes on", self.path, error)
            self._works = False

    def end(self, status: Status, **changes: Any) -> None:
        """What came of the run, in one write: whoever reads that it has ended reads all of it."""
        self.update(status=status, finished=now(), **changes)

    def progress(self, state: "TrainState", parts: "Parts") -> None:
        """How far the training has come."""
        full = parts.train.size * parts.config.trainer.accumulate
        samples = state.epoch * parts.train.samples + min(state.position * full, parts.train.samples)
        best = state.best
        self.update(
            epoch=state.epoch,
            step=state.step,
            train=state.train,
            val=state.val,
            best=None
            if best.value is None
            else {
                "metric": best.metric,
                "value": best.value,
                "epoch": best.epoch,
                "step": best.step,
                "checkpoint": "checkpoints/best.pt",
            },
            seconds=self.values["seconds"] | {"train": round(state.seconds, 3), "data": round(state.data_seconds, 3)},
            samples_per_second=round(samples / state.seconds, 1) if state.seconds else None,
        )


def status_of(folder: Path) -> Status | None:
    """The status that a run folder's results.json states; None when it states none."""
    return read_results(folder).get("status")


def read_results(folder: Path) -> dict[str, Any]:
    """What a run folder's results.json states; nothing where there is none, or a damaged one."""
    try:
        values = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and _is_sound(values) else {}


def _is_sound(values: dict[str, Any]) -> bool:
    """Return whether the values that are there have the types that `Results` writes, so that readers need not ask."""
    numbers = [values.get(key, {}) for key in ("train", "val", "test")]
    best, error, seconds = values.get("best"), values.get("error"), values.get("seconds", {"total": 0.0})
    return (
        isinstance(values.get("status", ""), str)
        and all(isinstance(part, dict) and all(map(_is_number, part.values())) for part in numbers)
        and (best is None or (_holds(best, "metric", "value") and _is_number(best["value"])))
        and (error is None or _holds(error, "type", "message"))
        and _holds(seconds, "total")
        and isinstance(seconds["total"], int | float)
    )


def _holds(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and value.keys() >= set(keys)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def as_json(values: Any) -> str:
    """Return the text of a JSON file."""
    return json.dumps(plain(values), indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return the value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def judge_fit(task: "Task", train: dict[str, float], val: dict[str, float]) -> str:
    """Tells underfitting from overfitting by the share of right answers (accuracy), or of variance explained (r2).

    Below 0.75 in training is underfitting; more than 0.1 less in validation than in training is overfitting.
    """
    score = "accuracy" if task == "classification" else "r2"
    if not all(math.isfinite(part.get(score, math.nan)) for part in (train, val)):
        return "unknown"
    if train[score] < 0.75:
        return "underfitting"
    return "overfitting" if train[score] - val[score] > 0.1 else "good fit"
