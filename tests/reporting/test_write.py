import os
import stat
from pathlib import Path

import pytest

from heedful.errors import OutputError
from heedful.reporting.write import check_target, is_own, write_atomic


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.json", "text \u2713", overwrite=False)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").read_bytes() == "text \u2713".encode()
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o604)
    write_atomic(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_file_that_stands_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"kept \(give --force"):
        write_atomic(path, "new", overwrite=False)
    assert path.read_text() == "old"


def test_a_path_without_folder_is_written_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic("a.json", "x", overwrite=False)
    assert Path("a.json").read_text() == "x"


@pytest.mark.parametrize("name", ["missing/a.json", "sub", "sub/", "new/", "", "a\x00b", "x" * 300])
def test_a_path_that_cannot_be_a_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(OutputError):
        check_target(f"{tmp_path}/{name}", overwrite=True)


def test_an_earlier_report_is_known_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert not is_own(path)
    path.write_text('{\n  "schema": "heedful.report/7",\n')
    assert is_own(path)
    path.write_text('{"schema": "other"}')
    assert not is_own(path)
    for kind in ("counts", "derivation", "measures", "sweep-plan"):  # what other commands read
        path.write_text(f'{{\n  "schema": "heedful.{kind}/1",\n')
        assert not is_own(path)
    path.write_text('{"schema": "heedful.count/1"}')
    assert is_own(path)
    (tmp_path / "link").symlink_to(path)
    assert not is_own(tmp_path / "link")
    assert not is_own(tmp_path)
