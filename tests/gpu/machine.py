"""The machine that a report comes from."""

import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def machine() -> dict[str, str]:
    """Return the hardware, the versions and the commit. It uses CUDA, so call it in a process of its own."""
    gpu, memory = "none", ""
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        gpu, memory = found.name, f"{found.total_memory / 2**30:.0f} GiB, {found.multi_processor_count} multiprocessors"
    driver = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {
        "GPU": gpu,
        "GPU memory": memory or "none",
        "driver": driver or "unknown",
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "cuDNN": str(cudnn or "none"),
        "Python": platform.python_version(),
        "system": platform.platform(),
        "CPU cores": str(os.cpu_count()),
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the code, and whether files have been changed since."""
    found = output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return (found or "unknown") + (", with changes" if changed else "")


def output(*command: str) -> str:
    """Return what a command prints; nothing if it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def missing_gpu() -> str | None:
    """Return why no GPU can be used, or None. Call it in a process of its own, as it may start CUDA."""
    if torch.cuda.is_available() and torch.version.cuda:
        return None
    return f"torch {torch.__version__}, torch.cuda.is_available() is {torch.cuda.is_available()}"
