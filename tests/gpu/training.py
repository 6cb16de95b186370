"""Runs of the program inside this process, without a run folder."""

from collections.abc import Sequence
from pathlib import Path

from runner.config.compose import compose_config
from runner.machine.distributed import ALONE
from runner.machine.signals import Stop
from runner.training.checks.check import check
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import assemble
from runner.training.trainer import Tracker, Trainer


def trainer_of(arguments: Sequence[str], tracker: Tracker, folder: Path) -> Trainer:
    """Return the trainer of a run, ready for its first step.

    Args:
        arguments: arguments of the command line.
        tracker: receives scalars and progress.
        folder: existing folder for checkpoints.
    """
    config = compose_config([*arguments, "logger=none"])
    check(config)
    parts, state = assemble(config, ALONE, None)
    return Trainer(parts, state, tracker, Checkpoints(folder, keep_last=1), Stop())
