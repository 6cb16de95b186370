"""Export a run's model for other programs, with a description of its inputs and outputs."""

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner.config.schema import Config
from runner.errors import ConfigError, RunnerError, install
from runner.machine.files import write_atomically
from runner.runs.predict import load_trained
from runner.training.parts import Parts


class Standalone(nn.Module):
    """A model that takes the raw inputs of the dataset, because it includes their normalization.

    Args:
        model: model that takes normalized inputs.
        mean: mean of the inputs, broadcastable to them; uint8 inputs are divided by 255 first.
        std: standard deviation of the inputs, broadcastable to them.
        is_uint8: whether the inputs are uint8.
    """

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor, is_uint8: bool) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.model, self.is_uint8 = model, is_uint8
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs [B, F] for raw inputs [B, *in_shape], uint8 or float."""
        if not (self.is_uint8 or inputs.is_floating_point()):
            return self.model(inputs)  # tokens
        scaled = inputs.float() / 255 if self.is_uint8 else inputs
        return self.model((scaled - self.mean) / self.std)


def export_run(config: Config, folder: Path, checkpoint: str, kind: str, output: Path | None) -> tuple[Path, Path]:
    """Export the model of a checkpoint and write a JSON description beside it.

    Args:
        config: config of the run.
        folder: run folder.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        kind: `safetensors` (only the state dict), `torch.export` or `onnx` (the whole computation).
        output: file to write; None: a file in `export/` in the run folder.

    Returns:
        The paths of the model and of its description.

    Raises:
        ConfigError: the checkpoint does not exist, a package is missing, or `output` cannot be written.
        RunnerError: the model cannot be exported.
    """
    suffix, write, package = WRITERS[kind]
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"--format {kind}: package {error.name} is not installed; {install('export')}") from error
    parts, path = load_trained(config, folder, checkpoint)
    parts.eval_model.eval()
    inputs = parts.test.raw(torch.arange(min(2, len(parts.test.source))))
    if not isinstance(inputs, Tensor):
        raise ConfigError(
            f"--format {kind}: model={config.model.name} takes a tuple or dict of inputs; only models of one tensor "
            "can be exported; its state dict is under the key `model` of the checkpoint"
        )
    inputs = inputs.cpu()
    model = parts.eval_model.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module = Standalone(model, parts.test.mean.cpu(), parts.test.std.cpu(), inputs.dtype == torch.uint8).eval()
    target = (output or folder / "export" / f"model{suffix}").absolute()
    description = describe(parts, path, kind, inputs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(module, inputs, target, description)
        write_atomically(target.with_name(target.name + ".json"), json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"--output: {target} cannot be written: {error}") from error
    except Exception as error:
        raise RunnerError(f"--format {kind}: model={config.model.name} cannot be exported: {error}") from error
    return target, target.with_name(target.name + ".json")


def describe(parts: Parts, checkpoint: Path, kind: str, inputs: Tensor) -> dict[str, Any]:
    """Return the description of an exported model: its inputs, normalization and outputs."""
    dtype = str(inputs.dtype).removeprefix("torch.")
    return {
        "schema": 1,
        "format": kind,
        "checkpoint": str(checkpoint),
        "model": {"name": parts.config.model.name, **parts.config.model.values},
        "input": {"name": "inputs", "shape": ["batch", *parts.spec.in_shape], "dtype": dtype},
        "normalize": {
            "divide_by": 255 if inputs.dtype == torch.uint8 else 1,
            "mean": parts.test.mean.flatten().tolist(),
            "std": parts.test.std.flatten().tolist(),
            "inside": kind != "safetensors",
        },
        "output": {
            "name": "outputs",
            "shape": ["batch", *(parts.task.out_shape() or [parts.spec.out_features])],
            "task": parts.spec.task,
            "rescale": {"std": parts.spec.target_std, "mean": parts.spec.target_mean, "inside": kind != "safetensors"},
        },
        "classes": list(parts.spec.classes),
    }


def write_safetensors(module: Standalone, inputs: Tensor, target: Path, description: dict[str, Any]) -> None:
    """Write the state dict of the model, without the normalization; the description becomes the file's metadata."""
    from safetensors.torch import save

    state = {name: tensor.contiguous().clone() for name, tensor in module.model.state_dict().items()}
    write_atomically(target, save(state, metadata={"runner": json.dumps(description)}))


def write_torch_export(module: Standalone, inputs: Tensor, target: Path, description: dict[str, Any]) -> None:
    """Write the model as a program of torch.export, traced with the inputs."""
    torch.export.save(export_program(module, inputs), target)


def write_onnx(module: Standalone, inputs: Tensor, target: Path, description: dict[str, Any]) -> None:
    """Write the model as ONNX, traced with the inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings inside the exporter
        program = torch.onnx.export(
            export_program(module, inputs), input_names=["inputs"], output_names=["outputs"], dynamo=True, verbose=False
        )
    assert program is not None
    program.save(str(target))


def export_program(module: Standalone, inputs: Tensor) -> torch.export.ExportedProgram:
    """Return the model as an exported program with a dynamic batch size."""
    return torch.export.export(module, (inputs,), dynamic_shapes={"inputs": {0: torch.export.Dim("batch")}})


Writer = Callable[[Standalone, Tensor, Path, dict[str, Any]], None]
WRITERS: dict[str, tuple[str, Writer, str]] = {
    "safetensors": (".safetensors", write_safetensors, "safetensors"),
    "torch.export": (".pt2", write_torch_export, "torch.export"),
    "onnx": (".onnx", write_onnx, "onnxscript"),
}
