import pytest
import torch

from runner.device import available, describe, resolve
from runner.errors import ConfigError


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
def test_the_devices_of_this_machine_fastest_first(
    monkeypatch: pytest.MonkeyPatch, gpus: int, mps: bool, names: list[str]
) -> None:
    pretend(monkeypatch, gpus, mps)
    assert available() == names
    assert resolve("auto") == torch.device(names[0])
    assert [resolve(name) for name in names] == [torch.device(name) for name in names]


def test_a_driver_that_counts_devices_it_cannot_use_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert available() == ["cpu"]


def test_cuda_is_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    assert resolve("cuda") == torch.device("cuda:0")


@pytest.mark.parametrize(("name", "found"), [("cuda", "cuda:0"), ("cuda:2", "cuda:2"), ("mps", "mps")])
def test_an_absent_device_is_refused_naming_those_that_are_here(
    monkeypatch: pytest.MonkeyPatch, name: str, found: str
) -> None:
    pretend(monkeypatch)
    with pytest.raises(ConfigError, match=f"device.name: found '{found}', which this machine does not have; .*: cpu$"):
        resolve(name)


def test_a_gpu_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    with pytest.raises(ConfigError, match=r"found 'cuda:2', .* it has: cuda:0, cuda:1, cpu"):
        resolve("cuda:2")


def test_a_device_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert describe(torch.device("cuda:1")) == "cuda:1 (NVIDIA H200)"
    assert describe(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"
    assert describe(torch.device("mps")) == "mps"


def test_processes_of_torchrun_have_a_gpu_each_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [str(resolve(name)) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    with pytest.raises(ConfigError, match=r"found 'cuda:1'; under torchrun: auto, cuda \(one for each process\), cpu"):
        resolve("cuda:1")
    pretend(monkeypatch, mps=True)
    assert str(resolve("auto")) == "cpu"
    for rank in range(2):  # all find the same, whether there is a GPU for them or not
        pretend(monkeypatch, gpus=1)
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        for name in ("auto", "cuda"):
            with pytest.raises(ConfigError, match=r"started 2 processes on this machine, which has 1 GPUs"):
                resolve(name)
        assert str(resolve("cpu")) == "cpu"
