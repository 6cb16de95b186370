"""Train 64 models at once: as parallel branches of one CUDA graph, and as one model with stacked weights.

This decides how a sweep of many small models on one GPU will be built. Each model has its own weights and its own
batch. What is compared is the time of a step, and the weights after some steps with those of training it alone.
"""

import copy
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim import SGD

from gpu.graphs import WARM_UP, capture
from gpu.section import Row, Section
from runner.model.lenet import LeNet

TITLE = "64 models in one CUDA graph, and as one model with stacked weights"
LR, MOMENTUM = 0.01, 0.9
STEPS = 20  # before the weights are compared
PER_PRIORITY = 32  # streams that torch makes for each priority, before it returns the first one again


class Models:
    """Some LeNets with different weights, and a batch for each.

    Args:
        count: number of models.
        batch: images per batch.
        device: cuda or cpu.
    """

    def __init__(self, count: int, batch: int, device: str) -> None:
        torch.backends.cudnn.deterministic = True  # as the runner trains
        torch.manual_seed(0)
        self.models = [LeNet((1, 28, 28), 10) for _ in range(count)]
        self.inputs = torch.rand(count, batch, 1, 28, 28).to(device)
        self.targets = torch.randint(10, (count, batch)).to(device)
        self.device = device
        for model in self.models:
            model.to(device)

    def step(self, index: int) -> Callable[[], None]:
        """Return a training step of one model."""
        model, inputs, targets = self.models[index], self.inputs[index], self.targets[index]
        optimizer = SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

        def step() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

        return step

    def weights(self) -> list[dict[str, Tensor]]:
        """Return the weights of all models, on the CPU."""
        return [{name: value.detach().cpu() for name, value in model.named_parameters()} for model in self.models]


def rows(section: Section) -> Iterator[Row]:
    """Yield a row for one model alone, and for each way to train many."""
    batch = section.pick(64, 8)
    one = section.attempt({"way": "alone, one graph", "models": 1}, measure, alone, 1, batch, section.device)
    yield one
    for count in section.pick((8, 64), (3,)):
        for way, train in WAYS.items():
            row = section.attempt({"way": way, "models": count}, measure, train, count, batch, section.device)
            if "µs/step" in row and "µs/step" in one:
                row["times one"] = row["µs/step"] / one["µs/step"]
            yield row


def measure(train: "Way", count: int, batch: int, device: str) -> Row:
    """Compare the weights after some steps with those of training each model alone, then time a step."""
    reference, models = Models(count, batch, device), Models(count, batch, device)
    step = alone(reference)
    for _ in range(STEPS - WARM_UP):
        step()
    step = train(models)
    for _ in range(STEPS - WARM_UP):
        step()
    row = compare(models.weights(), reference.weights())
    return {"µs/step": 1e6 * seconds(step, device), **row}


def compare(found: list[dict[str, Tensor]], wanted: list[dict[str, Tensor]]) -> Row:
    """Return how many models have the same bits, and the largest difference of a weight."""
    pairs = [(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)]
    equal = sum(all(torch.equal(ours[name], theirs[name]) for name in theirs) for ours, theirs in pairs)
    largest = max((ours[name] - theirs[name]).abs().max().item() for ours, theirs in pairs for name in theirs)
    return {"models with equal bits": f"{equal} of {len(pairs)}", "largest difference": largest}


def seconds(step: Callable[[], None], device: str) -> float:
    """Return the time of a step: the median of three windows."""
    calls, times = (200 if device == "cuda" else 2), []
    for _ in range(3):
        synchronize(device)
        begun = time.perf_counter()
        for _ in range(calls):
            step()
        synchronize(device)
        times.append((time.perf_counter() - begun) / calls)
    return median(times)


def synchronize(device: str) -> None:
    """Wait until the GPU has done everything."""
    if device == "cuda":
        torch.cuda.synchronize()


def alone(models: Models) -> Callable[[], None]:
    """Return a step of all models, each with a graph of its own, one after another."""
    return one_after_another([capture(models.step(index), models.device) for index in range(len(models.models))])


def one_after_another(steps: list[Callable[[], None]]) -> Callable[[], None]:
    """Return a function that calls all steps."""

    def step() -> None:
        for each in steps:
            each()

    return step


def branches(models: Models) -> Callable[[], None]:
    """Return a step of all models as parallel branches of one graph: each is captured on a stream of its own."""
    steps = [models.step(index) for index in range(len(models.models))]
    if models.device == "cpu":
        return one_after_another([capture(step, "cpu") for step in steps])
    # The graph itself begins on a stream of priority 0, so that no branch has the same one.
    streams = [torch.cuda.Stream(priority=-1 - index // PER_PRIORITY) for index in range(len(steps))]
    if len({stream.cuda_stream for stream in streams}) < len(streams):
        raise RuntimeError("two branches have the same stream, so that they would not run in parallel")

    def step() -> None:
        begins = torch.cuda.current_stream()
        for stream in streams:
            stream.wait_stream(begins)
        for stream, one in zip(streams, steps, strict=True):
            with torch.cuda.stream(stream):
                one()
        for stream in streams:
            begins.wait_stream(stream)

    return capture(step, models.device)


def stacked(models: Models, graph: bool = False) -> Callable[[], None]:
    """Return a step of all models as one model, whose weights are stacked and whose gradients vmap computes."""
    weights, buffers = stack_module_state(models.models)
    base = copy.deepcopy(models.models[0]).to("meta")

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(base, (weights, buffers), (inputs,)), targets)

    gradients = vmap(grad(loss))
    values = [weights[name].detach() for name in weights]
    momenta = [torch.zeros_like(value) for value in values]

    def step() -> None:
        found = gradients(dict(zip(weights, values, strict=True)), buffers, models.inputs, models.targets)
        torch._foreach_mul_(momenta, MOMENTUM)
        torch._foreach_add_(momenta, [found[name] for name in weights])
        torch._foreach_add_(values, momenta, alpha=-LR)

    for name, value in zip(weights, values, strict=True):
        for index, model in enumerate(models.models):
            model.get_parameter(name).data = value[index]  # so that `Models.weights` sees what is trained
    if graph:
        return capture(step, models.device)
    return capture(step, "cpu")


def stacked_graph(models: Models) -> Callable[[], None]:
    """Return the step of `stacked` as one CUDA graph."""
    return stacked(models, graph=True)


Way = Callable[[Models], Callable[[], None]]
WAYS: dict[str, Way] = {
    "a graph for each, one after another": alone,
    "branches of one graph": branches,
    "stacked, by vmap": stacked,
    "stacked, by vmap, one graph": stacked_graph,
}
