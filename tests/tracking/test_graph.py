import pytest
import torch
from torch import Tensor, nn

from runner.model.lenet import LeNet
from runner.tracking.graph import graph_of


def test_graph_follows_the_forward_pass() -> None:
    graph = graph_of(LeNet((1, 32, 32), 10), (1, 32, 32))
    nodes = {node.name: node for node in graph.node}
    assert nodes["LeNet/conv1/conv2d"].input == ["input"]
    assert nodes["LeNet/pool/max_pool2d"].input == ["LeNet/conv1/conv2d"]
    assert nodes["LeNet/relu/relu"].input == ["LeNet/pool/max_pool2d"]
    shape = nodes["LeNet/fc3/linear"].attr["_output_shapes"].list.shape[0]
    assert [dim.size for dim in shape.dim] == [2, 10]
    known: set[str] = set()
    for node in graph.node:
        assert set(node.input) <= known  # nodes are in topological order
        known.add(node.name)


class Twice(nn.Module):
    """Call a layer twice and add the results; with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.dropout = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        once: Tensor = self.layer(inputs)
        joined: Tensor = self.dropout(torch.cat([self.layer(once) + once, inputs], dim=1))
        return joined


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_records_branches_and_leaves_the_model_unchanged(device: str) -> None:
    model = Twice().to(device)
    model.layer.eval()
    before = torch.get_rng_state()
    nodes = {node.name: node for node in graph_of(model, (4,)).node}
    assert nodes["Twice/add"].input == ["Twice/layer/linear_1", "Twice/layer/linear"]
    assert nodes["Twice/cat"].input == ["Twice/add", "input"]
    assert (model.training, model.layer.training, model.dropout.training) == (True, False, True)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
