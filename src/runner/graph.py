"""The model as a graph for TensorBoard, recorded while one input goes through it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _Recorder(TorchFunctionMode):
    """Notes every torch function that makes a tensor: its name, who calls it, and where its inputs are from."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.graph = GraphDef()
        self.modules: list[str] = []  # those whose forward runs, from the outside in
        self.made_by: dict[int, str] = {}
        self.times = Counter[str]()  # how often a name was wanted
        self.kept: list[Tensor] = []  # alive, so that no other tensor gets their id
        self.add("input", "Placeholder", [], inputs)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        made = output[0] if isinstance(output, tuple) and output else output
        if isinstance(made, Tensor) and id(made) not in self.made_by:
            operator = getattr(func, "__name__", str(func))
            self.add("/".join([*self.modules, operator]), operator, [*args, *(kwargs or {}).values()], made)
        return output

    def add(self, name: str, operator: str, arguments: Iterable[Any], made: Tensor) -> None:
        self.times[name] += 1
        unique = name if self.times[name] == 1 else f"{name}_{self.times[name] - 1}"
        flat = [each for one in arguments for each in (one if isinstance(one, list | tuple) else [one])]
        sources = [self.made_by[id(each)] for each in flat if id(each) in self.made_by]
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in made.shape])
        shapes = AttrValue(list=AttrValue.ListValue(shape=[shape]))
        self.graph.node.append(NodeDef(name=unique, op=operator, input=sources, attr={"_output_shapes": shapes}))
        self.made_by[id(made)] = unique
        self.kept.append(made)


def graph_of(model: nn.Module, in_shape: tuple[int, ...]) -> GraphDef:
    """Nodes for the functions that the model calls, grouped by its modules.

    Args:
        model: on any device; its mode and weights stay as they are.
        in_shape: shape of one input.
    """
    parameter = next(iter(model.parameters()), torch.empty(0))
    inputs = torch.zeros(2, *in_shape, device=parameter.device)
    recorder = _Recorder(inputs)
    handles = []
    for name, module in model.named_modules():
        scope = name.split(".")[-1] or type(module).__name__
        handles.append(module.register_forward_pre_hook(lambda *_, scope=scope: recorder.modules.append(scope)))
        handles.append(module.register_forward_hook(lambda *_: recorder.modules.pop() and None))
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), recorder:
            model.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return recorder.graph
