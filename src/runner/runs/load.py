"""Load the trained model of a run, for code of the user's own: a notebook, or a task that distills a teacher."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from runner.config.frozen import thaw
from runner.errors import CheckpointError, ConfigError
from runner.plugins import load_plugins
from runner.training.saving.checkpoint import load_checkpoint
from runner.training.setup.build import build_model
from runner.training.setup.build_data import build_dataset


def load_model(folder: str | Path, checkpoint: str = "best") -> nn.Module:
    """Return the model of a run on the CPU, in evaluation mode and with frozen parameters.

    It takes normalized inputs, as in training. Averaged weights are taken if the run has any.

    Args:
        folder: run folder.
        checkpoint: `best` or `last`.

    Raises:
        ConfigError: there is no such run folder or checkpoint.
        CheckpointError: the checkpoint is damaged or does not fit the model.
    """
    path = Path(folder) / "checkpoints" / f"{checkpoint}.pt"
    if not path.is_file():
        raise ConfigError(f"{folder}: not a run folder with a checkpoint {checkpoint}.pt")
    config = thaw(Path(folder) / "config.yaml")
    load_plugins(config.plugins)
    saved = load_checkpoint(path)
    trained = saved["spec"]
    unit = {"target_mean": trained["target_mean"], "target_std": trained["target_std"]}
    model = build_model(config, replace(build_dataset(config).spec, **unit))
    try:
        model.load_state_dict(saved["model"] if saved["ema"] is None else saved["ema"]["module"])
    except RuntimeError as error:
        raise CheckpointError(f"{path}: does not fit model={config.model.name}: {error}") from error
    return model.requires_grad_(False).eval()
