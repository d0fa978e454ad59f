"""The table of a run: whole after a kill, continued without a step twice, and never in the way of another's."""

import subprocess
import sys
from pathlib import Path

import polars
import pytest

from heedful.errors import InputRejected, OutputError
from heedful.monitoring.tracker.table import NAME, PARTS, SCHEMA, TrackTable, read_table

ROW = {"part": "step", "loss": 1.5}


def written(run: Path, *steps: int, first: int = 0) -> TrackTable:
    table = TrackTable(run, first)
    for step in steps:
        table.add(step, [ROW, {"part": "key", "stage": "after", "layer": 0, "head": 1, "norm_mean": float("nan")}])
    return table


def test_rows_columns_and_schema(tmp_path: Path) -> None:
    written(tmp_path, 1, 10).close()
    frame = polars.read_parquet(tmp_path / NAME)
    assert frame["step"].to_list() == [1, 1, 10, 10] and frame["loss"].to_list() == [1.5, None, 1.5, None]
    assert frame["norm_mean"].null_count() == 4
    assert polars.read_parquet_metadata(tmp_path / NAME)["schema"] == SCHEMA
    assert not (tmp_path / PARTS).exists(), "a run that has ended has no parts"


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    program = (
        "import os, signal\nfrom heedful.monitoring.tracker.table import TrackTable\n"
        f"table = TrackTable({str(tmp_path)!r})\n"
        "for step in (1, 10, 20): table.add(step, [{'part': 'step', 'loss': 2.0}])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert read_table(tmp_path)["step"].to_list() == [1, 10, 20]


def test_a_resumed_run_has_no_step_twice(tmp_path: Path) -> None:
    written(tmp_path, 1, 10, 20, 30)
    table = written(tmp_path, 30, 40, first=20)
    assert read_table(tmp_path)["step"].unique(maintain_order=True).to_list() == [1, 10, 20, 30, 40]
    table.close()
    assert read_table(tmp_path).filter(polars.col("part") == "step")["step"].to_list() == [1, 10, 20, 30, 40]


def test_a_kill_while_parts_become_one_file_doubles_nothing(tmp_path: Path) -> None:
    written(tmp_path, 1, 10)
    parts = {path.name: path.read_bytes() for path in (tmp_path / PARTS).iterdir()}
    TrackTable(tmp_path, 10)
    for name, content in parts.items():
        (tmp_path / PARTS / name).write_bytes(content)
    assert read_table(tmp_path)["step"].to_list() == [1, 1, 10, 10]


def test_a_run_that_begins_anew_keeps_what_stands_there(tmp_path: Path) -> None:
    written(tmp_path, 1, 10).close()
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(OutputError, match="a table up to step 10 exists there and was kept"):
        TrackTable(tmp_path)
    assert (tmp_path / NAME).read_bytes() == before


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    polars.DataFrame({"step": [1]}).write_parquet(tmp_path / NAME)
    with pytest.raises(InputRejected, match="expected a table of schema"):
        read_table(tmp_path)
    (tmp_path / NAME).write_bytes(b"PAR1 nothing")
    with pytest.raises(InputRejected, match="expected a Parquet table"):
        TrackTable(tmp_path, 5)


def test_nothing_recorded_is_an_empty_table(tmp_path: Path) -> None:
    TrackTable(tmp_path).close()
    assert len(read_table(tmp_path)) == 0 and not (tmp_path / NAME).exists()
