"""Find and read the weights that a run starts from, as `init.from` says."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from runner.config.schema import Config
from runner.dataset.download import fetch_file
from runner.errors import CheckpointError, ConfigError, DataError, install, nearest
from runner.machine.files import one_at_a_time
from runner.training.saving.checkpoint import Checkpoints, load_checkpoint

TORCHVISION = "torchvision:"
SUFFIXES = (".pt", ".pth", ".safetensors")
KINDS = "a run folder, a .pt, .pth or .safetensors file, or torchvision:NAME"
EXPECTED = "expected a state dict, as written by torch.save(model.state_dict(), path)"
RENAMED = (  # names in torchvision's files that differ from those in its models, which rename them when they load
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.mlp)\.linear_2\."), r"\1.3."),
)


class WeightsFile(NamedTuple):
    """A file of weights, and the https URL from which it can be downloaded, if it is published by torchvision."""

    path: Path
    url: str | None = None


def locate(config: Config) -> WeightsFile:
    """Return the file that `init.from` means. A file of torchvision may not have been downloaded yet.

    Raises:
        ConfigError: there is no such file, or it is none of the supported kinds.
    """
    assert config.init.source is not None
    if config.init.source.startswith(TORCHVISION):
        return _published(config, config.init.source.removeprefix(TORCHVISION))
    path = Path(config.init.source)
    if path.is_dir():
        checkpoints = Checkpoints(path / "checkpoints", keep_last=1)
        found = [file for file in (checkpoints.best, checkpoints.last) if file.is_file()]
        if not found:
            hint = "is a sweep folder; name one of its runs" if (path / "sweep.yaml").exists() else "has none of them"
            raise ConfigError(f"init.from: {path}: needs checkpoints/best.pt or checkpoints/last.pt, but {hint}")
        return WeightsFile(found[0])
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*")]
        raise ConfigError(f"init.from: {path} does not exist; allowed: {KINDS}.{did_you_mean(path.name, beside)}")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"init.from: found {str(path)!r}, a file of another kind; allowed: {KINDS}")
    return WeightsFile(path)


def _published(config: Config, name: str) -> WeightsFile:
    """Return the file of torchvision's weights with this name, in the cache of `torch.hub`.

    Raises:
        ConfigError: the model is not from torchvision, or has no such weights.
    """
    if config.model.name != "torchvision":
        raise ConfigError(
            f"init.from: found {TORCHVISION + name!r}; model={config.model.name} is not from torchvision; "
            f"allowed: model=torchvision, or {KINDS.rpartition(', or')[0]}"
        )
    from runner.vision import torchvision  # imported only here, because it takes about a second

    arch = config.model.values["arch"]
    known = torchvision.models.get_model_weights(arch).__members__
    if name not in known:
        raise ConfigError(
            f"init.from: found {TORCHVISION + name!r}, which model.arch={arch} does not have; {nearest(name, known)}"
        )
    url: str = known[name].url
    return WeightsFile(Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1], url)


def fetch_weights(config: Config) -> bool:
    """Download the weights of torchvision that `init.from` names, unless they are in the cache.

    Returns:
        Whether they were downloaded.

    Raises:
        DataError: the download failed; the message names the URL, the file and its folder.
    """
    if config.init.source is None or not config.init.source.startswith(TORCHVISION):
        return False
    path, url = locate(config)
    if url is None or path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path):
            if not path.exists():  # another process may have downloaded it
                fetch_file(url, path, hash_prefix(path))
    except (OSError, RuntimeError, HTTPException) as error:  # RuntimeError: its SHA-256 is wrong
        raise DataError(
            f"init.from: the download failed: {error}\nPlace {path.name} in {path.parent}, from {url}"
        ) from error
    return True


def hash_prefix(path: Path) -> str:
    """Return the first digits of the SHA-256 in the name of a published file, such as resnet18-f37072fd.pth."""
    found = torch.hub.HASH_REGEX.search(path.name)
    assert found is not None, "the names of all files of torchvision contain it"
    return found[1]


def read_weights(source: WeightsFile) -> dict[str, Tensor]:
    """Return the tensors in a file by name; for a checkpoint, the averaged weights if it has any.

    Raises:
        ConfigError: the file cannot be read, is damaged, or contains anything but tensors and plain types; or a package
            is missing.
    """
    path = source.path
    try:
        path.open("rb").close()  # the errors below are those of its contents
        if source.url is not None:
            _verify(path)
    except OSError as error:
        raise ConfigError(f"init.from: {path}: cannot be read: {error.strerror}") from error
    contents = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    tensors = {name: value for name, value in contents.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"init.from: {path}: found {some(contents)}, but no tensors; {EXPECTED}")
    if source.url is not None:
        for pattern, new in RENAMED:
            tensors = {pattern.sub(new, name): tensor for name, tensor in tensors.items()}
    return tensors


def _verify(path: Path) -> None:
    """Check the SHA-256 of a published file, which may have been placed by hand.

    Raises:
        ConfigError: it is wrong.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(hash_prefix(path)):
        raise ConfigError(
            f"init.from: {path}: damaged: its SHA-256 starts with {found[:8]}, expected {hash_prefix(path)}; delete it"
        )


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors.torch import load_file  # an optional package
    except ImportError as error:
        raise ConfigError(f"init.from: {path}: package safetensors is not installed; {install('export')}") from error
    try:
        return load_file(path)
    except Exception as error:  # SafetensorError, or a type that torch does not have
        raise ConfigError(f"init.from: {path}: damaged, or not a safetensors file: {error}") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    """Return the contents of a file of `torch.save`: for a checkpoint of a run its weights, or all."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an uncommon pickle protocol
            # mmap reads only what is used, but does not support the format of torch < 1.6, which is not a zip archive.
            contents = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # damage can raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        more = f" ({code[1]})" if code else ""
        raise ConfigError(
            f"init.from: {path}: refused: damaged, or contains more than tensors and plain types{more}; {EXPECTED}"
        ) from error
    if not isinstance(contents, Mapping):
        raise ConfigError(f"init.from: {path}: found a {type(contents).__name__}; {EXPECTED}")
    if not {"format", "model", "ema"} <= contents.keys():
        return contents
    try:
        checkpoint = load_checkpoint(path)  # verifies it
    except CheckpointError as error:
        raise ConfigError(f"init.from: {error}") from error
    averaged = checkpoint["ema"]
    return checkpoint["model"] if averaged is None else averaged["module"]


def some(names: Collection[object], most: int = 5) -> str:
    """Return the first names, for a message."""
    first = ", ".join(map(str, islice(names, most)))
    return f"{first} and {len(names) - most} more" if len(names) > most else first or "nothing"


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean X?" with the nearest of many names, or ""."""
    meant = nearest(name, allowed).partition(" Did you mean ")
    return "".join(meant[1:])
