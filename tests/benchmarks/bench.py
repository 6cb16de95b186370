"""Benchmarks of the runner against scripts that do the same work.

Usage: make bench, or python tests/benchmarks/bench.py W1 W3

The runner and its peers run alternately, so that drift in the machine's speed affects both. The table is written to
outputs/benchmarks/, as JSON and Markdown.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "tests")]

from process import Measured, measure, ours, script  # noqa: E402

import data  # noqa: E402

TARGET = ROOT / "outputs" / "benchmarks"
SCRATCH = tempfile.TemporaryDirectory(prefix="runner-bench-")  # removed at exit
DATA = Path(SCRATCH.name) / "data"
FIGURES = ("lightning", "mmengine", "pytorch-ignite", "torch", "torchvision", "hydra-core", "tensorboard")
PEERS = {
    "tutorial loop": ("tutorial",),
    "tutorial loop, 2 workers": ("tutorial", "2"),
    "Lightning": ("lightning_trainer",),
    "MMEngine": ("mmengine_runner",),
    "ignite": ("ignite_engine",),
}
# fmt: off
MNIST = [
    "dataset=mnist", f"dataset.root={DATA}", "trainer.batch_size=64", "optim.momentum=0.9", "trainer.log_every=50",
    "device=cpu",
]
# fmt: on
LENET = ["model=lenet", *MNIST, "trainer.epochs=2", "optim.lr=0.01"]
CNN = ["model=mnist_cnn", "loss=nll", *MNIST, "trainer.epochs=1", "optim.lr=0.025"]
RATES = ("0.03", "0.02", "0.015", "0.01", "0.005", "0.002", "0.001", "0.0005")


@dataclass
class Row:
    """One row of the table: a measurement of the runner compared with a peer.

    Args:
        work: name of the benchmark, such as W1.
        figure: quantity that is compared.
        to: peer that it is compared with.
        unit: unit of `ours` and `theirs`.
        ours: median of the runner.
        theirs: median of the peer, if there is one.
        ratios: runner / peer for each pair; for some figures the difference, or the runner's value alone.
        target: required median of `ratios`.
        at_most: whether the target is an upper bound; otherwise it is a lower bound.
    """

    work: str
    figure: str
    to: str
    unit: str
    ours: float
    theirs: float | None
    ratios: list[float]
    target: float | None = None
    at_most: bool = True

    @property
    def median(self) -> float:
        return median(self.ratios)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.median <= self.target if self.at_most else self.median >= self.target
        return "met" if met else "not met"

    def cells(self) -> list[str]:
        sign = "" if self.target is None else f"{'at most' if self.at_most else 'at least'} {self.target:g}"
        return [
            self.work,
            self.figure,
            self.to,
            f"{number(self.ours)} {self.unit}",
            "" if self.theirs is None else f"{number(self.theirs)} {self.unit}",
            f"{number(self.median)} ({number(min(self.ratios))} to {number(max(self.ratios))})",
            sign,
            self.verdict,
        ]


def number(value: float) -> str:
    """Format with three significant digits, or as an integer from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(
    work: str,
    figure: str,
    unit: str,
    to: str,
    ours: Sequence[Measured],
    theirs: Sequence[Measured],
    of: Callable[[Measured], float | None],
    target: float | None = None,
    at_most: bool = True,
) -> Row:
    """Return a row for runs that were made in pairs."""
    a, b = ([value for value in map(of, runs) if value is not None] for runs in (ours, theirs))
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return Row(work, figure, to, unit, median(a), median(b), ratios, target, at_most)


def seconds(run: Measured) -> float:
    return run.seconds


def memory(run: Measured) -> float:
    return run.memory


def per_second(run: Measured) -> float | None:
    return run.per_second


def first_step(run: Measured) -> float | None:
    return run.first_step


def in_turn(pairs: int, **commands: Callable[[], Measured]) -> dict[str, list[Measured]]:
    """Run all commands one after another, `pairs` times."""
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for _ in range(pairs):
        for name, command in commands.items():
            runs[name].append(command())
            print(f"    {name}: {runs[name][-1].seconds:.2f} s", flush=True)
    return runs


