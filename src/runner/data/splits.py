"""Training, validation and test splits, which depend only on the dataset's own seed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.data.sources import batch_of, draws
from runner.dataset.base import Pool, Readable, Samples, Spec
from runner.dataset.tree import Tree, at, bytes_of, is_tree, map_tensors, samples, take, tensors
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
        position = _stratified_position(everything, seed)
        rest, test = _take(everything, position % folds != index), _take(everything, position % folds == index)
        published = None
    elif test_share is not None:
        chosen = _every(_stratified_position(pool.samples, seed), test_share)
        rest, test = _take(pool.samples, ~chosen), _take(pool.samples, chosen)
    else:
        rest, test = pool.samples, pool.test
    if published is not None:
        train, val = rest, published
    elif val_share is not None:
        chosen = _every(_stratified_position(rest, seed + 1), val_share)
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
            f"dataset: its columns are not those of the training data ({', '.join(columns)}): "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    order = torch.tensor([spec.columns.index(name) for name in columns])
    return replace(spec, columns=columns), Splits(*(_with_columns(samples, order) for samples in splits))


def _with_columns(samples: Samples, order: Tensor) -> Samples:
    assert isinstance(samples.inputs, Tensor), "a table is in memory"
    return Samples(samples.inputs.index_select(1, order), samples.targets)


def fingerprint(samples: Samples) -> str:
    """Return a hash of all targets and of some inputs, few enough to be cheap."""
    digest = hashlib.blake2b(digest_size=8)
    if is_tree(samples.targets):
        for tensor in tensors(samples.targets):
            digest.update(bytes_of(tensor))
    for index in range(0, samples.size, max(1, samples.size // LOOKED_AT)):
        for values in (samples.inputs, samples.targets):
            if values is samples.inputs or not is_tree(values):
                for tensor in tensors(at(values, index)):
                    digest.update(bytes_of(tensor))
    return digest.hexdigest()


def _stratified_position(samples: Samples, seed: int) -> Tensor:
    """Return the position [N] of each sample in an order that is shuffled within each class.

    Evenly spaced positions, such as every tenth, therefore select a stratified subset, to within one sample per class.
    """
    shuffled, targets = torch.randperm(samples.size, generator=generator(seed, "split")), samples.targets
    if isinstance(targets, Tensor) and targets.ndim == 1 and not targets.is_floating_point():
        shuffled = shuffled[targets[shuffled].argsort(stable=True)]
    position = torch.empty_like(shuffled)
    position[shuffled] = torch.arange(len(shuffled))
    return position


def _every(position: Tensor, share: float) -> Tensor:
    """Return a mask [N] that selects this share of the ranks, evenly spaced."""
    exact = position.double()
    return ((exact + 1) * share).floor() > (exact * share).floor()


def _take(samples: Samples, mask: Tensor) -> Samples:
    indices = mask.nonzero().squeeze(1)
    inputs, targets = (
        take(each, indices) if is_tree(each) else Chosen(each, indices.numpy())
        for each in (samples.inputs, samples.targets)
    )
    return Samples(inputs, targets)


def _join(*parts: Samples) -> Samples:
    return Samples(_concatenate([part.inputs for part in parts]), _concatenate([part.targets for part in parts]))


def _concatenate(parts: list[Tree]) -> Tree:
    """Return trees as one tree; if one of the parts is read one sample at a time, so is the result."""
    return map_tensors(lambda *each: torch.cat(each), *parts) if all(map(is_tree, parts)) else Joined(tuple(parts))


@dataclass(frozen=True)
class Chosen:
    """A subset of inputs or targets that are read one at a time.

    Args:
        inputs: all inputs or targets.
        indices: which of them [N]; an array, which forked workers share, as they do not share a list of numbers.
    """

    inputs: Readable
    indices: NDArray[np.int64]

    @property
    def draws(self) -> bool:
        """Whether reading an input may draw random numbers."""
        return draws(self.inputs)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tree:
        return self.inputs[int(self.indices[index])]

    def take(self, indices: Sequence[int]) -> Tree:
        """Return some of the subset as one batch."""
        return batch_of(self.inputs, self.indices[indices].tolist())


@dataclass(frozen=True)
class Joined:
    """A concatenation of inputs or targets that are read one at a time."""

    parts: tuple[Tree, ...]

    @property
    def draws(self) -> bool:
        """Whether reading an input may draw random numbers."""
        return any(map(draws, self.parts))

    def __len__(self) -> int:
        return sum(map(_size, self.parts))

    def __getitem__(self, index: int) -> Tree:
        for part in self.parts:
            if index < _size(part):
                return at(part, index)
            index -= _size(part)
        raise IndexError(index)


def _size(part: Tree) -> int:
    return samples(part) if is_tree(part) else len(part)
