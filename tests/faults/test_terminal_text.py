"""S16, S17, F45: text of tokens, names, paths and configs is data in every output, and never acts."""

import csv
import io
import json
import re
from pathlib import Path

import polars
import pytest
from tests.evaluation.page import factory

from heedful.commandline.errors import outcome
from heedful.errors import InputRejected
from heedful.evaluation.head_files import save_heads
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.page.terminal import print_heads, terminal_text
from heedful.reporting.escape import encoded

pytestmark = pytest.mark.fault


everywhere = factory.everywhere
TOKENS = sorted(factory.HOSTILE.items())
each_token = pytest.mark.parametrize("token", [token for _, token in TOKENS], ids=[name for name, _ in TOKENS])


@each_token
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_s17_no_token_acts_on_the_page(token: str, encoding: str) -> None:
    page = terminal_text(everywhere(token), columns=60, encoding=encoding)
    page.encode(encoding)
    assert all(line.isprintable() for line in page.split("\n"))


def test_s17_markup_and_colour_codes_are_shown() -> None:
    page = terminal_text(everywhere("[red]x[/red]\x1b[31m"))
    assert "[red]x[/red]\\x1b[31m" in page


@each_token
def test_s16_json_carries_the_token_and_stays_plain(token: str) -> None:
    text = to_json(everywhere(token))
    assert text.isascii()
    assert not re.search(r"[<>&\x00-\x09\x0b-\x1f\x7f]", text)
    assert json.loads(text)["heads"][0]["label"] == encoded(token)
    assert from_json(text).heads[0].label == encoded(token)


@each_token
def test_f45_the_head_table(token: str, tmp_path: Path) -> None:
    heads = everywhere(token).heads
    stream = io.StringIO()
    print_heads(heads, stream)
    assert all(line.isprintable() for line in stream.getvalue().split("\n"))
    save_heads(heads, tmp_path / "heads.csv", overwrite=False)
    text = (tmp_path / "heads.csv").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.split("\n"))
    (row,) = csv.DictReader(io.StringIO(text))
    assert not row["label"].startswith(("=", "+", "-", "@"))
    save_heads(heads, tmp_path / "heads.parquet", overwrite=False)
    assert polars.read_parquet(tmp_path / "heads.parquet")["label"].to_list() == [encoded(token)]


@each_token
def test_f45_a_message_about_a_file_of_that_name(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    def reject() -> None:
        raise InputRejected(token, token, token)

    assert outcome(reject) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
