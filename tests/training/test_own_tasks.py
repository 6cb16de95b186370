"""Tests of users' tasks, metrics and datasets that differ from the shipped ones in an unusual way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import checkpoint, equal, results
from runner import cli

PARTS = """
import torch
import torch.nn.functional as F
from torch import nn
import runner.vision  # torchmetrics imports torchvision
from torchmetrics import Metric
from runner.dataset import Pool, Samples, Spec
from runner.registry import DATASETS, METRICS, MODELS, TASKS
from runner.task import Classification, Task

@TASKS.register("one_hot")
class OneHotTask(Task):
    def loss(self, loss_fn, outputs, targets, inputs):
        return loss_fn(outputs, F.one_hot(targets, 10).float())

@TASKS.register("weighted")
class Weighted(Classification):
    def compared(self, targets):
        return targets["label"]
    def weight(self, targets):
        return int((targets["label"] > 0).sum())
    def loss(self, loss_fn, outputs, targets, inputs):
        each = F.cross_entropy(outputs, targets["label"], reduction="none") * (targets["label"] > 0)
        return each.sum() / max(1, self.weight(targets))

@TASKS.register("two_outputs")
class TwoOutputs(Task):
    def loss(self, loss_fn, outputs, targets, inputs):
        return loss_fn(outputs[0], targets["label"]) + outputs[1]

@MODELS.register("own")
class Own(nn.Module):
    def __init__(self, out_features: int, tokens: bool = False, pair: bool = False):
        super().__init__()
        self.embedding, self.tokens, self.pair = nn.EmbeddingBag(10, out_features), tokens, pair
        self.linear = nn.Linear(6, out_features)
    def forward(self, inputs):
        outputs = self.embedding(inputs) if self.tokens else self.linear(inputs.float())
        return (outputs, outputs.square().mean()) if self.pair else outputs

@DATASETS.register("own")
class Rows:
    def __init__(self, tokens: bool = False, short: int = 0):
        self.tokens, self.short = tokens, short
        self.spec = Spec("classification", in_shape=(6,), out_features=10)
    def load(self):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randint(10, (120, 6), generator=generator)
        label = inputs.sum(1) % 10
        weight = torch.ones(120 - self.short)
        return Samples(inputs if self.tokens else inputs.float(), {"label": label, "weight": weight})

@DATASETS.register("joined")
class Joined:
    spec = Spec("classification", in_shape=(6,), out_features=10)
    def load(self):
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.rand(number % 5 + 1, 6, generator=generator) for number in range(120)]
        return Samples(inputs, [each.argmax(1) for each in inputs])
    def collate(self, pairs):
        return tuple(map(torch.cat, zip(*pairs)))

