"""A run's model as a file for other programs, with a description of what goes in and what comes out."""

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import ConfigError, RunnerError
from runner.experiment import Experiment
from runner.files import write_atomically
from runner.predict import trained
from runner.settings import Config


class Standalone(nn.Module):
    """The model with all that the runner does before it: takes inputs as the dataset has them.

    Args:
        model: gives outputs [B, F] for normalised inputs.
        mean, std: of the inputs, in a shape that broadcasts; bytes are divided by 255 first.
        bytes_in: whether inputs are bytes.
    """

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor, bytes_in: bool) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.model, self.bytes_in = model, bytes_in
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, *in_shape], bytes or floats; outputs [B, F]."""
        scaled = inputs.float() / 255 if self.bytes_in else inputs
        outputs: Tensor = self.model((scaled - self.mean) / self.std)
        return outputs


def export_run(config: Config, folder: Path, checkpoint: str, kind: str, output: Path | None) -> tuple[Path, Path]:
    """Writes the model of a checkpoint, and a JSON file that describes it; returns both paths.

    Args:
        kind: `safetensors` (the state dict alone), `torch.export` or `onnx` (the whole computation).
        output: None: in the run's folder `export`.

    Raises:
        ConfigError: there is no such checkpoint, or a package is missing. RunnerError: the model cannot be exported.
    """
    suffix, write, package = WRITERS[kind]
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"--format {kind}: needs the package {error.name}: pip install 'runner[export]'") from error
    exp, path = trained(config, folder, checkpoint)
    exp.judged.eval()
    inputs = exp.test.raw(torch.arange(min(2, len(exp.test.source)))).cpu()
    model = exp.judged.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module = Standalone(model, exp.test.mean.cpu(), exp.test.std.cpu(), inputs.dtype == torch.uint8).eval()
    target = (output or folder / "export" / f"model{suffix}").absolute()
    description = describe(exp, path, kind, inputs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(module, inputs, target, description)
        write_atomically(target.with_name(target.name + ".json"), json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"--output: {target} cannot be written: {error}") from error
    except Exception as error:
        raise RunnerError(f"--format {kind}: model={config.model.name} cannot be exported: {error}") from error
    return target, target.with_name(target.name + ".json")


def describe(exp: Experiment, checkpoint: Path, kind: str, inputs: Tensor) -> dict[str, Any]:
    """What goes into the model and what comes out."""
    dtype = str(inputs.dtype).removeprefix("torch.")
    return {
        "schema": 1,
        "format": kind,
        "checkpoint": str(checkpoint),
        "model": {"name": exp.config.model.name, **exp.config.model.values},
        "input": {"name": "inputs", "shape": ["batch", *exp.spec.in_shape], "dtype": dtype},
        "normalise": {
            "divide_by": 255 if inputs.dtype == torch.uint8 else 1,
            "mean": exp.test.mean.flatten().tolist(),
            "std": exp.test.std.flatten().tolist(),
            "inside": kind != "safetensors",
        },
        "output": {
            "name": "outputs",
            "shape": ["batch", exp.spec.out_features],
            "task": exp.spec.task,
            "rescale": {"std": exp.spec.target_std, "mean": exp.spec.target_mean, "inside": kind != "safetensors"},
        },
        "classes": list(exp.spec.classes),
    }


def write_safetensors(module: Standalone, inputs: Tensor, target: Path, description: dict[str, Any]) -> None:
    from safetensors.torch import save

    state = {name: tensor.contiguous().clone() for name, tensor in module.model.state_dict().items()}
    write_atomically(target, save(state, metadata={"runner": json.dumps(description)}))


def write_torch_export(module: Standalone, inputs: Tensor, target: Path, description: dict[str, Any]) -> None:
    torch.export.save(exported(module, inputs), target)


def write_onnx(module: Standalone, inputs: Tensor, target: Path, description: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within the exporter
        program = torch.onnx.export(
            exported(module, inputs), input_names=["inputs"], output_names=["outputs"], dynamo=True, verbose=False
        )
    assert program is not None
    program.save(str(target))


def exported(module: Standalone, inputs: Tensor) -> torch.export.ExportedProgram:
    """The computation for any number of inputs."""
    return torch.export.export(module, (inputs,), dynamic_shapes={"inputs": {0: torch.export.Dim("batch")}})


Writer = Callable[[Standalone, Tensor, Path, dict[str, Any]], None]
WRITERS: dict[str, tuple[str, Writer, str]] = {
    "safetensors": (".safetensors", write_safetensors, "safetensors"),
    "torch.export": (".pt2", write_torch_export, "torch.export"),
    "onnx": (".onnx", write_onnx, "onnxscript"),
}
