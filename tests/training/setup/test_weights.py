import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers import checkpoint, equal
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.training.saving.checkpoint import save_checkpoint
from runner.training.setup.build import build
from runner.training.setup.weights import WeightsFile, locate, read_weights

Tiny = Callable[..., Config]
Run = Callable[..., Path]
Write = Callable[[dict[str, Tensor], Path], object]
STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.5, 2])}


def write_legacy(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("weights.pt", torch.save),
        ("weights.PTH", torch.save),
        ("legacy.pth", write_legacy),
        ("weights.safetensors", save_file),
        ("more.pt", lambda state, path: torch.save({**state, "epoch": 3, 4: torch.ones(1)}, path)),
    ],
)
def test_tensors_of_a_state_dict_are_read(workdir: Path, tiny: Tiny, name: str, write: Write) -> None:
    write(STATE, workdir / name)
    source = locate(tiny(f"init.from={name}"))
    assert source == WeightsFile(workdir / name)
    assert equal(read_weights(source), STATE)


def test_best_checkpoint_of_a_run_is_preferred_to_the_last_one(runner: Run, tiny: Tiny) -> None:
    folder = runner("trainer.epochs=3", "trainer.checkpoint.mode=max")
    last, best = (checkpoint(folder, name)["model"] for name in ("last.pt", "best.pt"))
    assert not equal(last, best)
    config = tiny(f"init.from={folder}")
    assert equal(read_weights(locate(config)), best)
    (folder / "checkpoints" / "best.pt").unlink()
    assert equal(read_weights(locate(config)), last)
    assert equal(read_weights(locate(tiny(f"init.from={folder}/checkpoints/last.pt"))), last)


def test_averaged_weights_are_preferred(runner: Run, tiny: Tiny) -> None:
    folder = runner("trainer.ema=0.9")
    saved = checkpoint(folder, "best.pt")
    assert not equal(saved["ema"]["module"], saved["model"])
    assert equal(read_weights(locate(tiny(f"init.from={folder}"))), saved["ema"]["module"])


def write_code(path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, ("open('ran', 'w').close()",)

    path.write_bytes(pickle.dumps({"weight": Code()}, protocol=2))


def write_truncated(path: Path) -> None:
    torch.save({"1.weight": torch.ones(16, 64)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def write_text(path: Path) -> None:
    path.write_text("weights")


def write_sweep(path: Path) -> None:
    path.mkdir()
    (path / "sweep.yaml").touch()


def write_checkpoint_of_another_format(path: Path) -> None:
    save_checkpoint(path, {"format": 99, "model": {}, "ema": None})


REFUSED = "a.pt: refused: damaged, or contains more than tensors and plain types"
STATE_DICT = "expected a state dict, as written by torch.save(model.state_dict(), path)"
KINDS = "allowed: a run folder, a .pt, .pth or .safetensors file, or torchvision:NAME"
NO_CHECKPOINT = "a: needs checkpoints/best.pt or checkpoints/last.pt, but"
FILES: dict[str, tuple[Callable[[Path], object], str, str]] = {  # how to write the file, its name, end of the message
    "a mistyped name": (
        lambda path: torch.save({}, path.with_name("resnet.pt")),
        "resent.pt",
        f"resent.pt does not exist; {KINDS}. Did you mean resnet.pt?",
    ),
    "another kind": (write_text, "a.ckpt", f"a.ckpt', a file of another kind; {KINDS}"),
    "a folder": (Path.mkdir, "a", f"{NO_CHECKPOINT} has none of them"),
    "a sweep": (write_sweep, "a", f"{NO_CHECKPOINT} is a sweep folder; name one of its runs"),
    "code": (write_code, "a.pt", f"{REFUSED} (eval); {STATE_DICT}"),
    "a whole model": (
        lambda path: torch.save(nn.Linear(2, 2), path),
        "a.pt",
        f"{REFUSED} (torch.nn.modules.linear.Linear); {STATE_DICT}",
    ),
    "a truncated file": (write_truncated, "a.pt", f"{REFUSED}; {STATE_DICT}"),
    "an empty file": (Path.touch, "a.pt", f"{REFUSED}; {STATE_DICT}"),
    "text": (write_text, "a.pt", f"{REFUSED}; {STATE_DICT}"),
    "a list": (lambda path: torch.save([torch.ones(1)], path), "a.pt", f"a.pt: found a list; {STATE_DICT}"),
    "no tensors": (
        lambda path: torch.save({"model": {"a": torch.ones(1)}, 2: 3}, path),
        "a.pt",
        f"a.pt: found model, 2, but no tensors; {STATE_DICT}",
    ),
    "damaged safetensors": (
        write_text,
        "a.safetensors",
        "a.safetensors: damaged, or not a safetensors file: Error while deserializing header: header too small",
    ),
    "another format": (
        write_checkpoint_of_another_format,
        "a.pt",
        "environment.json names the version that wrote it",
    ),
}


@pytest.mark.parametrize(("write", "name", "end"), FILES.values(), ids=FILES.keys())
def test_unusable_file_is_refused(
    workdir: Path, tiny: Tiny, write: Callable[[Path], object], name: str, end: str
) -> None:
    write(workdir / name)
    with pytest.raises(ConfigError) as caught:
        read_weights(locate(tiny(f"init.from={name}")))
    (text,) = caught.value.problems
    assert text.startswith("init.from: ")
    assert str(workdir / name) in text
    assert text.endswith(end)
    assert not (workdir / "ran").exists()


def test_damaged_checkpoint_is_refused(runner: Run, tiny: Tiny) -> None:
    folder = runner()
    path = folder / "checkpoints" / "best.pt"
    contents, bias = path.read_bytes(), checkpoint(folder, "best.pt")["model"]["3.bias"].numpy().tobytes()
    path.unlink()
    path.write_bytes(contents.replace(bias, bytes(len(bias)), 1))
    with pytest.raises(ConfigError, match=rf"init.from: {path}: damaged, or not a checkpoint of runner: its SHA-256"):
        read_weights(locate(tiny(f"init.from={folder}")))


def test_missing_package_is_named_with_the_command_that_installs_it(
    workdir: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (workdir / "a.safetensors").touch()
    with pytest.raises(
        ConfigError, match=r"a.safetensors: package safetensors is not installed; run pip install -e '.\[export\]'"
    ):
        read_weights(locate(tiny("init.from=a.safetensors")))


def test_file_that_vanishes_is_reported(workdir: Path) -> None:
    with pytest.raises(ConfigError, match=r"init.from: .*a.pt: cannot be read: No such file or directory"):
        read_weights(WeightsFile(workdir / "a.pt"))


def test_reading_does_not_depend_on_the_default_device(workdir: Path, tiny: Tiny) -> None:
    state = dict(build(tiny()).model.state_dict())
    torch.save(state, "a.pt")
    with torch.device("meta"):
        assert {tensor.device.type for tensor in read_weights(WeightsFile(workdir / "a.pt")).values()} == {"cpu"}
