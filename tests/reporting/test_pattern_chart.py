import json
import math
from pathlib import Path

from heedful.reporting.pattern_chart import pattern_chart

WEIGHTS = [[1.0, math.nan], [0.25, 0.75]]


def test_every_visible_cell_is_drawn_with_its_weight() -> None:
    chart = pattern_chart(WEIGHTS, [0, 2, 4], [0, 1, 3], title="h.0 head 1").to_dict()
    (values,) = chart["datasets"].values() if "datasets" in chart else (chart["data"]["values"],)
    assert values == [
        {"q": 0, "r": 2, "k": 0, "c": 1, "w": 1.0},
        {"q": 2, "r": 4, "k": 0, "c": 1, "w": 0.25},
        {"q": 2, "r": 4, "k": 1, "c": 3, "w": 0.75},
    ]
    assert chart["title"] == "h.0 head 1"


def test_a_picture_of_many_cells_is_not_refused_and_saves_itself(tmp_path: Path) -> None:
    edges = list(range(101))
    chart = pattern_chart([[0.5] * 100] * 100, edges, edges, title="\x1b[2Jx</script>")
    assert "\x1b" not in json.dumps(chart.to_dict()["title"])
    for name in ("head.svg", "head.png", "head.html"):
        chart.save(tmp_path / name, inline=True) if name.endswith("html") else chart.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert "\x1b" not in (tmp_path / "head.svg").read_text()