def images(work: str, network: str, arguments: Sequence[str], pairs: int, folder: Path) -> dict[str, list[Measured]]:
    """Train the same network with the runner, the bare loop and the peers."""
    commands: dict[str, Callable[[], Measured]] = {
        "ours": lambda: ours(folder, *arguments),
        "bare loop": lambda: script(folder, "bare", network, str(DATA)),
    }
    if work == "W2":
        commands["ours, bf16"] = lambda: ours(folder, *arguments, "trainer.precision=bf16")
    for name, (file, *more) in PEERS.items():
        commands[name] = lambda file=file, more=more: script(folder, file, network, str(DATA), *more)  # type: ignore[misc]
    return in_turn(pairs, **commands)


def w1(pairs: int, folder: Path) -> list[Row]:
    """Train LeNet-5 on MNIST-shaped images for two epochs."""
    data.mnist_shaped(DATA)
    runs = images("W1", "lenet", LENET, pairs, folder)
    own, bare = runs.pop("ours"), runs.pop("bare loop")
    targets = {"tutorial loop": 0.55, "Lightning": 0.45}
    return [
        ratio("W1", "images a second", "/s", "bare loop", own, bare, per_second, 1.05, at_most=False),
        ratio("W1", "whole command", "s", "bare loop", own, bare, seconds, 1.0),
        ratio("W1", "peak memory", "MiB", "bare loop", own, bare, memory, 0.75),
        *(ratio("W1", "whole command", "s", to, own, them, seconds, targets.get(to)) for to, them in runs.items()),
    ]


def w2(pairs: int, folder: Path) -> list[Row]:
    """Train the network of PyTorch's MNIST example for one epoch."""
    data.mnist_shaped(DATA)
    runs = images("W2", "cnn", CNN, pairs, folder)
    own, bare, bf16 = runs.pop("ours"), runs.pop("bare loop"), runs.pop("ours, bf16")
    return [
        ratio("W2", "images a second", "/s", "bare loop", own, bare, per_second, 1.2, at_most=False),
        ratio("W2", "images a second, bf16", "/s", "bare loop, fp32", bf16, bare, per_second, 1.6, at_most=False),
        ratio("W2", "peak memory", "MiB", "bare loop", own, bare, memory),
        *(ratio("W2", "whole command", "s", to, own, them, seconds) for to, them in runs.items()),
    ]


def w3(pairs: int, folder: Path) -> list[Row]:
    """Train two neurons on ten points for 100,000 steps, to measure the overhead of a step."""
    runs = in_turn(
        pairs,
        ours=lambda: ours(folder, "experiment=parabola", "optim.momentum=0", "scheduler=constant", "device=cpu"),
        bare=lambda: script(folder, "bare", "parabola", str(DATA)),
    )

    def microseconds(run: Measured) -> float:
        if "seconds" in run.values:
            return float(1e6 * run.values["seconds"]["train"] / run.values["step"])
        assert run.per_second is not None
        return 1e6 / run.per_second

    return [ratio("W3", "a step", "µs", "bare loop", runs["ours"], runs["bare"], microseconds, 1.15)]


def w4(pairs: int, folder: Path) -> list[Row]:
    """Measure the whole command of the default run."""
    runs = in_turn(pairs, ours=lambda: ours(folder), bare=lambda: script(folder, "bare", "digits", str(DATA)))
    own, bare = ([run.seconds for run in runs[name]] for name in ("ours", "bare"))
    above = [x - y for x, y in zip(own, bare, strict=True)]
    return [Row("W4", "default run: seconds above", "bare script", "s", median(own), median(bare), above, 1.5)]


def w5(pairs: int, folder: Path) -> list[Row]:
    """Try eight learning rates: in a sweep, in a hand-written sweep, and in eight consecutive processes."""

    def apart() -> Measured:
        runs = [ours(folder, "trainer.epochs=5", f"optim.lr={rate}") for rate in RATES]
        return Measured(sum(run.seconds for run in runs), max(run.memory for run in runs))

    runs = in_turn(
        pairs,
        sweep=lambda: ours(folder, "-m", "trainer.epochs=5", f"optim.lr={','.join(RATES)}"),
        bare=lambda: script(folder, "sweep", "5", *RATES),
        apart=apart,
    )
    own, what = runs["sweep"], "eight learning rates"
    return [
        ratio("W5", what, "s", "hand-written sweep", own, runs["bare"], seconds, 1.5),
        ratio("W5", what, "s", "eight processes", own, runs["apart"], seconds),
    ]


