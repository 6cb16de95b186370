"""What the speed section trains: the networks W1 and W7 of the benchmarks, on made-up data of their shape."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from data import cifar_shaped, mnist_shaped
from gpu.meter import Length
from runner.dataset.cifar10 import CIFAR10
from runner.dataset.mnist import MNIST
from runner.model.lenet import LeNet
from runner.model.torchvision import torchvision_model

LR, MOMENTUM, PAD = 0.01, 0.9, 4
VALIDATION = 0.1  # share of the images that the runner does not train on


@dataclass(frozen=True)
class Work:
    """A network, its data and its batch size.

    Args:
        name: name in the report.
        network: lenet or resnet18.
        batch: images per step.
        length: number of steps.
        arguments: further arguments of the runner.
    """

    name: str
    network: str
    batch: int
    length: Length
    arguments: list[str] = field(default_factory=list)

    @property
    def augments(self) -> bool:
        """Whether images are mirrored, and cropped at random after padding."""
        return self.network == "resnet18"

    @property
    def precision(self) -> str:
        """Precision of the loops that use autocast."""
        return "bf16" if self.network == "resnet18" else "fp32"

    def model(self) -> nn.Module:
        """Return the model with random weights, on the CPU."""
        return LeNet((1, 28, 28), 10) if self.network == "lenet" else torchvision_model((3, 32, 32), 10)

    def images(self, root: Path) -> tuple[Tensor, Tensor]:
        """Return normalized images [N, C, H, W] and classes [N]: as many as the runner trains on."""
        dataset = MNIST(str(root)) if self.network == "lenet" else CIFAR10(str(root))
        samples = dataset.load().samples
        assert isinstance(samples.inputs, Tensor)
        assert isinstance(samples.targets, Tensor)
        kept = len(samples.targets) - round(VALIDATION * len(samples.targets))
        mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (dataset.spec.mean, dataset.spec.std))
        return (samples.inputs[:kept].float() / 255 - mean) / std, samples.targets[:kept]

    def runner(self, root: Path, device: str) -> list[str]:
        """Return the arguments of the runner."""
        usual = [f"dataset.root={root}", f"trainer.batch_size={self.batch}"]
        usual += [f"dataset.val_share={VALIDATION}", f"optim.momentum={MOMENTUM}", f"optim.lr={LR}", f"device={device}"]
        usual += [f"trainer.max_steps={self.length.steps}", "trainer.epochs=null", "trainer.validate_every=100000"]
        usual += ["trainer.checkpoint.every_epochs=null", "trainer.log_every=50"]
        if self.network == "lenet":
            return [*usual, "model=lenet", "dataset=mnist"]
        usual.append(f"trainer.precision={self.precision}")
        augmented = [f"dataset.augment.crop={PAD}", "dataset.augment.pad=reflect", "dataset.augment.flip=true"]
        return [*usual, "model=torchvision", "dataset=cifar10", *augmented]


FULL = [
    Work("W1: LeNet, batch 64", "lenet", 64, Length(300, 1000)),
    Work("W1: LeNet, batch 1024", "lenet", 1024, Length(100, 400)),
    Work("W7: resnet18, batch 128", "resnet18", 128, Length(50, 100)),
]
SMALL = [Work("W1: LeNet, batch 64", "lenet", 64, Length(1, 1))]

WRITES: dict[str, Callable[[Path], None]] = {"lenet": mnist_shaped, "resnet18": cifar_shaped}
