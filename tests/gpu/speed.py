"""Compare the speed of the runner with that of bare loops, and with code as speed records are set with."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gpu import airbench, bare
from gpu.meter import Meter
from gpu.section import Row, Section
from gpu.training import trainer_of
from gpu.works import FULL, SMALL, WRITES, Work
from runner.tracking.tracker import NullTracker
from runner.training.loop import fit

TITLE = "images per second, against bare loops and code as speed records are set with"
GRAPH, FAST = "trainer.cuda_graph=true", "device.deterministic=false"

Loop = Callable[[Work, Path, str], Row]


class Counted(NullTracker):
    """Report each step of the runner to a meter."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def progress(self, step: int) -> None:
        self.meter.step()


def rows(section: Section) -> Iterator[Row]:
    """Yield a row for each loop and network."""
    works = section.pick(FULL, SMALL)
    roots = {network: section.folder / network for network in dict.fromkeys(work.network for work in works)}
    for network, root in roots.items():
        made = section.attempt({"work": network, "loop": "makes the data"}, write, network, root, section.rehearses)
        if made["result"] != "ok":
            yield made
    loops: dict[str, Loop] = {"bare loop": bare.eager, "bare loop as one CUDA graph": bare.graphed}
    loops |= {"airbench style": airbench.eager}
    for work in works:
        rates: dict[str, float] = {}
        for name, loop in (loops | of_runner(work, section.device)).items():
            about = {"work": work.name, "loop": name}
            row = section.attempt(about, loop, work, roots[work.network], section.device, seconds=45)
            if "images/s" in row:
                rates[name] = row["images/s"]
                row["times bare loop"] = rates[name] / rates["bare loop"] if "bare loop" in rates else None
            yield row
    for work in section.pick(works[::-1], []):  # takes longest, and needs a C compiler
        about = {"work": work.name, "loop": "airbench style, compiled"}
        root = roots[work.network]
        yield section.attempt(about, airbench.compiled, work, root, section.device, seconds=90, optional=True)


def of_runner(work: Work, device: str) -> dict[str, Loop]:
    """Return the runner's loops by name."""
    settings = {"runner": [FAST], "runner, trainer.cuda_graph": [GRAPH, FAST]}
    settings["runner, trainer.cuda_graph, deterministic"] = [GRAPH]
    if work.precision != "bf16":
        settings["runner, trainer.cuda_graph, bf16"] = [GRAPH, FAST, "trainer.precision=bf16"]
    settings = {name: values for name, values in settings.items() if device == "cuda" or GRAPH not in values}
    return {name: partial(train, arguments=values) for name, values in settings.items()}


def write(network: str, root: Path, rehearses: bool) -> Row:
    """Write the data of a network."""
    WRITES[network](root, *([400] if rehearses else []))
    return {}


def train(work: Work, root: Path, device: str, arguments: list[str]) -> Row:
    """Train with the runner: its real loop, with metrics and logs, but without a run folder."""
    counted = Counted(Meter(device, work.length, work.batch))
    trainer, meter = trainer_of([*work.runner(root, device), *arguments], counted, root), counted.meter
    meter.images = trainer.parts.train.samples / trainer.parts.steps_per_epoch  # the last batch may be smaller
    meter.waited = lambda: trainer.state.data_seconds
    fit(trainer)
    return meter.row()
