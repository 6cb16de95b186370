"""Tests of resume with damaged, malicious and mismatched checkpoints."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import checkpoint, equal, results
from runner import cli
from runner.errors import CheckpointError
from runner.training.saving.checkpoint import save_checkpoint, verify_checkpoint

PAGE = 4096


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(data: bytes, chance: random.Random) -> bytes:
    """Flip one bit."""
    damaged = bytearray(data)
    damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def zero(data: bytes, chance: random.Random) -> bytes:
    """Zero one page."""
    at = chance.randrange(len(data) // PAGE) * PAGE
    return data[:at] + bytes(PAGE) + data[at + PAGE :]


def cut(data: bytes, chance: random.Random) -> bytes:
    """Truncate at a random position."""
    return data[: chance.randrange(len(data))]


@pytest.mark.parametrize("damage", [flip, zero, cut])
def test_every_damaged_checkpoint_is_detected(
    runner: Callable[..., Path], damage: Callable[[bytes, random.Random], bytes]
) -> None:
    path = runner("trainer.max_steps=1", "model.hidden=[64]") / "checkpoints" / "last.pt"
    whole, chance = path.read_bytes(), random.Random(0)
    noticed = 0
    for _ in range(1000):
        damaged = damage(whole, chance)
        assert damaged != whole
        path.write_bytes(damaged)
        try:
            verify_checkpoint(path)
        except CheckpointError as error:
            noticed += str(path) in str(error)
    assert noticed == 1000


def test_resume_falls_back_to_previous_checkpoint(runner: Callable[..., Path]) -> None:
    undisturbed = runner("trainer.epochs=3")
    folder = runner("trainer.epochs=3")
    newest = max((folder / "checkpoints").glob("step-*.pt"))
    newest.write_bytes(flip(newest.read_bytes(), random.Random(0)))
    assert cli.main(["resume", str(folder), "trainer.epochs=3"]) == 0
    log = (folder / "run.log").read_text()
    assert f"{newest}: damaged" in log
    assert "6 steps are lost and will be repeated" in log
    assert equal(checkpoint(folder), checkpoint(undisturbed))


def test_resume_without_valid_checkpoint_changes_nothing(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runner("trainer.epochs=2")
    for path in (folder / "checkpoints").glob("step-*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    for path in (folder / "checkpoints").glob("best.pt"):
        path.write_bytes(b"")
    before = contents(folder)
    assert cli.main(["resume", str(folder), "trainer.epochs=4"]) == 1
    assert "all checkpoints are damaged; nothing was changed" in capsys.readouterr().err
    assert contents(folder) == before


def test_malicious_checkpoint_is_rejected_without_running_code(
    runner: Callable[..., Path], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(workdir / "pwned"),)

    folder = runner()
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    save_checkpoint(folder / "checkpoints" / "last.pt", {"step": 12, "model": Hostile()})  # with a valid checksum
    torch.save({"model": Hostile()}, folder / "checkpoints" / "best.pt")
    before = contents(folder)
    assert cli.main(["resume", str(folder), "trainer.epochs=4"]) == 1
    error = capsys.readouterr().err
    assert "last.pt: refused: contains more than plain types and tensors" in error
    assert "best.pt: damaged, or not a checkpoint of runner" in error
    assert contents(folder) == before
    assert not (workdir / "pwned").exists()


def test_edited_config_is_rejected_with_the_difference(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runner()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("size: 8", "size: 4"))
    before = contents(folder)
    assert cli.main(["resume", str(folder), "trainer.epochs=4"]) == 2
    assert "dataset.size: found 4, the run in this folder has 8" in capsys.readouterr().err
    assert contents(folder) == before


def test_non_finite_weights_are_not_saved(workdir: Path, runner: Callable[..., Path]) -> None:
    (workdir / "overflow_plugin.py").write_text(
        "import torch\n"
        "from runner.registry import OPTIMIZERS\n"
        "@OPTIMIZERS.register('overflow')\n"
        "class Overflow(torch.optim.SGD):\n"
        "    calls = 0\n"
        "    def step(self, closure=None):\n"
        "        super().step(closure)\n"
        "        self.calls += 1\n"
        "        if self.calls == 3:\n"
        "            with torch.no_grad(): self.param_groups[0]['params'][0].fill_(float('inf'))\n"
    )
    folder = runner("plugins=[overflow_plugin]", "optim.name=overflow", "trainer.checkpoint.every_steps=1", code=3)
    assert results(folder)["error"]["message"].startswith("step 3: a weight is not finite")
    assert checkpoint(folder)["step"] == 2
