"""Write checkpoints in the background, so that training goes on while a file is serialized, hashed and synced."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runner.training.saving.checkpoint import Checkpoints


class Saver:
    """Saves the checkpoints of a run in a thread, one after the other.

    The order in which a save makes files durable is that of `Checkpoints.save`, whichever thread calls it.

    Args:
        checkpoints: checkpoints of the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[Path] | None = None

    def start(self, contents: Mapping[str, Any], best: bool) -> None:
        """Start saving a checkpoint, after waiting for the previous one.

        Args:
            contents: contents of the checkpoint, which nothing else changes from now on.
            best: whether it is also the best one so far.

        Raises:
            CheckpointError: the previous checkpoint could not be saved.
        """
        self.wait()
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._thread.submit(self.checkpoints.save, contents, best=best)

    def check(self) -> None:
        """Raise the error of a save that has failed in the meantime; wait for nothing.

        Raises:
            CheckpointError: the checkpoint could not be saved.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint is durable.

        Raises:
            CheckpointError: the checkpoint could not be saved.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait as `wait` does, and end the thread.

        Raises:
            CheckpointError: the checkpoint could not be saved.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        self.wait()