@METRICS.register("stateful")
class Stateful(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("right", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("samples", default=torch.tensor(0), dist_reduce_fx="sum")
    def update(self, outputs, targets):
        self.right += (outputs.argmax(1) == targets).sum()
        self.samples += len(targets)
    def compute(self):
        return self.right / self.samples

@METRICS.register("ratios")
class Ratios:
    def __init__(self): self.reset()
    def reset(self): self.ones, self.samples = 0, 0
    def update(self, outputs, targets):
        self.ones += int((targets == 1).sum())
        self.samples += len(targets)
    def compute(self): return {"inverse": self.samples / self.ones}
    def state_dict(self): return {"ones": self.ones, "samples": self.samples}
    def load_state_dict(self, state): self.ones, self.samples = state["ones"], state["samples"]

@METRICS.register("few")
class Few:
    def update(self, outputs, targets): pass
    def compute(self): return 1.0
"""
OWN = ["dataset=own", "model=own", "optim.lr=0.1", "trainer.epochs=2", "trainer.batch_size=8", "device=cpu"]


@pytest.fixture
def own(workdir: Path) -> Callable[..., int]:
    """Return a function that runs the program with the user's parts and returns the exit code."""
    (workdir / "unusual_parts.py").write_text(PARTS)
    values = {
        "dataset": "name: own\ntokens: false\nshort: 0\n",
        "model": "name: own\ntokens: false\npair: false\n",
        "task": "",
    }
    for group, text in values.items():
        (workdir / "c" / group).mkdir(parents=True)
        (workdir / "c" / group / "own.yaml").write_text(text)
    (workdir / "c" / "dataset" / "joined.yaml").write_text("name: joined\n")
    for task in ("one_hot", "weighted", "two_outputs"):
        (workdir / "c" / "task" / f"{task}.yaml").write_text(f"name: {task}\n")

    def go(*overrides: str) -> int:
        threads = ["device.threads=1", "plugins=[unusual_parts]", "--config-dir", str(workdir / "c")]
        return cli.main([*overrides, *threads])

    return go


def only(workdir: Path) -> Path:
    (folder,) = workdir.glob("outputs/*/*")
    return folder


def test_loss_that_needs_real_targets_is_accepted(own: Callable[..., int], workdir: Path) -> None:
    assert own("model=mlp", "model.hidden=[8]", "task=one_hot", "loss=mse", "trainer.max_steps=3") == 0


@pytest.mark.parametrize("way", [[], ["dataset.in_memory=false"]], ids=["in memory", "streamed"])
def test_tokens_and_dict_targets_need_no_example(own: Callable[..., int], workdir: Path, way: list[str]) -> None:
    assert own(*OWN, *way, "task=weighted", "dataset.tokens=true", "model.tokens=true") == 0
    assert results(only(workdir))["test"].keys() == {"loss", "accuracy"}


def test_own_weight_in_ints_is_exact_under_accumulation(own: Callable[..., int], workdir: Path) -> None:
    plain = ["optim.momentum=0", "trainer.epochs=1"]
    assert own(*OWN, *plain, "task=weighted", "trainer.batch_size=32", "output_dir=large") == 0
    assert own(*OWN, *plain, "task=weighted", "trainer.accumulate=4", "output_dir=small") == 0
    (large,), (small,) = workdir.glob("large/*/*"), workdir.glob("small/*/*")
    for name, weight in checkpoint(large)["model"].items():
        assert (weight - checkpoint(small)["model"][name]).abs().max() < 1e-6


@pytest.mark.parametrize("way", [[], ["dataset.in_memory=false"]], ids=["in memory", "streamed"])
def test_samples_of_several_rows_are_exact_under_accumulation(
    own: Callable[..., int], workdir: Path, way: list[str]
) -> None:
    joined = [*OWN, *way, "dataset=joined", "dataset.augment=null", "optim.momentum=0", "trainer.epochs=1"]
    assert own(*joined, "trainer.batch_size=32", "output_dir=large") == 0
    assert own(*joined, "trainer.accumulate=4", "output_dir=small") == 0
    (large,), (small,) = workdir.glob("large/*/*"), workdir.glob("small/*/*")
    for name, weight in checkpoint(large)["model"].items():
        assert (weight - checkpoint(small)["model"][name]).abs().max() < 1e-6


def test_outputs_may_hold_a_scalar(own: Callable[..., int], workdir: Path) -> None:
    assert own(*OWN, "task=two_outputs", "model.pair=true") == 0
    assert results(only(workdir))["status"] == "completed"


def test_state_of_an_own_torchmetrics_metric_is_saved(own: Callable[..., int], workdir: Path) -> None:
    chosen = [*OWN, "task=weighted", "metrics=[stateful]"]
    assert own(*chosen, "output_dir=whole") == 0
    assert own(*chosen, "trainer.max_steps=4", "output_dir=part") == 0
    (whole,), (part,) = workdir.glob("whole/*/*"), workdir.glob("part/*/*")
    assert cli.main(["resume", str(part), "trainer.max_steps=null"]) == 0
    assert results(part)["train"] == results(whole)["train"]
    assert equal(checkpoint(part)["model"], checkpoint(whole)["model"])


def test_values_that_the_trial_of_a_metric_does_not_show_can_select_the_best(
    own: Callable[..., int], workdir: Path
) -> None:
    best = ["trainer.checkpoint.metric=val/ratios.inverse", "trainer.checkpoint.mode=max"]
    assert own(*OWN, "task=weighted", "metrics=[ratios]", "dataset.val_share=0.5", *best) == 0
    assert results(only(workdir))["best"]["metric"] == "val/ratios.inverse"


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (["metrics=[few]"], 2, "metrics[0]: 'few' needs the methods reset, update, compute, state_dict"),
        (["dataset.short=5"], 1, "different numbers of samples: inputs 120, targets[0] 120, targets[1] 115"),
        (["trainer.early_stopping.metric=val/few.x"], 2, "trainer.early_stopping.metric: found 'val/few.x'"),
    ],
)
def test_parts_that_cannot_work_are_reported(
    own: Callable[..., int], capsys: pytest.CaptureFixture[str], overrides: list[str], code: int, message: str
) -> None:
    assert own(*OWN, "task=weighted", *overrides) == code
    output = capsys.readouterr()
    assert message in output.out + output.err
