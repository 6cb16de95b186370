"""Start from trained weights (`init.from`, `init.match`), and keep some of them fixed (`init.freeze`)."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MethodType

import torch
from torch import Tensor, nn

from runner.config.schema import Config
from runner.errors import ConfigError
from runner.training.setup.weights import WeightsFile, did_you_mean, locate, read_weights, some

log = logging.getLogger("runner")


@dataclass
class Choice:
    """What becomes of the tensors in a file.

    Args:
        taken: tensors that the model takes, by name.
        reshaped: names of those that have another shape in the model, with both shapes.
        unknown: names of those that the model does not have.
        unmatched: names of those that no pattern in `init.match` matches.
        kept: names of the model's tensors that keep their initial values.
    """

    taken: dict[str, Tensor] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def lines(self, path: object) -> list[str]:
        """Return the lines to log for a file."""
        whole = len(self.taken) + len(self.kept)
        lines = [f"{len(self.taken)} of {whole} tensors of the model are from {path}"]
        for names, what in (
            (self.reshaped, "left out because of their shape"),
            (self.unknown, "left out because the model does not have them"),
            (self.unmatched, "left out because init.match does not match them"),
            (self.kept, "of the model keep their initial values"),
        ):
            if names:
                lines.append(f"{len(names)} {what}: {some(names, 3)}")
        return lines


def load_initial(config: Config, model: nn.Module) -> None:
    """Load the weights that `init.from` names into the model, and log what was taken.

    Raises:
        ConfigError: the file cannot be read, or does not fit the model.
    """
    if config.init.source is None:
        return
    source = locate(config)
    choice = choose(config, model, read_weights(source))
    state = model.state_dict()
    state.update(choice.taken)
    model.load_state_dict(state)
    for number, line in enumerate(choice.lines(source.path)):
        log.info("%s%s", " " * 9 if number else "init     ", line)


def check_initial(config: Config, model: nn.Module) -> None:
    """Check that the file that `init.from` names can be read and fits the model.

    A file of torchvision that has not been downloaded yet is not checked.

    Args:
        config: config of the run.
        model: the model on any device, including `meta`.

    Raises:
        ConfigError: with one line for each problem.
    """
    if config.init.source is None:
        if config.init.match:
            raise ConfigError(f"init.match: found {config.init.match}, which needs init.from; allowed without it: []")
        return
    source = locate(config)
    if source.url is None or source.path.exists():
        with torch.device("cpu"):  # not the device of the caller's context
            choose(config, model, _outline(source, source.path.stat().st_mtime_ns))


@lru_cache(maxsize=4)
def _outline(source: WeightsFile, changed: int) -> dict[str, Tensor]:
    """Return the tensors in a file without their values; cached, because a sweep checks every job.

    Args:
        source: the file.
        changed: time of its last change.
    """
    return {name: tensor.to("meta") for name, tensor in read_weights(source).items()}


def as_resumed(config: Config) -> Config:
    """Return the config without the weights to start from, which a trained model does not need any more."""
    return config.model_copy(update={"init": config.init.model_copy(update={"source": None, "match": []})})


def choose(config: Config, model: nn.Module, found: Mapping[str, Tensor]) -> Choice:
    """Choose the tensors that the model takes: those with a known name, the right shape and a matching pattern.

    Args:
        config: config of the run.
        model: the model on any device.
        found: tensors in the file by name.

    Raises:
        ConfigError: a pattern matches nothing, a matched tensor has another shape, or nothing is left to take.
    """
    patterns, where = config.init.match, config.init.source
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    both = [name for name in found if name in own]
    wanted = set(matching("init.match", patterns, both, f"tensor that {where} and the model have") if both else [])
    choice = Choice()
    for name, tensor in found.items():
        if name not in own:
            choice.unknown.append(name)
        elif patterns and name not in wanted:
            choice.unmatched.append(name)
        elif tensor.shape != own[name].shape:
            choice.reshaped.append(f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}")
        else:
            choice.taken[name] = tensor
    choice.kept = [name for name in own if name not in choice.taken]
    if patterns and choice.reshaped:
        raise ConfigError(f"init.match: matches tensors of another shape in {where}: {', '.join(choice.reshaped)}")
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if not choice.taken or not (patterns or choice.taken.keys() & parameters):  # num_batches_tracked fits any model
        here, there = ([f"{name} {tuple(tensor.shape)}" for name, tensor in each.items()] for each in (own, found))
        raise ConfigError(
            f"init.from: no parameter in {where} fits the model by name and shape: it has {some(there)}; "
            f"model={config.model.name} has {some(here)}"
        )
    return choice


def matching(key: str, patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Return the names that match one of the patterns, in their order.

    Args:
        key: key of the patterns in the config.
        patterns: patterns such as "conv*".
        names: names to match.
        what: what the names are, for messages.

    Raises:
        ConfigError: with one line for each pattern that matches nothing.
    """
    names, problems = list(names), []
    for index, pattern in enumerate(patterns):
        if not any(fnmatchcase(name, pattern) for name in names):
            levels = [f"{name[:end]}.*" for name in names for end in range(len(name)) if name[end] == "."]
            hint = did_you_mean(pattern, [*names, *levels])
            problems.append(f"{key}[{index}]: {pattern!r} matches no {what}; allowed: {some(names)}.{hint}")
    if problems:
        raise ConfigError(*problems)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def freeze(config: Config, model: nn.Module) -> None:
    """Exclude the parameters that match `init.freeze` from training.

    A normalization layer whose parameters all match also keeps its running statistics: it stays in evaluation mode. If
    it has no parameters, the names of its buffers are matched instead.

    Raises:
        ConfigError: a pattern matches no parameter, or no parameter is left to train.
    """
    patterns = config.init.freeze
    if not patterns:
        return
    parameters = dict(model.named_parameters(remove_duplicate=False))
    frozen = matching("init.freeze", patterns, parameters, "parameter of the model")
    fixed = {id(parameters[name]) for name in frozen}  # a shared parameter has several names
    if not any(each.requires_grad and id(each) not in fixed for each in parameters.values()):
        raise ConfigError(f"init.freeze: {patterns} freezes all {len(parameters)} parameters; leave some to train")
    for name in frozen:
        parameters[name].requires_grad_(False)
    log.info("frozen   %d of %d parameters: %s", len(frozen), len(parameters), some(frozen, 3))
    for prefix, module in model.named_modules():
        if hasattr(module, "running_mean"):
            names = [name for name, _ in module.named_parameters(prefix, recurse=False)]
            names = names or [name for name, _ in module.named_buffers(prefix, recurse=False)]
            if names and all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names):
                keep_in_eval_mode(module)


def keep_in_eval_mode(module: nn.Module) -> None:
    """Put a module in evaluation mode, in which `train()` leaves it from now on, also when called on the whole model.

    A bound method, unlike a function, is copied correctly together with the module.
    """
    module.eval()
    module.train = MethodType(_stay, module)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
