"""MNIST loaded with torchvision, which converts every image each time it is read."""

from pathlib import Path
from typing import Any

from common import BATCH, EVAL_BATCH, MEAN, STD, VALIDATION
from torch.utils.data import DataLoader, random_split

# On CPU-only builds this must come before any import of torchvision: it declares the missing operators.
from runner.vision import torchvision

TRAINING = 60_000 - VALIDATION


def loaders(data: Path, workers: int = 0) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
    """Return the loaders for training, validation and testing."""
    transforms = torchvision.transforms
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    train, val = random_split(torchvision.datasets.MNIST(data, train=True, transform=transform), [TRAINING, VALIDATION])
    test = torchvision.datasets.MNIST(data, train=False, transform=transform)
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    return (
        DataLoader(train, batch_size=BATCH, shuffle=True, **options),
        DataLoader(val, batch_size=EVAL_BATCH, **options),
        DataLoader(test, batch_size=EVAL_BATCH, **options),
    )
