from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from runner.errors import ConfigError
from runner.machine.device import allow_tf32, available, benchmark_cudnn, copy_to, describe, resolve


def pretend(monkeypatch: pytest.MonkeyPatch, gpus: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("gpus", "mps", "names"),
    [
        (0, False, ["cpu"]),
        (2, False, ["cuda:0", "cuda:1", "cpu"]),
        (0, True, ["mps", "cpu"]),
    ],
)
def test_available_devices_are_ordered_fastest_first(
    monkeypatch: pytest.MonkeyPatch, gpus: int, mps: bool, names: list[str]
) -> None:
    pretend(monkeypatch, gpus, mps)
    assert available() == names
    assert resolve("auto") == torch.device(names[0])
    assert [resolve(name) for name in names] == [torch.device(name) for name in names]


def test_unusable_gpus_are_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert available() == ["cpu"]


def test_cuda_means_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    assert resolve("cuda") == torch.device("cuda:0")


@pytest.mark.parametrize(("name", "found"), [("cuda", "cuda:0"), ("cuda:2", "cuda:2"), ("mps", "mps")])
def test_absent_device_raises_with_available_devices(monkeypatch: pytest.MonkeyPatch, name: str, found: str) -> None:
    pretend(monkeypatch)
    with pytest.raises(ConfigError, match=f"device.name: found '{found}', which this machine does not have; .*: cpu$"):
        resolve(name)


def test_gpu_index_out_of_range_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    with pytest.raises(ConfigError, match=r"found 'cuda:2', .* available: cuda:0, cuda:1, cpu"):
        resolve("cuda:2")


def test_describe_names_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert describe(torch.device("cuda:1")) == "cuda:1 (NVIDIA H200)"
    assert describe(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"
    assert describe(torch.device("mps")) == "mps"


def test_torchrun_gives_each_process_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [str(resolve(name)) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    with pytest.raises(
        ConfigError, match=r"found 'cuda:1'; allowed under torchrun: auto, cuda \(one GPU per process\), cpu"
    ):
        resolve("cuda:1")
    pretend(monkeypatch, mps=True)
    assert str(resolve("auto")) == "cpu"
    for rank in range(2):  # every process raises, including the one that has a GPU
        pretend(monkeypatch, gpus=1)
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        for name in ("auto", "cuda"):
            with pytest.raises(ConfigError, match=r"started 2 processes on a machine with 1 GPU\(s\)"):
                resolve(name)
        assert str(resolve("cpu")) == "cpu"


@pytest.fixture
def _restored_flags() -> Iterator[None]:
    """Restore torch's flags, which can be set and read without a GPU."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    cudnn.benchmark = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def tf32_flags() -> list[bool]:
    """Return which of torch's flags allow TF32; a mix of old and new ones raises."""
    backends: Any = torch.backends
    new = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    return [
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision() == "high",
        *(module.fp32_precision == "tf32" for module in new),
    ]


@pytest.mark.usefixtures("_restored_flags")
def test_tf32_is_set_in_linear_convolutional_and_recurrent_layers() -> None:
    for allowed in (True, False, True):
        allow_tf32(torch.device("cuda"), allowed)
        assert tf32_flags() == [allowed] * 6
        allow_tf32(torch.device("cpu"), not allowed)
        assert tf32_flags() == [allowed] * 6


@pytest.mark.usefixtures("_restored_flags")
def test_cudnn_is_benchmarked_on_cuda_only() -> None:
    benchmark_cudnn(torch.device("cpu"), True)
    assert not torch.backends.cudnn.benchmark
    benchmark_cudnn(torch.device("cuda"), True)
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize(("name", "may_return_early"), [("cuda:1", True), ("mps", False), ("cpu", False)])
def test_only_copies_to_nvidia_gpus_do_not_wait(name: str, may_return_early: bool) -> None:
    tensor, device = Mock(), torch.device(name)
    copy_to(tensor, device)
    tensor.to.assert_called_once_with(device, non_blocking=may_return_early)
