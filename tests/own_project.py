"""The project of docs/own-project.md, outside the repository."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "own-project.md"
CHOICES = [
    *("dataset=words", "model=two_inputs", "optim=sign", "plugins=[words_project]", "--config-dir=words_conf"),
    "metrics=[accuracy,{name: confident, threshold: 0.7}]",
    *("trainer.checkpoint.metric=val/confident", "trainer.checkpoint.mode=max", "device.threads=1"),
]


def write_project(folder: Path) -> None:
    """Write the module and the YAML files of the document."""
    for text in re.findall(r"^```(?:python|yaml)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL):
        name, _, rest = text.partition("\n")
        path = folder / name.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{rest}\n\n")
