"""Kill runs at random moments, resume them, and compare them bit for bit with uninterrupted runs.

Usage: make torture KILLS=300, or python tests/faults/torture.py --kills 300 --seed 1 --only project

Each run is forked from this process, which has imported torch but computed nothing. A run therefore starts within
milliseconds, and many moments can be tried: while the run creates its folder, trains, validates, saves, plots or
resumes.
"""

import argparse
import contextlib
import importlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from runner import cli

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import checkpoint, equal, metrics_table, results, scalars
from own_project import CHOICES, write_project

# Modules that a run imports, imported once before the first fork.
MODULES = ("torch._dynamo", "torch.utils.tensorboard.writer", "sklearn.datasets", "matplotlib.figure", "runner.vision")
for module in MODULES:
    importlib.import_module(module)

SMALL = ["model=mlp", "model.hidden=[16]", "dataset.size=8", "device.threads=1", "trainer.epochs=12"]
SMALL += ["model.dropout=0.3", "trainer.batch_size=128", "trainer.log_every=3", "trainer.checkpoint.every_steps=2"]
AUGMENTED = ["dataset.augment.shift=1", "dataset.augment.flip=true", "dataset.augment.erase=0.3"]
# fmt: off
VARIANTS = {
    "in memory, augmented, EMA, accumulation, early stopping": [
        *AUGMENTED,
        "model.norm=batch", "scheduler=cosine", "trainer.ema=0.9", "trainer.accumulate=2", "trainer.clip_norm=1",
        "trainer.validate_every='4 steps'", "trainer.early_stopping.patience=6", "trainer.checkpoint.keep_last=1",
    ],
    "streamed by 2 workers, augmented, bf16, adam": [
        "dataset.in_memory=false", "dataset.workers=2", "optim=adam", "trainer.precision=bf16",
        "scheduler=cosine", "scheduler.interval=epoch", *AUGMENTED,
        "dataset.transforms=[{name: RandomResizedCrop, size: 8, scale: [0.5, 1.0]}, RandomInvert]",
    ],
    "streamed, fp16, nesterov": ["dataset.in_memory=false", "trainer.precision=fp16", "optim.nesterov=true"],
}
TEXT = [
    "experiment=gpt_text", "device.threads=1", "model.depth=1", "model.width=16", "model.dropout=0.1",
    "dataset.stride=400", "trainer.epochs=4", "trainer.accumulate=2", "trainer.log_every=3",
    "trainer.checkpoint.every_steps=2", "optim.groups=[{ndim: 2, optimizer: muon, lr: 0.003}]",
    "metrics=[accuracy,perplexity,{name: f1, average: macro}]",
]
PROJECT = [
    *CHOICES, "task=distillation", "task.teacher=../teacher", "trainer.epochs=6", "trainer.accumulate=2",
    "trainer.batch_size=16", "trainer.log_every=3", "trainer.checkpoint.every_steps=3",
]
# fmt: on


def variants(scratch: Path, only: str) -> dict[str, list[str]]:
    """Return the arguments of the variants whose names contain a text, after training the teacher of the project."""
    found = {name: [*SMALL, *values] for name, values in VARIANTS.items()}
    found |= {"language model, Muon and AdamW": TEXT, "own project: dicts, padding, distillation, own metric": PROJECT}
    found = {name: values for name, values in found.items() if only in name}
    if PROJECT in found.values():
        write_project(scratch)  # every run is in a folder of its own below
        undisturbed(scratch / "first", [*CHOICES, "trainer.epochs=1"])[0].rename(scratch / "teacher")
    return found


def start(folder: Path, arguments: list[str]) -> int:
    """Run the program in `folder` in a forked process and return the process id."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        for name in ("words_project.py", "words_conf"):
            if (folder.parent / name).exists() and not (folder / name).exists():
                (folder / name).symlink_to(folder.parent / name)
        output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        torch.set_num_threads(1)
        pause_between_file_operations()
        code = 70
        try:
            code = cli.main(arguments)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def pause_between_file_operations() -> None:
    """Make this process pause around every tenth change of the file system, so that kills fall between any two."""
    chance = random.Random(os.getpid())

    def pausing(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            pauses = [chance.uniform(0, 0.05) if chance.random() < 0.1 else 0 for _ in range(2)]
            time.sleep(pauses[0])
            try:
                return change(*arguments, **options)
            finally:
                time.sleep(pauses[1])

        return call

    for name in ("open", "replace", "rename", "link", "unlink", "truncate", "ftruncate", "fsync", "mkdir"):
        setattr(os, name, pausing(getattr(os, name)))


def finish(child: int) -> int:
    """Wait for a process and return its exit code, or minus the signal number if a signal killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_folder(folder: Path) -> Path | None:
    """Return the run folder, or None if there is no run to resume yet."""
    return next((config.parent for config in folder.glob("outputs/*/*/config.yaml")), None)


