"""Kill runs with SIGKILL, resume them, and compare them with undisturbed runs, through the real command line."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from gpu.section import Row, Section
from helpers import checkpoint, equal, finish, metrics_table, scalars, start, wait_until

TITLE = "killed and resumed runs are equal to undisturbed ones, bit for bit"
KILLS = (300, 700)  # steps after whose saves the run is killed
# 25 epochs of 41 steps, and a checkpoint every 7 steps: also within epochs.
RUN = ["model=mnist_cnn", "loss=nll", "dataset=digits", "dataset.size=16", "trainer.precision=bf16"]
RUN += ["trainer.checkpoint.every_steps=7", "trainer.log_every=5", "scheduler=cosine", "seed=3"]
WITH: dict[str, list[str]] = {
    "trainer.cuda_graph, dropout, bf16": ["trainer.cuda_graph=true"],
    "dropout, bf16": [],
    "trainer.cuda_graph, dropout, bf16, EMA, augmented": [
        *("trainer.cuda_graph=true", "trainer.ema=0.99"),
        *("dataset.augment.crop=2", "dataset.augment.erase=0.3"),
    ],
}


def rows(section: Section) -> Iterator[Row]:
    """Yield a row for each kind of run."""
    small = ["trainer.epochs=4", "device.threads=1", "trainer.batch_size=128", "device=cpu"]
    usual = [*RUN, *section.pick(["trainer.epochs=25", "device=cuda"], small)]
    kills = section.pick(KILLS, (5,))
    for number, name in enumerate(section.pick(list(WITH), ["dropout, bf16"])):
        folder = section.folder / str(number)
        yield section.attempt({"run": name}, compare, folder, [*usual, *WITH[name]], kills, seconds=90)


def compare(folder: Path, arguments: list[str], kills: tuple[int, ...]) -> Row:
    """Train undisturbed, twice, and with kills; compare the three runs."""
    folders = [folder / name for name in ("undisturbed", "again", "killed")]
    for each in folders:
        each.mkdir(parents=True)
    others = [start(*arguments, cwd=each) for each in folders[:2]]
    at = killed(folders[2], arguments, kills)
    for process in others:
        finish(process)
    undisturbed, again, resumed = map(run_folder, folders)
    found, by_chance = differences(undisturbed, resumed), differences(undisturbed, again)
    result = "ok"
    if by_chance:
        result = f"failed: two undisturbed runs differ: {', '.join(by_chance)}"
    elif found:
        result = f"failed: differs after being resumed: {', '.join(found)}"
    steps = checkpoint(resumed)["step"]
    return {"killed after the save of step": ", ".join(map(str, at)), "steps": steps, "result": result}


def killed(folder: Path, arguments: list[str], kills: tuple[int, ...]) -> list[int]:
    """Kill and resume a run, each time after a save, and let it end; return the newest saved step at each kill."""
    at: list[int] = []
    process = start(*arguments, cwd=folder)
    for step in kills:
        wait_for_a_save(process, folder, step)
        process.kill()
        process.communicate()
        at.append(saved_step(folder))
        process = start("resume", str(run_folder(folder)), cwd=folder)
    finish(process)
    return at


def wait_for_a_save(process: "subprocess.Popen[str]", folder: Path, after: int) -> None:
    """Wait until a run has saved a later step.

    Raises:
        RuntimeError: the run has ended before that, for example with an error.
    """
    wait_until(lambda: saved_step(folder) > after or process.poll() is not None)
    if process.poll() is not None:
        lines = process.communicate()[0].strip().splitlines() or ["it printed nothing"]
        raise RuntimeError(f"the run ended before it was killed, with exit code {process.returncode}: {lines[-1]}")


def saved_step(folder: Path) -> int:
    """Return the newest saved step of the run below a folder, or 0."""
    saved = folder.glob("outputs/*/*/checkpoints/step-*.pt")
    return max((int(path.stem.removeprefix("step-")) for path in saved), default=0)


def run_folder(folder: Path) -> Path:
    """Return the run folder of the run below a folder."""
    (found,) = folder.glob("outputs/*/*/config.yaml")
    return found.parent


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of all values that are not equal bit for bit in two runs."""
    pairs = {name: (checkpoint(one, name), checkpoint(other, name)) for name in ("last.pt", "best.pt")}
    found = [f"{name}: {key}" for name, (a, b) in pairs.items() for key in a if not equal(a[key], b.get(key))]
    found += ["metrics.csv"] if metrics_table(one) != metrics_table(other) else []
    return found + (["TensorBoard"] if sorted(scalars(one)) != sorted(scalars(other)) else [])
