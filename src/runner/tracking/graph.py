"""The model's graph for TensorBoard, recorded during a forward pass."""

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
    """Record a graph node for every torch function that returns a tensor: its name, module and inputs."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.graph = GraphDef()
        self.modules: list[str] = []  # names of the modules whose forward is running, outermost first
        self.made_by: dict[int, str] = {}  # node name by the id of the tensor it returned
        self.times = Counter[str]()  # number of nodes that share a name
        self.kept: list[Tensor] = []  # keeps the tensors alive, so that their ids are not reused
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
    """Return a graph of the functions that the model calls, grouped by module.

    Args:
        model: model on any device; its mode and weights are not changed.
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