def undisturbed(folder: Path, arguments: list[str]) -> tuple[Path, float]:
    """Run without kills and return the run folder and the duration in seconds."""
    folder.mkdir()
    began = time.monotonic()
    code = finish(start(folder, arguments))
    found = run_folder(folder)
    assert code == 0, (folder / "output").read_text()
    assert found is not None
    return found, time.monotonic() - began


def killed(folder: Path, arguments: list[str], seconds: float, chance: random.Random) -> tuple[Path, list[str]]:
    """Run, kill and resume until the run completes.

    Returns:
        The run folder, and the newest saved step at each kill.
    """
    folder.mkdir()
    kills = []
    while True:
        found = run_folder(folder)
        child = start(folder, arguments if found is None else ["resume", str(found)])
        if chance.random() < 0.3:  # at any moment, from start-up to the last plot
            time.sleep(chance.uniform(0, 1.2 * seconds))
        else:  # soon after a save
            wait_for_a_save(folder, saved_step(found), timeout=seconds)
            time.sleep(chance.uniform(0, 0.2 * seconds))
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            os.killpg(child, signal.SIGKILL)
        code = finish(child)
        found = run_folder(folder)
        if code == -signal.SIGKILL:
            kills.append(saved_step(found))
            continue
        assert code == 0, (folder / "output").read_text()
        assert found is not None
        return found, kills


def wait_for_a_save(folder: Path, known: str, timeout: float) -> None:
    """Wait until the newest saved step is no longer `known`, for at most `timeout` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and saved_step(run_folder(folder)) == known:
        time.sleep(0.001)


def saved_step(folder: Path | None) -> str:
    """Return the newest saved step of a run folder, or `-` if there is none."""
    files = sorted(folder.glob("checkpoints/step-*.pt")) if folder else []
    return str(int(files[-1].stem.removeprefix("step-"))) if files else "-"


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of all values and files that are not equal bit for bit in two runs."""
    pairs = {name: (checkpoint(one, f"{name}.pt"), checkpoint(other, f"{name}.pt")) for name in ("last", "best")}
    found = [f"{name}.pt: {key}" for name, (a, b) in pairs.items() for key in a if not equal(a[key], b[key])]
    found += ["metrics.csv"] if metrics_table(one) != metrics_table(other) else []
    found += ["TensorBoard"] if sorted(scalars(one)) != sorted(scalars(other)) else []
    for key in ("status", "epoch", "step", "train", "val", "test", "best", "fit"):
        found += [f"results.json: {key}"] if results(one)[key] != results(other)[key] else []
    return found


def torture(kills: int, seed: int, only: str = "") -> int:
    """Kill runs of all variants in turn and return the number of runs that differ.

    Args:
        kills: number of kills.
        seed: seed of the random moments.
        only: text in the names of the variants to run.
    """
    chance = random.Random(seed)
    done = bad = runs = 0
    with tempfile.TemporaryDirectory() as scratch:
        chosen = variants(Path(scratch), only)
        references = {
            name: undisturbed(Path(scratch) / f"reference-{index}", values)
            for index, (name, values) in enumerate(chosen.items())
        }
        while done < kills:
            name, values = list(chosen.items())[runs % len(chosen)]
            reference, seconds = references[name]
            folder, at = killed(Path(scratch) / f"run-{runs}", values, seconds, chance)
            wrong = differences(reference, folder)
            runs, done, bad = runs + 1, done + len(at), bad + bool(wrong)
            verdict = f"DIFFERENT: {', '.join(wrong)}" if wrong else "equal"
            print(f"{name}: killed {len(at)} times (after step {', '.join(at)}): {verdict}", flush=True)
    print(f"{done} kills in {runs} runs: {runs - bad} equal to the undisturbed run bit for bit, {bad} different")
    return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="text in the names of the variants to run")
    options = parser.parse_args()
    sys.exit(min(torture(options.kills, options.seed, options.only), 1))
