"""Data sets of the benchmarks' shapes, made from the digits that come with scikit-learn: nothing is downloaded."""

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from helpers import idx
from runner.dataset.digits import Digits

HELD_OUT = 300  # of the 1,797 digits: they make test pictures, and never training pictures


def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Pictures [N, 1, 8, 8] in 0..1 and classes [N]: for training and for testing, before anything is varied."""
    images, targets = Digits(size=8).load().samples
    assert isinstance(images, Tensor)
    images = images.float() / 255
    return (images[HELD_OUT:], targets[HELD_OUT:]), (images[:HELD_OUT], targets[:HELD_OUT])


def vary(images: Tensor, targets: Tensor, samples: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many pictures [samples, 1, size, size] as bytes and their classes: each moved, faded and with some noise."""
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


def mnist_shaped(root: Path) -> None:
    """60,000 + 10,000 pictures of 28x28 as MNIST's four files, where torchvision looks for them."""
    folder = root / "MNIST" / "raw"
    if (folder / "t10k-labels-idx1-ubyte").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples, source, seed in zip(("train", "t10k"), (60_000, 10_000), split(), (1, 2), strict=True):
        images, targets = vary(*source, samples, 28, seed)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images.squeeze(1)))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(targets.to(torch.uint8)))


def cifar_shaped(root: Path, samples: int = 10_000) -> None:
    """So many training and a fifth as many test pictures of 3x32x32, as the files of CIFAR-10's binary version."""
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
    """So many PNG files of 3x32x32 in a folder for each class."""
    done = root / "pictures.done"
    if done.exists():
        return
    images, targets = vary(*split()[0], samples, 32, 1)
    for target in range(10):
        (root / "pictures" / str(target)).mkdir(parents=True, exist_ok=True)
    for number, (image, target) in enumerate(zip(images.squeeze(1).numpy(), targets.tolist(), strict=True)):
        Image.fromarray(image).convert("RGB").save(root / "pictures" / str(target) / f"{number:06d}.png")
    done.touch()
