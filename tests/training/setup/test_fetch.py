"""Tests of weights published by torchvision, which a local server stands in for."""

import hashlib
import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers import equal
from runner import cli
from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.errors import ConfigError, DataError
from runner.training.checks.check import check
from runner.training.setup.build import build
from runner.training.setup.fetch import fetch
from runner.training.setup.initial import as_resumed
from runner.training.setup.weights import WeightsFile, fetch_weights, hash_prefix, locate, read_weights
from runner.vision import torchvision

ARCH = "shufflenet_v2_x0_5"
MODEL = ["model=torchvision", f"model.arch={ARCH}", "init.from=torchvision:IMAGENET1K_V1", "dataset.size=32"]


def config_of(*overrides: str) -> Config:
    return compose_config([*MODEL, "device.threads=1", *overrides])


@pytest.fixture
def published(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Tensor]]:
    """Publish weights on a local server, with an empty cache; return them."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(workdir / "home"))
    torch.manual_seed(0)
    state: dict[str, Tensor] = torchvision.models.get_model(ARCH).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    name = f"{ARCH}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:10]}.pth"
    (workdir / "site").mkdir()
    (workdir / "site" / name).write_bytes(buffer.getvalue())
    handler = partial(SimpleHTTPRequestHandler, directory=str(workdir / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        value = torchvision.models.get_model_weights(ARCH).IMAGENET1K_V1.value
        monkeypatch.setattr(value, "url", f"http://127.0.0.1:{server.server_port}/{name}")
        yield state
        server.shutdown()


def test_weights_are_downloaded_once_and_loaded(published: dict[str, Tensor], workdir: Path) -> None:
    config = config_of()
    check(config)
    assert not (workdir / "home").exists()
    fetch(config)
    (served,) = (workdir / "site").iterdir()
    assert [path.name for path in (workdir / "home" / "hub" / "checkpoints").iterdir()] == [served.name]
    served.unlink()
    assert not fetch_weights(config)
    check(config)
    model = build(config).model.state_dict()
    left_out = ["conv1.0.weight", "fc.weight", "fc.bias"]  # three channels and 1,000 classes
    assert [name for name in published if not equal(model[name], published[name])] == left_out


def test_failed_download_names_url_file_and_folder(
    published: dict[str, Tensor], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = locate(config_of())
    (workdir / "site" / source.path.name).unlink()
    assert cli.main([*MODEL, "device.threads=1"]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "error: init.from: the download failed: HTTP Error 404: File not found",
        f"       Place {source.path.name} in {workdir / 'home/hub/checkpoints'}, from {source.url}",
    ]
    assert not (workdir / "outputs").exists()


def test_download_with_another_hash_is_refused(published: dict[str, Tensor], workdir: Path) -> None:
    path = locate(config_of()).path
    (workdir / "site" / path.name).write_bytes(b"other")
    with pytest.raises(DataError, match=r"init.from: the download failed: invalid hash value"):
        fetch(config_of())
    assert list(path.parent.iterdir()) == []


def test_damaged_file_in_the_cache_is_refused(published: dict[str, Tensor]) -> None:
    fetch(config_of())
    path = locate(config_of()).path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=rf"init.from: {path}: damaged: its SHA-256 starts with .*; delete it"):
        check(config_of())


def test_downloaded_weights_are_compared_with_the_model(published: dict[str, Tensor]) -> None:
    config = config_of("init.match=[fc.*]")
    check(config)
    for step in (fetch, check):
        with pytest.raises(
            ConfigError, match=r"init.match: .*: fc.weight \(1000, 1024\) instead of \(10, 1024\), fc.b"
        ):
            step(config)


def test_unknown_weights_are_reported_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose_config(["model=torchvision", "init.from=torchvision:IMAGENET1K_V3"]))
    assert str(caught.value) == (
        "init.from: found 'torchvision:IMAGENET1K_V3', which model.arch=resnet18 does not have; "
        "allowed: DEFAULT, IMAGENET1K_V1."
    )


def test_nothing_is_downloaded_for_a_trained_model(published: dict[str, Tensor], workdir: Path) -> None:
    fetch(as_resumed(config_of()))
    fetch(compose_config(["init.from=nowhere.pt"]))
    assert not (workdir / "home").exists()


def test_old_names_in_files_are_those_of_the_models(workdir: Path) -> None:
    with torch.device("meta"):
        known = {
            name for arch in ("densenet121", "vit_b_16") for name in torchvision.models.get_model(arch).state_dict()
        }
    old = [
        "features.denseblock1.denselayer1.norm.1.running_mean",
        "features.denseblock4.denselayer16.conv.2.weight",
        "encoder.layers.encoder_layer_0.mlp.linear_1.weight",
        "encoder.layers.encoder_layer_11.mlp.linear_2.bias",
    ]
    assert known.isdisjoint(old)
    path = workdir / "old.pth"
    torch.save(dict.fromkeys(old, torch.ones(1)), path)
    named = path.rename(path.with_name(f"old-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"))
    assert len(read_weights(WeightsFile(named, "https://example.org")).keys() & known) == len(old)
    assert list(read_weights(WeightsFile(named))) == old


def test_all_urls_are_https_and_contain_a_hash() -> None:
    for arch in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(arch).__members__.values():
            assert weights.url.startswith("https://")
            assert len(hash_prefix(Path(weights.url))) >= 8
