"""Check a config against the spec of its dataset."""

from runner.config.schema import Config
from runner.dataset.base import Spec
from runner.errors import ConfigError, nearest
from runner.training.build import build_augment
from runner.training.metrics import NAMES


def check_metrics(config: Config, spec: Spec) -> None:
    """Check that the metrics chosen for the best checkpoint and for early stopping exist for the task.

    Raises:
        ConfigError: one does not; the message suggests the nearest name.
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
        ConfigError: the config sets none aside, and the dataset has no test set of its own.
    """
    choice = config.dataset
    if choice.test_share is None and choice.folds is None and not spec.has_test and choice.val_share is not None:
        raise ConfigError(
            f"dataset.test_share: found null, and dataset={choice.name} has no test set of its own: "
            "set dataset.test_share=0.2 to test on a fifth of the samples, or dataset.val_share=null to validate and "
            "test on the training samples"
        )


def check_augment(config: Config, spec: Spec) -> None:
    """Check that augmentation is used only for the classification of images: it does not transform targets.

    Raises:
        ConfigError: it is used for another task or for other inputs.
    """
    if build_augment(config) is None:
        return
    if spec.task != "classification" or len(spec.in_shape) != 3:
        raise ConfigError(
            f"dataset.augment: for the classification of images only; dataset={config.dataset.name} is for "
            f"{spec.task} with inputs of shape {spec.in_shape}; allowed: null"
        )
