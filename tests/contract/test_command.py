from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from heedful.app import app

runner = CliRunner()


def test_the_model_that_ships_with_heedful_passes() -> None:
    result = runner.invoke(app, ["check", "--seq-len", "48"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "direction  causal" in result.stdout and " held; " in result.stdout


def test_a_packed_row_passes_and_one_with_a_mask_does_not(tmp_path: Path) -> None:
    assert runner.invoke(app, ["check", "--seq-len", "24", "--packed"]).exit_code == 0
    path = tmp_path / "batch.safetensors"
    positions = torch.cat([torch.arange(12), torch.arange(12)])[None]
    ids = torch.randint(3, 2000, (1, 24), generator=torch.Generator().manual_seed(0))
    save_file({"input_ids": ids, "position_ids": positions, "attention_mask": torch.ones(1, 24).long()}, path)
    result = runner.invoke(app, ["check", "--batch", str(path), "--json", str(tmp_path / "report.json")])
    assert result.exit_code == 1
    assert "BROKEN documents: layer 0" in result.stdout and "batch.pop('attention_mask', None)" in result.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["held"] is False and report["schema"] == "heedful.contract/1"
    torch.save({"input_ids": ids}, tmp_path / "batch.pt")
    assert runner.invoke(app, ["check", "--batch", str(tmp_path / "batch.pt")]).exit_code == 0


def test_documents_and_a_contract_are_promises(tmp_path: Path) -> None:
    result = runner.invoke(app, ["check", "--seq-len", "24", "--documents", "10,14"])
    assert result.exit_code == 1 and "query 10" in result.stdout
    path = tmp_path / "contract.toml"
    path.write_text("window = 8\n")
    result = runner.invoke(app, ["check", "--seq-len", "24", "--contract", str(path), "--no-behaviour"])
    assert result.exit_code == 1 and "query 8" in result.stdout


def test_bad_options_get_one_line(tmp_path: Path) -> None:
    for options, code, message in (
        (["--documents", "10,a"], 2, "expected lengths of documents"),
        (["--seq-len", "24", "--documents", "10,20"], 2, "30 tokens, the batch has rows of 24"),
        (["--batch", str(tmp_path / "none.pt")], 2, "no such file"),
        (["--contract", str(tmp_path / "none.toml")], 2, "expected a contract in TOML"),
        (["--json", str(tmp_path / "no" / "file.json"), "--seq-len", "24"], 5, "does not exist"),
        (["--factory", "a:b", "m"], 2, "builds the model itself"),
        (["--checkpoint", "x"], 2, "--factory"),
    ):
        result = runner.invoke(app, ["check", *options])
        assert result.exit_code == code, (options, result.stderr)
        assert message in result.stderr and result.stderr.count("\n") == 1
    (tmp_path / "list.pt").write_bytes(b"no archive")
    result = runner.invoke(app, ["check", "--batch", str(tmp_path / "list.pt")])
    assert result.exit_code == 2 and "expected a file of named tensors" in result.stderr
