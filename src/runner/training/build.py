"""Build the parts of a run from a checked config."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from runner.config.schema import Config
from runner.data.augment import Augment
from runner.data.batches import Batches
from runner.data.sources import InMemory, Source, Streamed
from runner.data.splits import Splits, as_trained, fingerprint, measure, split
from runner.dataset.base import Dataset, Samples, Spec
from runner.errors import ConfigError, DataError
from runner.loss.one_hot import OneHot
from runner.loss.standardized import InUnitOfTargets, Standardized
from runner.machine.device import allow_tf32, resolve
from runner.machine.distributed import ALONE, World
from runner.machine.seeds import derive, make_deterministic, seed_everything
from runner.registry import DATASETS, LOSSES, MODELS, OPTIMIZERS
from runner.training.ema import MovingAverage
from runner.training.optimizer import build_optimizer, build_scheduler
from runner.training.parts import Parts


def build(config: Config, world: World = ALONE, trained: Mapping[str, Any] | None = None) -> Parts:
    """Read the data and build all parts on the config's device.

    Args:
        config: a checked config.
        world: the processes that train together.
        trained: spec in the checkpoint of a model that is only evaluated: its inputs are normalized as in training.
            None: the model is trained.

    Returns:
        The parts, seeded by the config.

    Raises:
        ConfigError: the parts do not fit together.
        DataError: the dataset cannot be read.
    """
    device = prepare_device(config)
    dataset = build_dataset(config)
    spec = dataset.spec
    splits = split_dataset(config, dataset)
    if trained is None:
        spec = measure(spec, splits.train)
    else:
        spec, splits = as_trained(spec, splits, trained)
    train = training_batches(config, splits.train, spec, device, world)

    seed_everything(derive(config.seed, "weights"))
    model = build_model(config, spec).to(device)
    optimizer = build_optimizer(config, model)
    loss = build_loss(config, spec, class_counts(spec, splits.train.targets)).to(device)
    parts = Parts(
        config=config,
        spec=spec,
        device=device,
        model=model,
        forward=torch.compile(model) if config.trainer.compile else model,
        ema=None if config.trainer.ema is None else MovingAverage(model, config.trainer.ema),
        loss=loss,
        optimizer=optimizer,
        scheduler=build_scheduler(config, optimizer, len(train)),
        scaler=torch.amp.GradScaler(device.type, enabled=config.trainer.precision == "fp16"),
        train=train,
        val=evaluation_batches(config, splits.val, spec, device, world),
        test=evaluation_batches(config, splits.test, spec, device),
        data=fingerprint(splits.train),
        world=world,
    )
    seed_everything(derive(config.seed, "training", *world.salt))
    return parts


def prepare_device(config: Config) -> torch.device:
    """Return the device of the run, with its numerical settings applied."""
    device = resolve(config.device.name)
    if config.device.deterministic:
        make_deterministic(device)
    if config.device.tf32 is not None:
        allow_tf32(device, config.device.tf32)
    return device


def build_dataset(config: Config) -> Dataset:
    """Build the dataset; its samples are not read yet."""
    dataset: Dataset = DATASETS.build(config.dataset.name, config.dataset.values)
    return dataset


def fetch_data(config: Config) -> None:
    """Download the dataset's files, if it can be downloaded and they are missing.

    Raises:
        DataError: the download failed; the message names the files and their folder.
    """
    if hasattr(DATASETS.get(config.dataset.name).component, "fetch"):
        dataset: Any = build_dataset(config)
        dataset.fetch()


def split_dataset(config: Config, dataset: Dataset) -> Splits:
    """Load the samples and split them.

    Raises:
        DataError: a split is empty, or the targets do not have the shape in the spec.
    """
    choice, spec = config.dataset, dataset.spec
    splits = split(
        dataset.load(),
        seed=choice.seed,
        val_share=choice.val_share,
        test_share=choice.test_share,
        fold=None if choice.folds is None or choice.fold is None else (choice.fold, choice.folds),
    )
    for name, samples in splits._asdict().items():
        if len(samples.targets) == 0:
            raise DataError(f"dataset={choice.name} leaves no samples for the {name} split")
        if spec.task == "regression" and samples.targets.shape[1:] != (spec.out_features,):
            found = tuple(samples.targets.shape)
            raise DataError(f"dataset={choice.name}: targets of shape {found}, expected [N, {spec.out_features}]")
    return splits


def class_counts(spec: Spec, targets: Tensor) -> Tensor:
    """Return the number of samples of each class [K]; an empty tensor for regression."""
    return torch.bincount(targets, minlength=spec.out_features) if spec.task == "classification" else torch.zeros(0)


def open_source(config: Config, samples: Samples, device: torch.device, seed: int | None = None) -> Source:
    """Return the samples of a split in memory or streamed, as `dataset.in_memory` says."""
    if config.dataset.in_memory:
        return InMemory(samples, device, seed)
    return Streamed(samples, device, config.dataset.workers)


def training_batches(config: Config, samples: Samples, spec: Spec, device: torch.device, world: World) -> Batches:
    """Return the batches of the training split: shuffled and augmented.

    Raises:
        ConfigError: a batch has fewer samples than there are processes.
    """
    batches = Batches(
        open_source(config, samples, device, config.seed),
        spec,
        config.trainer.batch_size,
        seed=config.seed,
        repeat=config.dataset.repeat,
        augment=build_augment(config),
        world=world,
    )
    check_shares(batches)
    return batches


def evaluation_batches(
    config: Config, samples: Samples, spec: Spec, device: torch.device, world: World = ALONE
) -> Batches:
    """Return the batches of the validation or test split, in the order of the samples."""
    return Batches(open_source(config, samples, device), spec, config.trainer.eval_batch_size, world=world)


def check_shares(train: Batches) -> None:
    """Check that the smallest training batch has a sample for each process.

    Raises:
        ConfigError: it has fewer samples than there are processes.
    """
    last = train.samples - (len(train) - 1) * train.size
    if last < train.world.size:
        raise ConfigError(
            f"trainer.batch_size: found {train.size}, which leaves {last} samples for the last batch of an epoch; "
            f"the {train.world.size} processes of torchrun need one each"
        )


def build_augment(config: Config) -> Augment | None:
    """Return the augmentation of the training images; None if it would change nothing."""
    choice = config.dataset.augment
    augment = None if choice is None else Augment(**choice.model_dump())
    return None if augment == Augment() else augment


def build_model(config: Config, spec: Spec) -> nn.Module:
    """Build the model, in the memory format that the config asks for or that suits the model."""
    choice = config.model
    model: nn.Module = MODELS.build(choice.name, choice.values, in_shape=spec.in_shape, out_features=spec.out_features)
    channels_last = config.trainer.channels_last
    if channels_last is None:
        contiguous = OPTIMIZERS.get(config.optim.name).traits.contiguous
        channels_last = MODELS.get(choice.name).traits.channels_last and not contiguous
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if (spec.target_mean, spec.target_std) != (0, 1):
        model.register_forward_hook(InUnitOfTargets(spec.target_mean, spec.target_std))
    return model


def build_loss(config: Config, spec: Spec, counts: Tensor) -> nn.Module:
    """Build the loss. A loss that compares values gets the class indices of a classification as one-hot vectors.

    Args:
        config: a checked config.
        spec: spec of the dataset.
        counts: number of training samples of each class.

    Raises:
        ConfigError: the loss compares classes, but the dataset is for regression.
    """
    name = config.loss.name
    compares = LOSSES.get(name).traits.targets
    if compares == "classes" and spec.task == "regression":
        raise ConfigError(f"loss={name} compares classes, dataset={config.dataset.name} has none: it is for regression")
    loss: nn.Module = LOSSES.build(name, config.loss.values, class_counts=counts)
    if (spec.target_mean, spec.target_std) != (0, 1):
        return Standardized(loss, spec.target_mean, spec.target_std)
    return OneHot(loss, spec.out_features) if compares == "values" and spec.task == "classification" else loss
