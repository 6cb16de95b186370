import pytest

from runner.catalog import print_components
from runner.errors import ConfigError
from runner.registry import MODELS, REGISTRIES


def printed(capsys: pytest.CaptureFixture[str], group: str | None = None, name: str | None = None) -> str:
    print_components(group, name)
    return " ".join(capsys.readouterr().out.split())


def test_lists_every_component(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    for group, registry in REGISTRIES.items():
        for name in registry.names():
            assert f"{group} {name} " in text
    assert "python -m runner components GROUP NAME" in text


def test_group_lists_only_its_components(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "model")
    assert "model lenet channels," in text
    assert "two convolutions" in text
    assert "optim" not in text


def test_component_shows_parameters_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "model", "mlp")
    assert text.startswith("model=mlp: Multilayer perceptron: linear layers with activations")
    assert "runner.model.mlp.MLP" in text
    assert "model.hidden list[int] model.activation" in text
    assert "model.norm Literal['none', 'batch', 'layer'] 'none'" in text
    assert "model.dropout float 0.0" in text
    assert "in_shape" not in text


def test_unannotated_parameter_has_type_any(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @MODELS.register("bare")
    def bare(width, depth=None):  # type: ignore[no-untyped-def]
        pass

    text = printed(capsys, "model", "bare")
    assert "model.width any model.depth any None" in text


@pytest.mark.parametrize(
    ("group", "name", "problem"),
    [
        ("modle", None, "found 'modle'; allowed: .*Did you mean model?"),
        ("model", "lenett", "found 'lenett'; allowed: .*Did you mean lenet?"),
    ],
)
def test_unknown_name_raises_with_suggestion(group: str, name: str | None, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        print_components(group, name)
