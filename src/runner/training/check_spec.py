"""Check a config against the spec of its dataset."""

from runner.config.schema import Config
from runner.dataset.base import Spec
from runner.errors import ConfigError, nearest
from runner.training.build import build_augment
from runner.training.metrics import NAMES


def check_metrics(config: Config, spec: Spec) -> None:
    """Check that the task has the metrics of the best checkpoint and of early stopping.

    Raises:
        ConfigError: it has not.
    """
    known = [f"{part}/{name}" for part in ("train", "val") for name in NAMES[spec.task]]
    chosen = {
        "trainer.checkpoint.metric": config.trainer.checkpoint.metric,
        "trainer.early_stopping.metric": config.trainer.early_stopping.metric,
    }
    problems = [f"{key}: found {name!r}; {nearest(name, known)}" for key, name in chosen.items() if name not in known]
    if problems:
        raise ConfigError(*problems)


def check_splits(config: Config, spec: Spec) -> None:
    """Check that there are samples to test on.

    Raises:
        ConfigError: there are none; the message lists the choices.
    """
    choice = config.dataset
    if choice.test_share is None and choice.folds is None and not spec.has_test and choice.val_share is not None:
        raise ConfigError(
            f"dataset.test_share: found null, and dataset={choice.name} has no test set of its own: "
            "set dataset.test_share=0.2 to test on a fifth of the samples, or dataset.val_share=null to validate and "
            "test on the training samples"
        )


def check_augment(config: Config, spec: Spec) -> None:
    """Check that the dataset can be augmented: images, whose class stays the same.

    Raises:
        ConfigError: it cannot.
    """
    if build_augment(config) is None:
        return
    if spec.task != "classification" or len(spec.in_shape) != 3:
        raise ConfigError(
            f"dataset.augment: for the classification of images only; dataset={config.dataset.name} is for "
            f"{spec.task} with inputs of shape {spec.in_shape}; allowed: null"
        )
