import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runner import cli
from runner.config.frozen import thaw
from runner.runs.predict import load_trained

REGRESSION = ("model=mlp", "dataset=line", "loss=mse", "dataset.val_share=0.2", "dataset.test_share=0.2")


def exported(run: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> tuple[Path, dict[str, Any]]:
    """Export a run and return the file and its description."""
    capsys.readouterr()
    assert cli.main(["export", str(run), "--format", kind]) == 0
    model, description = (line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines())
    return Path(model), json.loads(Path(description).read_text())


def expected(run: Path, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return raw inputs from the test split and the outputs of the best checkpoint for them."""
    parts, _ = load_trained(thaw(run / "config.yaml"), run, "best")
    inputs = parts.test.raw(torch.arange(samples))
    with torch.inference_mode():
        return inputs, parts.eval_model.eval()(parts.test.normalize(inputs))


def test_safetensors_contain_the_weights(runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors import safe_open

    run = runner()
    path, description = exported(run, "safetensors", capsys)
    weights = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["model"]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["runner"]) == description
        assert set(file.keys()) == set(weights)
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in weights.items())
    assert description["normalize"]["inside"] is False


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch.export", "onnx"])
@pytest.mark.parametrize("overrides", [(), ("trainer.ema=0.9", "model=lenet", "dataset.size=32"), REGRESSION])
def test_exported_model_returns_the_same_outputs(
    workdir: Path, capsys: pytest.CaptureFixture[str], kind: str, overrides: tuple[str, ...]
) -> None:
    parts = overrides or ("model=mlp", "dataset.size=8")
    assert cli.main([*parts, "trainer.epochs=1", "device.threads=1"]) == 0
    (run,) = workdir.glob("outputs/*/*")
    path, description = exported(run, kind, capsys)
    for samples in (1, 3, 5):  # the batch size is dynamic
        inputs, outputs = expected(run, samples)
        if kind == "onnx":
            import onnxruntime

            found = torch.from_numpy(onnxruntime.InferenceSession(path).run(None, {"inputs": inputs.numpy()})[0])
        else:
            found = torch.export.load(path).module()(inputs)
        np.testing.assert_allclose(found.detach(), outputs, rtol=1e-4, atol=1e-5)
    assert description["input"]["shape"] == ["batch", *inputs.shape[1:]]
    assert description["input"]["dtype"] == str(inputs.dtype).removeprefix("torch.")


def test_missing_package_is_reported(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner()
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert cli.main(["export", str(run), "--format", "onnx"]) == 2
    assert "; run pip install -e '.[export]' in the clone of runner" in capsys.readouterr().err
    assert not (run / "export").exists()
