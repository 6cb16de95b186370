"""Helpers that start the program and read the files of a run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from runner.dataset import Samples, Spec
from runner.registry import METRICS, TASKS
from runner.tracking.recorded import event_files
from runner.training.measuring.metric_set import MetricSet
from runner.training.measuring.shard_metrics import ShardMetrics


def results(folder: Path) -> dict[str, Any]:
    """Return the contents of results.json."""
    values: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return values


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the program in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process, check its exit code and return its output; kill it if it takes five minutes."""
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    assert process.returncode == code, output
    return output


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait until a condition holds, for at most a minute."""
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.02)


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor; those of bfloat16 cannot be read with NumPy."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)


def totals(shard: ShardMetrics) -> list[float]:
    """Return the sum of the losses, of the weights, and of each metric's terms."""
    return shard.with_counts(shard.device_sums().tolist())


def equal(left: Any, right: Any) -> bool:
    """Return whether two values from checkpoints, which may be nested, are equal bit for bit."""
    if isinstance(left, torch.Tensor):
        same_kind = isinstance(right, torch.Tensor) and left.dtype == right.dtype and left.shape == right.shape
        return same_kind and torch.equal(as_bytes(left), as_bytes(right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


NOT_COMPARED = (
    "seconds",
    "epoch_seconds",
    "data_seconds",
    "files",
    "config",
    "samples",
)  # which only runs in memory have


def checkpoint(folder: Path, name: str = "last.pt") -> dict[str, Any]:
    """Return a checkpoint without the config and the entries that depend on the clock."""
    contents = torch.load(folder / "checkpoints" / name, weights_only=True)
    return {key: value for key, value in contents.items() if key not in NOT_COMPARED}


def metrics_table(folder: Path) -> list[str]:
    """Return the lines of metrics.csv without the last column, which holds the seconds."""
    return [line.rsplit(",", 1)[0] for line in (folder / "metrics.csv").read_text().splitlines()]


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Return all scalars of all event files as (tag, step, value), in the order in which they were written."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = []
    written = sorted(event_files(folder), key=lambda path: int(path.name.rsplit(".", 1)[1]))
    for path in sorted(written, key=lambda path: path.name.split(".")[3]):  # by second, then by number in the process
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.append((value.tag, event.step, value.tensor.float_val[0]))
    return found


def idx(values: torch.Tensor) -> bytes:
    """Return the bytes of an IDX file of uint8 values, the format of MNIST."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.numpy().tobytes()


def numbered(samples: int, classes: int = 3) -> Samples:
    """Return samples with distinct inputs: input number i is [i, i]."""
    return Samples(torch.arange(samples).float()[:, None].expand(-1, 2).clone(), torch.arange(samples) % classes)


def learning_rates(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[float]:
    """Return the learning rate of each step and the one after the last step."""
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def signal_all(process: int, number: signal.Signals) -> None:
    """Send a signal to a process and all its descendants, as a cluster or a shutdown does."""
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        signal_all(int(child), number)
    os.kill(process, number)


def metric_set_of(task: str, classes: int = 2, loss: torch.nn.Module | None = None) -> MetricSet:
    """Return the metrics of a shipped task, with cross-entropy or another loss."""
    built = TASKS.build(task, {})
    built.spec = Spec(task=task, in_shape=(1,), out_features=classes)
    built.loss_fn = loss or torch.nn.CrossEntropyLoss()
    sums = {name: METRICS.build(name, {}, task=built) for name in built.metrics()}
    return MetricSet(built, sums, {}, ["loss", *sums])