def w6(pairs: int, folder: Path) -> list[Row]:
    """Measure the start-up time."""
    runs = in_turn(
        pairs,
        ours=lambda: ours(folder, "trainer.log_every=1", "trainer.epochs=1"),
        bare=lambda: script(folder, "bare", "digits", str(DATA)),
        cfg=lambda: measure(folder, "-m", "runner", "--cfg", "job")[0],
    )
    cfg = [run.seconds for run in runs["cfg"]]
    return [
        ratio("W6", "prompt to first step", "s", "bare script", runs["ours"], runs["bare"], first_step, 1.0),
        Row("W6", "`--cfg job`: seconds", "", "s", median(cfg), None, cfg, 0.35),
    ]


def w7(pairs: int, folder: Path) -> list[Row]:
    """Train resnet18 on streamed and augmented CIFAR-shaped images, to measure the time spent waiting for data."""
    data.cifar_shaped(DATA)
    arguments = [
        "model=torchvision", "model.arch=resnet18", "dataset=cifar10", f"dataset.root={DATA}", "device=cpu",
        "dataset.in_memory=false", "dataset.workers=1", "dataset.augment.crop=4", "dataset.augment.flip=true",
        "trainer.batch_size=128", "trainer.epochs=1",
    ]  # fmt: skip
    runs = in_turn(pairs, ours=lambda: ours(folder, *arguments))["ours"]
    waiting = [run.values["seconds"]["data"] / run.values["seconds"]["train"] for run in runs]
    speed = [run.per_second for run in runs if run.per_second is not None]
    return [
        Row("W7", "share of time waiting for data", "", "", median(waiting), None, waiting, 0.02),
        Row("W7", "images a second", "", "/s", median(speed), None, speed),
    ]


def w8(pairs: int, folder: Path) -> list[Row]:
    """Stream 100,000 PNG files into a linear model, compared with torchvision's loader without training."""
    data.png_folder(DATA)
    arguments = [
        "model=mlp", "model.hidden=[]", "dataset=image_folder", f"dataset.root={DATA / 'pictures'}", "device=cpu",
        "dataset.size=32", "dataset.workers=2", "dataset.test_share=0.01", "dataset.val_share=0.01",
        "trainer.batch_size=64", "trainer.epochs=1", "optim.lr=0.001", "device.threads=1",
    ]  # fmt: skip
    cached = [*arguments, f"dataset.cache={DATA / 'cache'}", "dataset.workers=0", "trainer.epochs=2"]
    runs = in_turn(
        pairs,
        ours=lambda: ours(folder, *arguments),
        loader=lambda: script(folder, "loader", str(DATA / "pictures")),
        cached=lambda: ours(folder, *cached),
    )
    what = "images a second, second epoch with dataset.cache"
    own, cache, loader = runs["ours"], runs["cached"], runs["loader"]
    rates = [second_epoch(run) for run in cache]
    against = [run.per_second for run in loader if run.per_second is not None]
    ratios = [rate / other for rate, other in zip(rates, against, strict=True)]
    return [
        ratio("W8", "images a second", "/s", "loader alone", own, loader, per_second, 1, at_most=False),
        Row("W8", what, "loader alone", "/s", median(rates), median(against), ratios, 5, at_most=False),
    ]


def second_epoch(run: Measured) -> float:
    """Return the training images per second of the second of two epochs, validation included."""
    assert run.per_second is not None
    return run.per_second * run.values["seconds"]["train"] / 2 / run.values["epoch_seconds"][1]


def costs(pairs: int, folder: Path) -> list[Row]:
    """Measure the cost of logging a scalar and of saving a checkpoint."""
    runs = [script(folder, "costs").values for _ in range(pairs)]
    scalar, save, still = ([run[name] for run in runs] for name in ("scalar", "save", "still"))
    return [
        Row("costs", "a scalar logged: microseconds", "", "µs", median(scalar), None, scalar, 20),
        Row("costs", "a checkpoint a second: share of the time", "", "", median(save), None, save, 0.02),
        Row("costs", "a save of resnet18: share that stops training", "", "", median(still), None, still, 0.1),
    ]


