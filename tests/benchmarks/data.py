"""Datasets for the benchmarks, generated from scikit-learn's digits without a download."""

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from helpers import idx
from runner.dataset.digits import Digits

HELD_OUT = 300  # of the 1,797 digits, used for test images only


def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images [N, 1, 8, 8] in [0, 1] and classes [N] for training, and the same for testing."""
    images, targets = Digits(size=8).load().samples
    assert isinstance(images, Tensor)
    images = images.float() / 255
    return (images[HELD_OUT:], targets[HELD_OUT:]), (images[:HELD_OUT], targets[:HELD_OUT])


def vary(images: Tensor, targets: Tensor, samples: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return random variations of the images: shifted, dimmed and with noise.

    Returns:
        Images [samples, 1, size, size], uint8, and their classes [samples].
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(images), (samples,), generator=generator)
    inner, made = size - 8, []
    scaled = F.interpolate(images, size=(inner, inner), mode="bilinear")
    for part in chosen.split(5000):
        canvas = torch.zeros(len(part), 1, size, size)
        shifts = torch.randint(0, 9, (len(part), 2), generator=generator).tolist()
        for place, picture, (down, right) in zip(canvas, scaled[part], shifts, strict=True):
            place[:, down : down + inner, right : right + inner] = picture
        canvas *= 0.6 + 0.4 * torch.rand(len(part), 1, 1, 1, generator=generator)
        canvas += 0.05 * torch.randn(canvas.shape, generator=generator)
        made.append((canvas.clamp(0, 1) * 255).to(torch.uint8))
    return torch.cat(made), targets[chosen]


def mnist_shaped(root: Path, samples: int = 60_000) -> None:
    """Write training images, and a sixth as many test images, of 28x28 in MNIST's format, where torchvision reads."""
    folder = root / "MNIST" / "raw"
    if (folder / "t10k-labels-idx1-ubyte").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, source, seed in zip(("train", "t10k"), (samples, samples // 6), split(), (1, 2), strict=True):
        images, targets = vary(*source, count, 28, seed)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images.squeeze(1)))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(targets.to(torch.uint8)))


def cifar_shaped(root: Path, samples: int = 10_000) -> None:
    """Write training images, and a fifth as many test images, of 3x32x32 in CIFAR-10's binary format."""
    folder = root / "cifar-10-batches-bin"
    if (folder / "test_batch.bin").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (train, test), each = split(), samples // 5
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        images, targets = vary(*(test if name == "test_batch" else train), each, 32, number)
        pixels = images.expand(-1, 3, -1, -1).reshape(each, -1)
        (folder / f"{name}.bin").write_bytes(torch.cat([targets[:, None].to(torch.uint8), pixels], 1).numpy().tobytes())


def png_folder(root: Path, samples: int = 100_000) -> None:
    """Write PNG files of 32x32 RGB images in one folder per class."""
    done = root / "pictures.done"
    if done.exists():
        return
    images, targets = vary(*split()[0], samples, 32, 1)
    for target in range(10):
        (root / "pictures" / str(target)).mkdir(parents=True, exist_ok=True)
    for number, (image, target) in enumerate(zip(images.squeeze(1).numpy(), targets.tolist(), strict=True)):
        Image.fromarray(image).convert("RGB").save(root / "pictures" / str(target) / f"{number:06d}.png")
    done.touch()
