"""Check a config against the spec of its dataset."""

from runner.config.schema import Config
from runner.data.transforms import build_transforms, try_transforms
from runner.dataset.base import Dataset, Spec
from runner.errors import ConfigError, nearest
from runner.machine.ranks import world_size
from runner.registry import METRICS, MODELS
from runner.task.base import Task
from runner.task.classification import Classification
from runner.training.measuring.metric_set import build_metric_set
from runner.training.measuring.metric_set import chosen as chosen_metrics
from runner.training.setup.build_data import build_augment, build_mix


def check_metrics(config: Config, task: Task) -> None:
    """Check the metrics, and that those chosen for the best checkpoint and for early stopping are measured.

    Raises:
        ConfigError: a metric does not exist or does not fit the task, or is not measured; with the nearest name.
    """
    measured = build_metric_set(config, task)
    if world_size() > 1 or config.trainer.shards > 1:
        lacking = [name for name, metric in measured.others().items() if not hasattr(metric, "merge")]
        if lacking:
            raise ConfigError(
                f"metrics: {', '.join(lacking)} needs a method merge(states), see runner.metric.base.Metric, to be "
                f"measured with several processes or trainer.shards; allowed: a metric that has it, or a SumMetric"
            )
    known = [f"{part}/{name}" for part in ("train", "val") for name in measured.names]
    chosen = {
        "trainer.checkpoint.metric": config.trainer.checkpoint.metric,
        "trainer.early_stopping.metric": config.trainer.early_stopping.metric,
    }
    problems = []
    for key, name in chosen.items():
        whole = name.partition(".")[0]  # of a metric whose several values its trial did not show
        is_open = whole in known and whole.partition("/")[2] in measured.choices
        if name not in known and not is_open:
            problems.append(f"{key}: found {name!r}; {nearest(name, known)}{how_to_measure(config, task, name)}")
    if problems:
        raise ConfigError(*problems)


def how_to_measure(config: Config, task: Task, name: str) -> str:
    """Return how to measure a metric of the registry that is not measured, to end a message with; otherwise ""."""
    metric, listed = name.rpartition("/")[2], [each.name for each in chosen_metrics(config, task)]
    if metric not in METRICS.names() or metric in listed:
        return ""
    return f" To measure it, list it: metrics=[{','.join([*listed, metric])}]"


def check_supplies(config: Config, spec: Spec) -> None:
    """Check that the dataset supplies what the model needs of it.

    Raises:
        ConfigError: the model is for another kind of dataset.
    """
    if "vocab_size" in MODELS.get(config.model.name).traits.supply and "vocab_size" not in spec.supplies:
        raise ConfigError(
            f"model={config.model.name} does not fit dataset={config.dataset.name}: it takes tokens and needs "
            "vocab_size, which a dataset for language modeling supplies, such as dataset=text"
        )


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


def check_augment(config: Config, task: Task) -> None:
    """Check that augmentation is used only where it is right: it does not transform masks or values.

    Raises:
        ConfigError: it is used for another task or for other inputs.
    """
    spec = task.spec
    augment, mix = build_augment(config), build_mix(config, spec)
    images = len(spec.in_shape) == 3 and spec.example is None
    if augment is not None and not (images and spec.task in ("classification", "multilabel")):
        raise ConfigError(
            f"dataset.augment: for the classification of images only; dataset={config.dataset.name} is for "
            f"{spec.task} with inputs of shape {spec.in_shape}; allowed: null"
        )
    if mix is not None and not (images and isinstance(task, Classification) and spec.task == "classification"):
        raise ConfigError(
            "dataset.augment.mixup and dataset.augment.cutmix: for the classification of images only; "
            f"dataset={config.dataset.name} is for {spec.task} with inputs of shape {spec.in_shape}; allowed: 0"
        )
    if mix is not None and config.loss.name != "cross_entropy":
        raise ConfigError(
            f"dataset.augment.mixup and dataset.augment.cutmix: need a loss that takes probabilities as targets; "
            f"found loss={config.loss.name}; allowed: cross_entropy"
        )
    if augment is not None and augment.pad == "reflect" and augment.crop >= min(spec.in_shape[1:]):
        side = min(spec.in_shape[1:])
        raise ConfigError(f"dataset.augment.crop: found {augment.crop}; allowed with pad=reflect: less than {side}")
    if config.trainer.tta is not None and not images:
        raise ConfigError(f"trainer.tta: found {config.trainer.tta!r}, which is for images; allowed: null")


def check_transforms(config: Config, dataset: Dataset) -> None:
    """Check that the transforms exist, and that they keep the shape of the images.

    Raises:
        ConfigError: with one line for each problem.
    """
    choices, spec = config.dataset.transforms, dataset.spec
    if not choices:
        return
    images = len(spec.in_shape) == 3 and spec.example is None and not hasattr(dataset, "collate")
    if not (images and spec.task in ("classification", "multilabel")):
        raise ConfigError(
            f"dataset.transforms: for the classification of images only; dataset={config.dataset.name} is for "
            f"{spec.task} with inputs of shape {spec.in_shape}; allowed: []"
        )
    try_transforms(build_transforms(choices), spec.in_shape)
