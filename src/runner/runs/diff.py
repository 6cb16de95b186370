"""Everything in which two runs differ: config, code, environment, data, metrics, and the first step that differs."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.errors import CheckpointError, ConfigError
from runner.runs.environment import read_environment
from runner.runs.found import Run, not_a_run, read_config, read_run
from runner.tracking.recorded import read_scalars, same
from runner.tracking.results import as_json

Pair = tuple[Any, Any]  # the values of the two runs; None where a run has none
IGNORED_KEYS = ("name", "output_dir", "dry_run", "sweep.")  # config keys that name a run, or do not concern it
PER_RUN = ("command", "folder", "git.")  # keys of environment.json that differ between equal runs, or are shown as code


@dataclass(frozen=True)
class Difference:
    """The differences of two runs; empty parts are equal.

    Args:
        config: config keys with both values.
        overrides: overrides that only one of the runs has.
        code: the commits, and the difference of the uncommitted changes as a unified diff.
        environment: versions, host, device and so on.
        data: fingerprints of the training splits, from the newest checkpoints.
        metrics: status, and metrics with both values and the second minus the first.
        first: the first logged step at which a scalar differs, with all scalars that differ there; None: there is none.
    """

    config: dict[str, Pair]
    overrides: dict[str, list[str]]
    code: dict[str, Any]
    environment: dict[str, Pair]
    data: dict[str, Pair]
    metrics: dict[str, tuple[Any, Any, float | None]]
    first: dict[str, Any] | None

    @property
    def is_empty(self) -> bool:
        """Whether the runs do not differ."""
        return not any(asdict(self).values())


def diff_runs(left: Path, right: Path) -> Difference:
    """Compare two run folders.

    Raises:
        ConfigError: a folder is not a run folder.
    """
    first, second = open_run(left), open_run(right)
    return Differences(first, second, read_environment(first.folder), read_environment(second.folder)).all()


def open_run(folder: Path) -> Run:
    """Return the run in a folder.

    Raises:
        ConfigError: it is not a run folder.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(not_a_run(folder))
    return read_run(folder.absolute(), str(folder))


@dataclass(frozen=True)
class Differences:
    """Two runs to compare, with the contents of their environment.json as flat values."""

    left: Run
    right: Run
    left_environment: Mapping[str, Any]
    right_environment: Mapping[str, Any]

    def all(self) -> Difference:
        """Return all differences."""
        typed, others = (list(map(str, run.results.get("overrides") or [])) for run in (self.left, self.right))
        only = {"first": [text for text in typed if text not in others]}
        only |= {"second": [text for text in others if text not in typed]}
        return Difference(
            # All keys, also those that only change the last bits, such as device.threads.
            config=pairs(read_config(self.left.folder), read_config(self.right.folder), IGNORED_KEYS),
            overrides=only if any(only.values()) else {},
            code=self.code(),
            environment=pairs(self.left_environment, self.right_environment, PER_RUN),
            data=pairs({"fingerprint": fingerprint(self.left.folder)}, {"fingerprint": fingerprint(self.right.folder)}),
            metrics=self.metrics(),
            first=self.first_step(),
        )

    def code(self) -> dict[str, Any]:
        """Return the commits and the difference of the patches."""
        left, right = self.left_environment, self.right_environment
        commits = pairs({"commit": left.get("git.commit")}, {"commit": right.get("git.commit")})
        first, second = ((each.get("git.diff") or "").splitlines() for each in (left, right))
        patch = list(difflib.unified_diff(first, second, "first", "second", lineterm="", n=1))
        return {**commits, **({"patch": patch} if patch else {})}

    def metrics(self) -> dict[str, tuple[Any, Any, float | None]]:
        """Return the status and the metrics that differ, with the second minus the first."""
        differing = pairs(flat_metrics(self.left.results), flat_metrics(self.right.results))
        return {key: (*both, minus(*both)) for key, both in differing.items()}

    def first_step(self) -> dict[str, Any] | None:
        """Return the first step at which a logged scalar differs, or is missing in one run."""
        left, right = read_scalars(self.left.folder), read_scalars(self.right.folder)
        for step in sorted(left.keys() | right.keys()):
            mine, other = left.get(step, {}), right.get(step, {})
            wrong = {
                tag: (mine.get(tag), other.get(tag))
                for tag in sorted(mine.keys() | other.keys())
                if tag not in mine or tag not in other or not same(mine[tag], other[tag])
            }
            if wrong:
                return {"step": step, "scalars": {tag: (*both, minus(*both)) for tag, both in wrong.items()}}
        return None


def pairs(left: Mapping[str, Any], right: Mapping[str, Any], ignored: tuple[str, ...] = ()) -> dict[str, Pair]:
    """Return the keys whose values differ, with both values."""
    keys = [key for key in dict.fromkeys([*left, *right]) if not key.startswith(ignored)]
    return {key: (left.get(key), right.get(key)) for key in keys if repr(left.get(key)) != repr(right.get(key))}


def fingerprint(folder: Path) -> str | None:
    """Return the fingerprint of the training split in the newest checkpoint; None without a readable one."""
    path = folder / "checkpoints" / "last.pt"
    if not path.exists():
        return None
    from runner.training.saving.checkpoint import load_checkpoint

    try:
        return load_checkpoint(path, "cpu")["data"]
    except CheckpointError:
        return None


def flat_metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status, the best value and the metrics of each split."""
    best = results.get("best") or {}
    found: dict[str, Any] = {"status": results.get("status"), "steps": results.get("step")}
    if best:
        found |= {f"best {best['metric']}": best["value"]}
    parts = {part: results.get(part) or {} for part in ("train", "val", "test")}
    return found | {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}


def minus(left: Any, right: Any) -> float | None:
    """Return the second number minus the first; None if one of them is not a finite number."""
    numbers = [each for each in (left, right) if isinstance(each, int | float) and math.isfinite(each)]
    return None if len(numbers) < 2 else numbers[1] - numbers[0]


def as_text(difference: Difference) -> str:
    """Return the differences as lines of text: the name, the value of the first run, and that of the second."""
    if difference.is_empty:
        return "no difference\n"
    lines = []
    for part in ("config", "environment", "data"):
        lines += [f"{part:<12}{key}: {mine!r} | {other!r}" for key, (mine, other) in getattr(difference, part).items()]
    lines += [f"{'overrides':<12}only {name}: {' '.join(each)}" for name, each in difference.overrides.items() if each]
    if "commit" in difference.code:
        lines.append(f"{'code':<12}commit: {' | '.join(str(each) for each in difference.code['commit'])}")
    lines += [f"{'code':<12}{line}" for line in difference.code.get("patch", [])]
    lines += [f"{'metrics':<12}{line}" for line in with_sign(difference.metrics)]
    if difference.first is not None:
        lines.append(f"first       step {difference.first['step']:,}:")
        lines += [f"{'':<12}{line}" for line in with_sign(difference.first["scalars"])]
    return "\n".join(lines) + "\n"


def with_sign(values: Mapping[str, tuple[Any, Any, float | None]]) -> list[str]:
    """Return a line for each value, with the difference and its sign."""
    lines = []
    for key, (mine, other, change) in values.items():
        shown = " | ".join(f"{each:.6g}" if isinstance(each, float) else str(each) for each in (mine, other))
        lines.append(f"{key}: {shown}" + ("" if change is None else f"  ({change:+.3g})"))
    return lines


def render(difference: Difference, kind: str) -> str:
    """Return the differences as text or as JSON."""
    return as_json(asdict(difference)) if kind == "json" else as_text(difference)
