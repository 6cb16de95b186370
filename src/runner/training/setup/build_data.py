"""Build the data of a run from a checked config: the dataset, its splits, and their batches."""

import logging
from dataclasses import dataclass
from typing import Any

import torch

from runner.config.schema import Config
from runner.data.augment import Augment
from runner.data.batches import Batches
from runner.data.mix import Mix
from runner.data.sources import CPU, Collate, Collated, InMemory, Source
from runner.data.splits import Splits, split
from runner.data.streamed import Streamed
from runner.data.transforms import Transformed, build_transforms
from runner.dataset.base import Dataset, Pool, Samples, Spec, as_pool
from runner.dataset.tree import is_tree, tensors
from runner.errors import ConfigError, DataError
from runner.machine.distributed import ALONE, World
from runner.machine.ranks import is_leader
from runner.registry import DATASETS
from runner.task.base import Task
from runner.training.memory_format import uses_channels_last

log = logging.getLogger("runner")

REMEDIES = {  # for a split without samples
    "train": "set a smaller dataset.val_share or dataset.test_share",
    "val": "set a larger dataset.val_share, or null to validate on the training samples",
    "test": "set a larger dataset.test_share, or fewer dataset.folds",
}


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
    pool = as_pool(dataset.load())
    for part in pool:
        if part is not None:
            check_lengths(choice.name, part)
    if is_leader():
        warn_of_unused_test_set(config, spec, pool)
    splits = split(
        pool,
        seed=choice.seed,
        val_share=choice.val_share,
        test_share=choice.test_share,
        fold=None if choice.folds is None or choice.fold is None else (choice.fold, choice.folds),
    )
    for name, samples in splits._asdict().items():
        if samples.size == 0:
            count = f"its {pool.samples.size} samples leave none for the {name} split"
            raise DataError(f"dataset={choice.name}: {count}; {REMEDIES[name]}")
        if spec.task == "regression" and is_tree(samples.targets) and samples.targets.shape[1:] != (spec.out_features,):
            found = tuple(samples.targets.shape)
            raise DataError(f"dataset={choice.name}: targets of shape {found}, expected [N, {spec.out_features}]")
    return splits


def warn_of_unused_test_set(config: Config, spec: Spec, pool: Pool) -> None:
    """Warn if a dataset returns test samples that its spec does not mention and that the config does not use.

    If the spec does mention them, `dataset.test_share` was chosen knowingly.
    """
    choice = config.dataset
    if pool.test is not None and not spec.has_test and choice.test_share is not None and choice.fold is None:
        log.warning(
            "dataset.test_share=%s: the %d test samples of dataset=%s are not used; to test on them, set "
            "has_test=True in its Spec and test_share: null in its YAML file",
            choice.test_share,
            pool.test.size,
            choice.name,
        )


def check_lengths(name: str, samples: Samples) -> None:
    """Check that all tensors of the inputs and targets have the same length.

    Raises:
        DataError: they do not, or the inputs or targets are an array of another library.
    """
    found: dict[str, int] = {}
    for part, values in samples._asdict().items():
        if hasattr(values, "__array__") and not isinstance(values, torch.Tensor):
            raise DataError(
                f"dataset={name}: {part} is a {type(values).__name__}; expected a tensor; use torch.from_numpy"
            )
        lengths = [len(tensor) for tensor in tensors(values)] if is_tree(values) else [len(values)]
        found |= {f"{part}[{index}]" if len(lengths) > 1 else part: each for index, each in enumerate(lengths)}
    if len(set(found.values())) > 1:
        raise DataError(
            f"dataset={name}: different numbers of samples: {', '.join(f'{k} {n}' for k, n in found.items())}"
        )


@dataclass(frozen=True)
class Loader:
    """Make the batches of a run's splits.

    Args:
        config: a checked config.
        dataset: dataset of the run.
        spec: its spec, with the measured normalization.
        task: task of the run.
        device: device of the batches.
    """

    config: Config
    dataset: Dataset
    spec: Spec
    task: Task
    device: torch.device

    def source(self, samples: Samples, seed: int | None = None) -> Source:
        """Return the samples of a split in memory or streamed, as `dataset.in_memory` says."""
        collate: Collate | None = getattr(self.dataset, "collate", None)
        if not self.config.dataset.in_memory:
            return Streamed(samples, self.device, self.config.dataset.workers, collate)
        if collate is not None:
            return Collated(samples, self.device, collate, seed)
        # On a CPU, channels-last images would not make a step faster, but would take a second copy in memory.
        channels_last = self.device.type != "cpu" and uses_channels_last(self.config)
        return InMemory(samples, self.device, seed, channels_last)

    def transformed(self, samples: Samples) -> Source:
        """Return the samples of the training split, transformed each time they are read."""
        if self.config.dataset.in_memory:
            held = InMemory(samples, CPU, self.config.seed)
            samples = Samples(held.inputs, held.targets)
        inputs = Transformed(samples.inputs, build_transforms(self.config.dataset.transforms))
        return Streamed(Samples(inputs, samples.targets), self.device, self.config.dataset.workers)

    def train(self, samples: Samples, world: World) -> Batches:
        """Return the batches of the training split: shuffled and augmented.

        Raises:
            ConfigError: a batch has fewer samples than there are shards.
        """
        batches = Batches(
            self.transformed(samples) if self.config.dataset.transforms else self.source(samples, self.config.seed),
            self.spec,
            self.config.trainer.batch_size,
            seed=self.config.seed,
            repeat=self.config.dataset.repeat,
            augment=build_augment(self.config),
            mix=build_mix(self.config, self.spec),
            prepare=self.task.batch,
            world=world,
        )
        check_shards_filled(batches)
        return batches

    def evaluation(self, samples: Samples, world: World = ALONE) -> Batches:
        """Return the batches of the validation or test split, in the order of the samples."""
        size = max(self.config.trainer.eval_batch_size, world.shards)  # so that only the last batch has empty shards
        return Batches(self.source(samples), self.spec, size, prepare=self.task.batch, world=world)


def check_shards_filled(train: Batches) -> None:
    """Check that the smallest training batch has a sample for each shard.

    Raises:
        ConfigError: it has fewer samples than there are shards.
    """
    last, world = train.samples - (len(train) - 1) * train.size, train.world
    if last < world.shards:
        what = f"{world.size} processes" if world.shards == world.size else f"{world.shards} shards of trainer.shards"
        raise ConfigError(
            f"trainer.batch_size: found {train.size}, which leaves {last} samples for the last batch of an epoch; "
            f"the {what} need one each"
        )


def build_augment(config: Config) -> Augment | None:
    """Return the augmentation of the training images; None if it would change nothing."""
    choice = config.dataset.augment
    augment = None if choice is None else Augment(**choice.model_dump(exclude={"mixup", "cutmix"}))
    return None if augment == Augment() else augment


def build_mix(config: Config, spec: Spec) -> Mix | None:
    """Return mixup and CutMix of the training images; None if both are off."""
    choice = config.dataset.augment
    if choice is None or choice.mixup == choice.cutmix == 0:
        return None
    return Mix(choice.mixup, choice.cutmix, spec.out_features)
