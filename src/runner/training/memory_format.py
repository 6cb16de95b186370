"""The memory format of the model."""

from runner.config.schema import Config
from runner.machine.device import kind
from runner.registry import MODELS, OPTIMIZERS


def uses_channels_last(config: Config) -> bool:
    """Return whether the model is in the channels-last memory format.

    If the config does not say so, it depends on the model, the optimizer and the device.
    """
    if config.trainer.channels_last is not None:
        return config.trainer.channels_last
    if OPTIMIZERS.get(config.optim.name).traits.contiguous:
        return False
    suits = MODELS.get(config.model.name).traits.channels_last
    return suits(config.model.values, kind(config.device.name)) if callable(suits) else suits
