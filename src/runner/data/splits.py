"""Training, validation and test splits, which depend only on the dataset's own seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from runner.dataset.base import Pool, Readable, Samples, Spec
from runner.errors import ConfigError, DataError
from runner.machine.seeds import generator

LOOKED_AT = 50  # a fingerprint covers about this many inputs


class Splits(NamedTuple):
    """The samples of each split."""

    train: Samples
    val: Samples
    test: Samples


def split(
    pool: Pool, *, seed: int, val_share: float | None, test_share: float | None, fold: tuple[int, int] | None
) -> Splits:
    """Split a pool into training, validation and test samples, stratified by class.

    Args:
        pool: all samples, with the publisher's test and validation sets if there are any.
        seed: seed of the split.
        val_share: share of the samples outside the test split to validate on, unless the publisher has a validation
            set. None: validate on the training samples.
        test_share: share of the pool to test on. None: the publisher's test set; without one, and if `val_share` is
            None too, the training samples.
        fold: index and number of the folds in cross-validation. The test split is this fold of all samples, including
            the publisher's sets.

    Returns:
        The splits.

    Raises:
        DataError: there is nothing to test on.
    """
    published = pool.val
    test: Samples | None
    if fold is not None:
        index, folds = fold
        everything = _join(*(samples for samples in (pool.samples, pool.val, pool.test) if samples is not None))
        rank = _stratified_rank(everything.targets, seed)
        rest, test = _take(everything, rank % folds != index), _take(everything, rank % folds == index)
        published = None
    elif test_share is not None:
        chosen = _every(_stratified_rank(pool.samples.targets, seed), test_share)
        rest, test = _take(pool.samples, ~chosen), _take(pool.samples, chosen)
    else:
        rest, test = pool.samples, pool.test
    if published is not None:
        train, val = rest, published
    elif val_share is not None:
        chosen = _every(_stratified_rank(rest.targets, seed + 1), val_share)
        train, val = _take(rest, ~chosen), _take(rest, chosen)
    else:
        train = val = rest
    if test is None and val is not train:
        raise DataError("dataset.test_share: found null, and there is no test set; set dataset.test_share=0.2")
    return Splits(train, val, train if test is None else test)


def measure(spec: Spec, train: Samples) -> Spec:
    """Return the spec with the mean and standard deviation of the training samples, if the dataset asks for them.

    They depend only on the split, so a resumed run measures the same values. For a constant column, 1 replaces the
    standard deviation 0.

    Args:
        spec: spec of the dataset.
        train: samples of the training split.
    """
    if spec.standardize:
        assert isinstance(train.inputs, Tensor), "a table is in memory"
        exact = train.inputs.double()
        mean, std = exact.mean(0), exact.std(0, correction=0)
        spec = replace(spec, mean=tuple(mean.tolist()), std=tuple(std.where(std > 0, 1.0).tolist()))
    if spec.standardize_targets:
        exact = train.targets.double()
        spec = replace(spec, target_mean=exact.mean().item(), target_std=exact.std(correction=0).item() or 1.0)
    return spec


def as_trained(spec: Spec, splits: Splits, trained: Mapping[str, Any]) -> tuple[Spec, Splits]:
    """Return the spec and the splits with the normalization and the column order of a trained model.

    Args:
        spec: spec of the dataset.
        splits: splits of the dataset.
        trained: spec in the model's checkpoint; old checkpoints have no column names.

    Raises:
        ConfigError: the table has other columns than the training data; the message names them.
    """
    if spec.standardize:
        spec = replace(spec, mean=tuple(trained["mean"]), std=tuple(trained["std"]))
    unit = {key: trained.get(key, default) for key, default in (("target_mean", 0.0), ("target_std", 1.0))}
    spec, columns = replace(spec, **unit), tuple(trained.get("columns", ()))
    if not spec.columns or not columns or spec.columns == columns:
        return spec, splits
    if set(spec.columns) != set(columns):
        unknown = [name for name in spec.columns if name not in columns]
        missing = [name for name in columns if name not in spec.columns]
        raise ConfigError(
            f"dataset: its columns are not those of the training ({', '.join(columns)}): "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    order = torch.tensor([spec.columns.index(name) for name in columns])
    return replace(spec, columns=columns), Splits(*(_with_columns(samples, order) for samples in splits))


def _with_columns(samples: Samples, order: Tensor) -> Samples:
    assert isinstance(samples.inputs, Tensor), "a table is in memory"
    return Samples(samples.inputs.index_select(1, order), samples.targets)


def fingerprint(samples: Samples) -> str:
    """Return a hash of all targets and of some inputs, few enough to be cheap."""
    digest = hashlib.blake2b(samples.targets.numpy().tobytes(), digest_size=8)
    for index in range(0, len(samples.targets), max(1, len(samples.targets) // LOOKED_AT)):
        digest.update(samples.inputs[index].numpy().tobytes())
    return digest.hexdigest()


def _stratified_rank(targets: Tensor, seed: int) -> Tensor:
    """Return the ranks [N] of the samples after shuffling them and sorting them by class.

    Evenly spaced ranks, such as every tenth, therefore select a stratified subset, to within one sample per class.
    """
    shuffled = torch.randperm(len(targets), generator=generator(seed, "split"))
    if not targets.is_floating_point():
        shuffled = shuffled[targets[shuffled].argsort(stable=True)]
    rank = torch.empty_like(shuffled)
    rank[shuffled] = torch.arange(len(shuffled))
    return rank


def _every(rank: Tensor, share: float) -> Tensor:
    """Return a mask [N] that selects this share of the ranks, evenly spaced."""
    exact = rank.double()
    return ((exact + 1) * share).floor() > (exact * share).floor()


def _take(samples: Samples, mask: Tensor) -> Samples:
    indices = mask.nonzero().squeeze(1)
    inputs = samples.inputs[indices] if isinstance(samples.inputs, Tensor) else Chosen(samples.inputs, indices.tolist())
    return Samples(inputs, samples.targets[indices])


def _join(*parts: Samples) -> Samples:
    tensors = [part.inputs for part in parts if isinstance(part.inputs, Tensor)]
    inputs = torch.cat(tensors) if len(tensors) == len(parts) else Joined(tuple(part.inputs for part in parts))
    return Samples(inputs, torch.cat([part.targets for part in parts]))


@dataclass(frozen=True)
class Chosen:
    """A subset of inputs that are read one at a time."""

    inputs: Readable
    indices: list[int]

    @property
    def draws(self) -> bool:
        """Whether reading an input may draw random numbers."""
        return getattr(self.inputs, "draws", True)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        found: Tensor = self.inputs[self.indices[index]]
        return found


@dataclass(frozen=True)
class Joined:
    """A concatenation of inputs that are read one at a time."""

    parts: tuple[Tensor | Readable, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Tensor:
        for part in self.parts:
            if index < len(part):
                found: Tensor = part[index]
                return found
            index -= len(part)
        raise IndexError(index)
