"""Write run folders that look like those of a large sweep, to test and to measure the comparison page.

python tests/runs/many_runs.py FOLDER --runs 1000
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from runner.config.compose import compose_config
from runner.config.frozen import freeze
from runner.config.yaml_file import read_yaml

EPOCHS, STEPS = 30, 45
RATES, DECAYS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003), (0.0, 0.0001, 0.001, 0.01)
ENDS = {6: "failed", 13: "diverged", 18: "interrupted", 23: "running"}  # of one run in a hundred each
LOG = """\
2026-11-29 06:18:25,733 INFO epoch 9/30 train/loss 0.42 val/loss 0.47
2026-11-29 06:18:25,790 ERROR CUDA out of memory. Tried to allocate 2.00 GiB
Traceback (most recent call last):
  File "runner/training/loop.py", line 88, in train_epoch
    loss.backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
"""


@dataclass(frozen=True)
class Job:
    """A run to write: the values that its config overrides, and how it ends."""

    dataset: str
    optimizer: str
    rate: float
    decay: float
    model: str
    seed: int
    status: str

    @property
    def overrides(self) -> list[str]:
        """What would have been typed."""
        typed = {"dataset": self.dataset, "optim": self.optimizer, "model": self.model, "optim.lr": self.rate}
        return [f"{key}={value}" for key, value in typed.items()] + [
            f"optim.weight_decay={self.decay}",
            f"seed={self.seed}",
        ]


def jobs(runs: int) -> Iterator[Job]:
    """Yield the jobs of a sweep over two datasets, two optimizers, rates, decays, two models and seeds."""
    choices = product(range(1000), RATES, DECAYS, ("sgd", "adamw"), ("lenet", "mlp"), ("digits", "fashion_mnist"))
    for number, (seed, rate, decay, optimizer, model, dataset) in zip(range(runs), choices, strict=False):
        yield Job(dataset, optimizer, rate, decay, model, seed, ENDS.get(number % 100, "completed"))


def curves(job: Job, chance: random.Random) -> list[dict[str, float]]:
    """Return the rows of metrics.csv: losses that fall to a floor that depends on the job."""
    best = 0.03 if job.optimizer == "sgd" else 0.003
    floor = 0.08 + 0.05 * math.log10(job.rate / best) ** 2 + (0.04 if job.model == "mlp" else 0) + 2 * job.decay
    floor *= 1.6 if job.dataset == "fashion_mnist" else 1
    floor *= 1 + chance.gauss(0, 0.06)
    epochs = EPOCHS if job.status == "completed" else 9
    rows = []
    for epoch in range(1, epochs + 1):
        loss = floor + 2.2 * math.exp(-epoch * (0.35 + 0.1 * chance.random())) + abs(chance.gauss(0, 0.01))
        gap = 0.03 * epoch / EPOCHS
        rows.append(
            {
                "epoch": epoch,
                "step": epoch * STEPS,
                "train/loss": max(0.01, loss - gap),
                "train/accuracy": math.exp(-max(0.01, loss - gap)),
                "val/loss": loss + gap,
                "val/accuracy": math.exp(-(loss + gap)),
                "lr": job.rate * (1 - epoch / EPOCHS),
                "seconds": (0.2 if job.model == "mlp" else 0.5) * (1 + 0.1 * chance.random()),
            }
        )
    return rows


def results(job: Job, rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return the contents of results.json."""
    best = min(rows, key=lambda row: row["val/loss"])
    seconds = sum(row["seconds"] for row in rows)
    errors = {
        "failed": {"type": "OutOfMemoryError", "message": "CUDA out of memory. Tried to allocate 2.00 GiB"},
        "diverged": {"type": "Diverged", "message": "the loss is nan at step 405"},
    }
    done = job.status == "completed"
    return {
        "schema": 1,
        "status": job.status,
        "error": errors.get(job.status),
        "overrides": job.overrides,
        "seed": job.seed,
        "epoch": len(rows),
        "step": len(rows) * STEPS,
        "train": {name: rows[-1][f"train/{name}"] for name in ("loss", "accuracy")},
        "val": {name: rows[-1][f"val/{name}"] for name in ("loss", "accuracy")},
        "test": {"loss": best["val/loss"] * 1.02, "accuracy": best["val/accuracy"] * 0.99} if done else {},
        "best": {"metric": "val/loss", "value": best["val/loss"], "epoch": best["epoch"], "step": best["step"]},
        "parameters": 61_706 if job.model == "lenet" else 118_282,
        "seconds": {"total": seconds + 0.4, "train": seconds, "data": 0.1},
    }


def write_runs(folder: Path, runs: int) -> None:
    """Write run folders below a folder."""
    configs: dict[tuple[str, str, str], Any] = {}
    for number, job in enumerate(jobs(runs)):
        parts = (f"dataset={job.dataset}", f"optim={job.optimizer}", f"model={job.model}")
        if parts not in configs:
            source = folder / "source.yaml"
            folder.mkdir(parents=True, exist_ok=True)
            source.write_text(freeze(compose_config(list(parts))))
            configs[parts] = read_yaml(source)
            source.unlink()
        values = configs[parts] | {"seed": job.seed}
        values["optim"] = values["optim"] | {"lr": job.rate, "weight_decay": job.decay}
        run = folder / ",".join(job.overrides)
        run.mkdir()
        rows = curves(job, random.Random(number))
        (run / "config.yaml").write_text(yaml.dump(values, sort_keys=False, Dumper=getattr(yaml, "CSafeDumper", None)))
        (run / "results.json").write_text(json.dumps(results(job, rows)))
        lines = [",".join(rows[0]), *(",".join(map(repr, row.values())) for row in rows)]
        (run / "metrics.csv").write_text("\n".join(lines) + "\n")
        (run / "run.log").write_text(LOG if job.status == "failed" else LOG.splitlines()[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write run folders that look like those of a large sweep.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    write_runs(options.folder, options.runs)
