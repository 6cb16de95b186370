"""Train with torch's sync debug mode, in which everything that waits for the GPU raises an error."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from gpu.section import Row, Section
from gpu.training import trainer_of
from runner.tracking.tracker import NullTracker
from runner.training.loop import train_function

TITLE = "training steps without a log wait for no value of the GPU"
PRECISIONS = ("fp32", "bf16", "fp16")
WITH: dict[str, list[str]] = {
    "plain": [],
    "clip_norm": ["trainer.clip_norm=1"],
    "ema": ["trainer.ema=0.99"],
    "augment": ["dataset.augment.crop=2", "dataset.augment.flip=true", "dataset.augment.erase=0.3"],
    "cuda_graph": ["trainer.cuda_graph=true"],
}
FIRST, LAST = 12, 39  # steps between which nothing may wait: the first ones prepare, the last one ends the epoch
STEPS = ["model=lenet", "dataset=digits", "trainer.batch_size=32", "trainer.epochs=1", "trainer.max_steps=40"]
STEPS += ["trainer.log_every=100000"]


class Watch(NullTracker):
    """Forbid waiting between two steps.

    Args:
        mode: sets the mode: "error" or "default".
    """

    def __init__(self, mode: Callable[[str], None]) -> None:
        self.mode, self.watched = mode, 0

    def progress(self, step: int) -> None:
        if step == FIRST:
            self.mode("error")
        self.watched += FIRST < step <= LAST
        if step == LAST:
            self.mode("default")


def rows(section: Section) -> Iterator[Row]:
    """Yield a row for each precision and setting, after one that shows that waiting is noticed."""
    if section.device == "cuda":
        yield section.attempt({"precision": "fp32", "with": "a loss that is read in each step"}, notices, seconds=40)
    for precision in section.pick(PRECISIONS, PRECISIONS[:1]):
        for name, arguments in WITH.items():
            if name != "cuda_graph" or section.device == "cuda":
                about = {"precision": precision, "with": name}
                usual = [*STEPS, f"device={section.device}", f"trainer.precision={precision}"]
                yield section.attempt(about, train, [*usual, *arguments], section.folder, seconds=40)


def train(arguments: list[str], folder: Path) -> Row:
    """Train for some steps in which nothing may wait."""
    on_gpu = "device=cuda" in arguments
    watch = Watch(torch.cuda.set_sync_debug_mode if on_gpu else check_mode)
    train_function(trainer_of(arguments, watch, folder))()
    if watch.watched != LAST - FIRST:
        raise RuntimeError(f"{watch.watched} steps were watched instead of {LAST - FIRST}")
    return {"steps": watch.watched}


def check_mode(mode: str) -> None:
    """Do nothing, where there is no GPU to wait for."""
    assert mode in ("error", "default")


def notices() -> Row:
    """Read a value of the GPU in a step, which must raise."""
    value = torch.ones(2, device="cuda").sum()
    torch.cuda.set_sync_debug_mode("error")
    try:
        value.item()
    except RuntimeError:
        return {"steps": 1, "result": "ok: raises, as it must"}
    return {"steps": 1, "result": "failed: this version of torch does not notice it"}
