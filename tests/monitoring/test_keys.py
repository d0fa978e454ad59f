from __future__ import annotations

from pathlib import Path

import pytest
import torch

import heedful
from heedful.errors import UsageError


def test_one_checkpoint_is_enough_and_the_record_shows_itself(tmp_path: Path) -> None:
    loaded = heedful.load_model()
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        found = heedful.keys(tmp_path / "model", seq_len=16, sequences=2, out=tmp_path / "keys.parquet")
    assert repr(found).startswith(f"KeyReport({tmp_path / 'model'}: ") and (tmp_path / "keys.parquet").is_file()
    assert found.save(tmp_path / "keys.json").read_text() == found.to_json()
    again = heedful.keys([tmp_path / "keys.parquet"])
    assert [figure.rows for figure in again.figures] == [figure.rows for figure in found.figures]
    with pytest.raises(UsageError, match="--text is for checkpoints"):
        heedful.keys(tmp_path / "keys.parquet", text="a text")


@pytest.mark.parametrize("runs", [3, [], [3], None])
def test_what_is_no_run_is_refused(runs: object) -> None:
    with pytest.raises(UsageError, match="runs: expected a run, its table, or checkpoints"):
        heedful.keys(runs)  # type: ignore[arg-type]
