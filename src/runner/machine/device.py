"""The choice of the device for a run."""

import torch
from torch import Tensor

from runner.errors import ConfigError
from runner.machine.ranks import local_rank, local_size, world_size


def available() -> list[str]:
    """Return the names of this machine's devices, fastest first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve(name: str) -> torch.device:
    """Return the device for `device.name` on this machine; under torchrun, each process gets its own GPU.

    Args:
        name: auto, cpu, cuda, cuda:N or mps.

    Raises:
        ConfigError: this machine does not have the device, or has fewer GPUs than processes. All processes of the
            machine raise the same error.
    """
    here = available()
    if world_size() > 1:
        if name not in ("auto", "cuda", "cpu"):
            raise ConfigError(
                f"device.name: found {name!r}; allowed under torchrun: auto, cuda (one GPU per process), cpu"
            )
        here = [each for each in here if each != "mps"]  # torch.distributed has no backend for MPS
        if name != "cpu" and 0 < len(here) - 1 < local_size():
            raise ConfigError(
                f"device.name: found {name!r}; torchrun started {local_size()} processes on a machine with "
                f"{len(here) - 1} GPU(s); use torchrun --nproc_per_node={len(here) - 1} or device.name=cpu"
            )
    if name == "auto":
        name = here[0].partition(":")[0]
    if name == "cuda":
        name = f"cuda:{local_rank()}"
    if name not in here:
        raise ConfigError(
            f"device.name: found {name!r}, which this machine does not have; available: {', '.join(here)}"
        )
    return torch.device(name)


def kind(name: str) -> str:
    """Return the type of the device that `device.name` selects, such as cuda, whether or not this machine has it."""
    return (available()[0] if name == "auto" else name).partition(":")[0]


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to an NVIDIA GPU, without waiting for the copy.

    On MPS, a copy that does not wait may read memory that has been freed (pytorch/pytorch#189690).
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def allow_tf32(device: torch.device, allowed: bool) -> None:
    """Set whether linear layers, convolutions and recurrent layers may use TF32 on an NVIDIA GPU.

    These flags also set the newer `torch.backends.cuda.matmul.fp32_precision` and
    `torch.backends.cudnn.conv.fp32_precision`. After setting those, reading the flags raises a RuntimeError, and
    `torch.compile` reads both.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def benchmark_cudnn(device: torch.device, enabled: bool) -> None:
    """Set whether cuDNN measures its convolution algorithms for each new shape, and takes the fastest one.

    Args:
        device: device of the run; only an NVIDIA GPU has cuDNN.
        enabled: whether it does; the algorithm may then differ between runs.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = enabled


def describe(device: torch.device) -> str:
    """Return a description of the device, such as `cuda:0 (NVIDIA H200)` or `cpu (2 threads)`."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
