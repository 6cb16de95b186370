import json
from pathlib import Path

from runner.page import page, thin
from test_compare import compared, write


def test_long_curves_are_thinned_to_their_last_point() -> None:
    points = [(float(x), 0.0) for x in range(1001)]
    assert len(thin(points)) <= 201
    assert thin(points)[0] == points[0]
    assert thin(points)[-1] == points[-1]
    assert thin(points[:5]) == points[:5]


def test_nothing_in_the_data_ends_the_script(tmp_path: Path) -> None:
    write(tmp_path / "a", "dataset.augment=null", best=0.5)
    write(tmp_path / "<script>alert(1)<", best=0.25)
    text = page(compared(tmp_path))
    assert text.count("</script>") == 1
    line = next(line for line in text.splitlines() if line.startswith("const data = "))
    assert json.loads(line.removeprefix("const data = ").removesuffix(";"))["summary"] == "2 completed"
