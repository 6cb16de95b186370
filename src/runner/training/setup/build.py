"""Build the parts of a run from a checked config."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from runner.config.schema import Config
from runner.data.splits import as_trained, fingerprint, measure
from runner.dataset.base import Dataset, Spec
from runner.dataset.tree import at, is_tree, map_tensors, tensors
from runner.errors import ConfigError, nearest
from runner.loss.one_hot import OneHot
from runner.loss.standardized import InUnitOfTargets, Standardized
from runner.machine.device import allow_tf32, benchmark_cudnn, resolve
from runner.machine.distributed import ALONE, World
from runner.machine.seeds import derive, make_deterministic, seed_everything
from runner.registry import LOSSES, MODELS, TASKS
from runner.task.base import Task
from runner.training.checks.try_shapes import inputs_that_fit
from runner.training.ema import MovingAverage
from runner.training.engine import DataParallel, Engine
from runner.training.measuring.metric_set import build_metric_set
from runner.training.memory_format import uses_channels_last
from runner.training.parts import Parts
from runner.training.setup.build_data import Loader, build_dataset, split_dataset
from runner.training.setup.initial import freeze, load_initial
from runner.training.setup.optimizer import build_optimizer, build_scheduler
from runner.training.sharded import Sharded


def build(config: Config, world: World = ALONE, trained: Mapping[str, Any] | None = None, starts: bool = True) -> Parts:
    """Read the data and build all parts on the config's device.

    Args:
        config: a checked config.
        world: the processes that train together.
        trained: spec in the checkpoint of a model that is only evaluated: its inputs are normalized as in training.
            None: the model is trained.
        starts: whether the model starts from `init.from`; otherwise its weights are loaded from a checkpoint later.

    Returns:
        The parts, seeded by the config.

    Raises:
        ConfigError: the parts do not fit together.
        DataError: the dataset cannot be read.
    """
    device, dataset = prepare_device(config), build_dataset(config)
    splits = split_dataset(config, dataset)
    if trained is None:
        spec = measure(dataset.spec, splits.train)
    else:
        spec, splits = as_trained(dataset.spec, splits, trained)
    task = build_task(config, spec)
    loader = Loader(config, dataset, spec, task, device)
    train = loader.train(splits.train, world)
    model = starting_model(config, spec, device, starts and trained is None)
    optimizer = build_optimizer(config, model)
    task.loss_fn = build_loss(config, task, count_classes(task, splits.train.targets)).to(device)
    parts = Parts(
        config=config,
        spec=spec,
        task=task,
        metric_set=build_metric_set(config, task),
        device=device,
        model=model,
        engine=build_engine(config, model, world, lambda: has_unused_parameters(config, dataset, task)),
        ema=None if config.trainer.ema is None else MovingAverage(model, config.trainer.ema),
        loss=task.loss_fn,
        optimizer=optimizer,
        scheduler=build_scheduler(config, optimizer, len(train)),
        scaler=torch.amp.GradScaler(device.type, enabled=config.trainer.precision == "fp16"),
        train=train,
        val=loader.evaluation(splits.val, world),
        test=loader.evaluation(splits.test),
        fingerprint=fingerprint(splits.train),
        world=world,
    )
    seed_everything(derive(config.seed, "training", *world.salt))
    return parts


def build_engine(config: Config, model: nn.Module, world: World, has_unused: Callable[[], bool]) -> Engine:
    """Return the engine for the world size and the number of shards.

    Args:
        config: a checked config.
        model: model of the run.
        world: the processes that train together.
        has_unused: returns whether some parameters may get no gradient.
    """
    # Processors differ in the random numbers that they draw.
    world.broadcast_tensors(*model.parameters(), *model.buffers())
    forward: Any = compile_model(model, config.trainer.compile)  # a module, too
    if world.is_sharded:
        return Sharded(model, forward, world, config.seed)
    return DataParallel(forward, world, has_unused()) if world.size > 1 else Engine(forward)


def compile_model(model: nn.Module, mode: bool | str) -> Any:
    """Compile the model with `torch.compile` in a mode. True: the default mode. False: return it as it is."""
    if mode is False:
        return model
    return torch.compile(model, mode="default" if mode is True else mode)


def has_unused_parameters(config: Config, dataset: Dataset, task: Task) -> bool:
    """Return whether some parameters get no gradient from two samples, or whether that cannot be found out."""
    try:
        with torch.device("meta"):
            model = build_model(config, task.spec)
            freeze(config, model)
            outputs = task.forward(model, inputs_that_fit(dataset, task, model))
            total = torch.stack([tensor.sum() for tensor in tensors(outputs) if tensor.requires_grad]).sum()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return any(grad is None for grad in torch.autograd.grad(total, trained, allow_unused=True))
    except Exception:  # such as an operator that the meta device does not have
        return True


def prepare_device(config: Config) -> torch.device:
    """Return the device of the run, with its numerical settings applied."""
    device = resolve(config.device.name)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # CUDA graphs and pinned memory use the current device, which is cuda:0 at first
    choice = config.device
    if choice.deterministic:
        make_deterministic(device, config.trainer.compile is not False)
    benchmark_cudnn(device, not choice.deterministic if choice.cudnn_benchmark is None else choice.cudnn_benchmark)
    if choice.tf32 is not None:
        allow_tf32(device, choice.tf32)
    return device


def starting_model(config: Config, spec: Spec, device: torch.device, starts: bool) -> nn.Module:
    """Return the seeded model on its device, with `init.freeze` applied, and `init.from` if the run starts."""
    seed_everything(derive(config.seed, "weights"))
    model = build_model(config, spec).to(device)
    if starts:
        load_initial(config, model)
    freeze(config, model)
    return model


def supplied(spec: Spec) -> dict[str, Any]:
    """Return the values of a dataset that components receive by name."""
    return {**spec.supplies, "in_shape": spec.in_shape, "out_features": spec.out_features}


def build_model(config: Config, spec: Spec) -> nn.Module:
    """Build the model, in the memory format that the config asks for or that suits the model."""
    choice = config.model
    model: nn.Module = MODELS.build(choice.name, choice.values, **supplied(spec))
    if uses_channels_last(config):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if (spec.target_mean, spec.target_std) != (0, 1):
        model.register_forward_hook(InUnitOfTargets(spec.target_mean, spec.target_std))
    return model


def build_loss(config: Config, task: Task, counts: Tensor) -> nn.Module:
    """Build the loss. A loss that compares values gets the class indices of a classification as one-hot vectors.

    Args:
        config: a checked config.
        task: task of the run.
        counts: number of training targets of each class.

    Raises:
        ConfigError: the loss compares classes and the task values, or the other way round.
    """
    name, spec = config.loss.name, task.spec
    compares = LOSSES.get(name).traits.targets
    if compares == "classes" and task.compares == "values":
        raise ConfigError(f"loss={name} needs class targets, but dataset={config.dataset.name} is for {spec.task}")
    loss: nn.Module = LOSSES.build(name, config.loss.values, **supplied(spec), class_counts=counts)
    if (spec.target_mean, spec.target_std) != (0, 1):
        return Standardized(loss, spec.target_mean, spec.target_std)
    if compares == "values" and task.compares == "classes":
        if len(task.out_shape() or ()) > 1:
            raise ConfigError(f"loss={name} compares values, but the task predicts a class for each token or pixel")
        return OneHot(loss, spec.out_features)
    return loss


def build_task(config: Config, spec: Spec) -> Task:
    """Build the task.

    Raises:
        ConfigError: the dataset is for another task.
    """
    choice = config.task
    if choice.name == "auto" and spec.task not in TASKS.names():
        raise ConfigError(
            f"dataset={config.dataset.name} is for task {spec.task!r}; {nearest(spec.task, TASKS.names())}"
        )
    task: Task = TASKS.build(choice.name, choice.values, dataset_task=spec.task, **supplied(spec))
    if not isinstance(task, Task):
        raise ConfigError(f"task={choice.name}: {type(task).__name__} is not a subclass of runner.task.Task")
    if task.fits and spec.task not in task.fits:
        kinds = {name: getattr(TASKS.get(name).component, "fits", ()) for name in TASKS.names()}
        allowed = ", ".join(name for name, fits in kinds.items() if not fits or spec.task in fits)
        raise ConfigError(
            f"task={choice.name} does not fit dataset={config.dataset.name}, which is for {spec.task}; "
            f"allowed with it: {allowed}"
        )
    task.spec = spec
    return task


def count_classes(task: Task, targets: Any) -> Tensor:
    """Return the number of training targets of each class [K]; an empty tensor [0] if there are no classes."""
    if is_tree(targets):
        return task.class_counts(targets)
    each = [task.class_counts(map_tensors(lambda tensor: tensor[None], at(targets, n))) for n in range(len(targets))]
    return torch.stack(each).sum(0)
