from pathlib import Path

import pytest

from heedful.cli.outputs import Outputs
from heedful.core import OutputError, UsageError


def test_nothing_is_asked_for() -> None:
    outputs = Outputs()
    outputs.check()
    outputs.write()
    assert outputs.files == {}


def test_an_empty_file_is_filled_and_a_strange_one_is_kept(tmp_path: Path) -> None:
    empty, strange = tmp_path / "summary.md", tmp_path / "notes.md"
    empty.touch()
    strange.write_text("my notes")
    outputs = Outputs(markdown=empty)
    outputs.check()
    outputs.write(markdown=lambda: "<!-- heedful.report/1 -->\nx\n")
    assert empty.read_text().endswith("x\n")
    Outputs(markdown=empty).check()
    with pytest.raises(OutputError, match=r"--force"):
        Outputs(markdown=strange).check()
    Outputs(markdown=strange, force=True).check()
    assert strange.read_text() == "my notes"


def test_one_path_for_two_forms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--junit .*x: is the path of --markdown too"):
        Outputs(markdown=tmp_path / "x", junit=tmp_path / "x").check()


@pytest.mark.parametrize("form", ["html", "markdown", "junit"])
def test_standard_output_takes_json_alone(form: str) -> None:
    with pytest.raises(UsageError, match=f"--{form} -: standard output takes --json alone"):
        Outputs(**{form: Path("-")}).check()  # type: ignore[arg-type]
    Outputs(json=Path("-")).check()
    assert Outputs(json=Path("-")).files == {}
