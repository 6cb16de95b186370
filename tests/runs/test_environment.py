from pathlib import Path

import pytest

from helpers import finish, start

PLUGIN = """from torch import nn
from runner.registry import LOSSES
@LOSSES.register("scaled")
class Scaled(nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__()
    def forward(self, outputs, targets):
        return 1.0 * super().forward(outputs, targets)
"""


@pytest.mark.slow
def test_changed_code_of_a_plugin_is_reported(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(PLUGIN)
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "scaled.yaml").write_text("name: scaled\n")
    own = ["plugins=[scaled]", "loss=scaled", "--config-dir=conf", "model=mlp", "trainer.epochs=1"]
    finish(start(*own, cwd=tmp_path))
    (folder,) = tmp_path.glob("outputs/*/*")
    assert "changed since" not in finish(start("resume", str(folder), "trainer.epochs=2", cwd=tmp_path))
    (tmp_path / "scaled.py").write_text(PLUGIN.replace("1.0", "2.0"))
    report = finish(start("verify", str(folder), cwd=tmp_path), code=1)
    assert "the code of scaled has changed" in report
    again = finish(start("resume", str(folder), "trainer.epochs=3", cwd=tmp_path))
    assert "warning: plugins: scaled: changed since the run was started" in again