def compared(pairs: int, folder: Path) -> list[Row]:
    """Compare a thousand runs."""
    ours(folder, "trainer.epochs=2")
    (run,) = folder.glob("outputs/*/*")
    for number in range(1000):
        copy = folder / "many" / f"{number:04d}"
        copy.mkdir(parents=True)
        config = (run / "config.yaml").read_text().replace("seed: 0\nname", f"seed: {number}\nname")
        (copy / "config.yaml").write_text(config)
        for name in ("results.json", "metrics.csv"):
            shutil.copy(run / name, copy / name)
    command = ("-m", "runner", "compare", "many", "--format", "html", "--output", "page.html")
    took = [measure(folder, *command)[0].seconds for _ in range(pairs)]
    return [Row("compare", "a thousand runs, as a page: seconds", "", "s", median(took), None, took, 5)]


def w9(pairs: int, folder: Path) -> list[Row]:
    """Train LeNet-5 on two ranks with one thread each, against a bare DistributedDataParallel loop."""
    data.mnist_shaped(DATA)
    rows = []
    for batch, steps in ((32, 1500), (256, 200)):
        usual = [*LENET, f"trainer.batch_size={batch}", f"trainer.max_steps={steps}", "device.threads=1"]
        usual += ["trainer.epochs=null", "dataset.val_share=0.001"]
        runs = in_turn(
            pairs,
            **{
                "two ranks": lambda: ours(folder, *usual, ranks=2),  # noqa: B023  # called in this iteration
                "bare loop": lambda: script(folder, "ddp", str(DATA), str(batch), str(steps), ranks=2),  # noqa: B023
                "one rank": lambda: ours(folder, *usual),  # noqa: B023
                "shards, two ranks": lambda: ours(folder, *usual, "trainer.shards=2", ranks=2),  # noqa: B023
            },
        )
        own, bare, alone, sharded = runs.values()
        what = f"step, batch {batch}"
        rows += [
            ratio("W9", what, "us", "bare DDP loop", own, bare, lambda run: step(run, batch), 1.05),  # noqa: B023
            ratio("W9", what, "us", "one rank", own, alone, lambda run: step(run, batch)),  # noqa: B023
            ratio("W9", f"{what}, shards=2", "us", "one rank", sharded, alone, lambda run: step(run, batch)),  # noqa: B023
        ]
    return rows


def step(run: Measured, batch: int) -> float | None:
    """Return the microseconds of a training step."""
    return None if run.per_second is None else 1e6 * batch / run.per_second


WORKS = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W9": w9}
WORKS |= {"costs": costs, "compare": compared}
HEADER = ["work", "figure", "against", "ours", "theirs", "ratio: median (min to max)", "target", ""]


def markdown(rows: Sequence[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> dict[str, str]:
    """Return the hardware and the package versions of the measurement."""
    found = {"date": datetime.now().isoformat(timespec="minutes"), "python": platform.python_version()}
    found |= {"cores": str(os.cpu_count()), "system": platform.platform()}
    cpu = Path("/proc/cpuinfo")
    names = [line.partition(": ")[2] for line in cpu.read_text().splitlines() if line.startswith("model name")]
    found["processor"] = names[0] if names else platform.processor()
    for package in FIGURES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; default: all")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    DATA.mkdir()
    rows: list[Row] = []
    for work in options.works or WORKS:
        print(f"{work}: {WORKS[work].__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows += WORKS[work](options.pairs, Path(folder))
        found = machine()
        about = ", ".join(f"{key} {value}" for key, value in found.items())
        contents = {"machine": found, "rows": [asdict(row) for row in rows]}
        (TARGET / "table.json").write_text(json.dumps(contents, indent=2))  # saved after each benchmark
        (TARGET / "table.md").write_text(f"{markdown(rows)}\n{about}\n")
    print(f"\n{markdown(rows)}\n{about}\n\ntable    {TARGET}/table.md (.json)")


if __name__ == "__main__":
    main()
