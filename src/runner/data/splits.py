"""The splits: which samples train, validate and test, drawn once and for all by the dataset's own seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from runner.dataset.base import Pool, Readable, Samples, Spec
from runner.errors import ConfigError, DataError
from runner.machine.seeds import generator

LOOKED_AT = 50  # inputs, for a fingerprint


class Splits(NamedTuple):
    """Samples by use, each with its indices into where they came from."""

    train: Samples
    val: Samples
    test: Samples


def split(
    pool: Pool, *, seed: int, val_share: float | None, test_share: float | None, folds: int | None, fold: int | None
) -> Splits:
    """Draws the splits from a pool: fixed by the dataset's seed, each class represented in proportion.

    Args:
        pool: all samples, and the publisher's test and validation sets where there are some.
        seed: fixes the draw.
        val_share: share of the remaining samples that validate, unless the publisher's validation set does;
            None sets nothing apart: the training samples validate.
        test_share: share of the pool that tests; None takes the publisher's test set, or without one, where
            val_share is None too, the training samples.
        folds, fold: with K folds the test split is fold k of all samples, the publisher's sets included.
    """
    published = pool.val
    test: Samples | None
    if folds is not None and fold is not None:
        everything = _join(*(samples for samples in (pool.samples, pool.val, pool.test) if samples is not None))
        rank = _stratified_rank(everything.targets, seed)
        rest, test = _take(everything, rank % folds != fold), _take(everything, rank % folds == fold)
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
    """The spec with what the dataset leaves to the training split: mean and std of each column, and of the targets.

    A function of the split alone, so a resumed run finds the same numbers. What never changes keeps its scale.
    """
    if spec.standardize:
        assert isinstance(train.inputs, Tensor), "what is measured is in memory"
        exact = train.inputs.double()
        mean, std = exact.mean(0), exact.std(0, correction=0)
        spec = replace(spec, mean=tuple(mean.tolist()), std=tuple(std.where(std > 0, 1.0).tolist()))
    if spec.standardize_targets:
        exact = train.targets.double()
        spec = replace(spec, target_mean=exact.mean().item(), target_std=exact.std(correction=0).item() or 1.0)
    return spec


def as_trained(spec: Spec, splits: Splits, trained: Mapping[str, Any]) -> tuple[Spec, Splits]:
    """Return spec and splits as a trained model takes them, whatever this table's own mean and order of columns.

    Args:
        trained: the spec in the checkpoint of the model; without names of columns, where it is an old one.

    Raises:
        ConfigError: the table has other columns than the model was trained on; the message has their names.
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
    assert isinstance(samples.inputs, Tensor), "the rows of a table are in memory"
    return Samples(samples.inputs.index_select(1, order), samples.targets)


def fingerprint(samples: Samples) -> str:
    """Tells samples from others: a hash of all targets, and of some inputs, so that it costs next to nothing."""
    digest = hashlib.blake2b(samples.targets.numpy().tobytes(), digest_size=8)
    for index in range(0, len(samples.targets), max(1, len(samples.targets) // LOOKED_AT)):
        digest.update(samples.inputs[index].numpy().tobytes())
    return digest.hexdigest()


def _stratified_rank(targets: Tensor, seed: int) -> Tensor:
    """Ranks [N] of the samples, shuffled within a class, one class after the other.

    Any regular choice of ranks (every tenth, say) has each class in proportion, to within one sample.
    """
    shuffled = torch.randperm(len(targets), generator=generator(seed, "split"))
    if not targets.is_floating_point():
        shuffled = shuffled[targets[shuffled].argsort(stable=True)]
    rank = torch.empty_like(shuffled)
    rank[shuffled] = torch.arange(len(shuffled))
    return rank


def _every(rank: Tensor, share: float) -> Tensor:
    """A mask of evenly spaced ranks that holds `share` of them."""
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
    """Some of the inputs that are read one by one."""

    inputs: Readable
    indices: list[int]

    @property
    def draws(self) -> bool:
        """Whether reading one may draw random numbers."""
        return getattr(self.inputs, "draws", True)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        found: Tensor = self.inputs[self.indices[index]]
        return found


@dataclass(frozen=True)
class Joined:
    """Inputs that are read one by one, one part after the other."""

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
