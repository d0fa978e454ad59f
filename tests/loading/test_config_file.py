from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading.config_file import read_config

EXPECTED = {"model_type": "gpt2", "n_layer": 2, "resid_pdrop": 0.5, "names": ["a", "b"], "deep": {"x": True}}
FORMS = {
    "c.json": '{"model_type": "gpt2", "n_layer": 2, "resid_pdrop": 0.5, "names": ["a", "b"], "deep": {"x": true}}',
    "c.toml": 'model_type = "gpt2"\nn_layer = 2\nresid_pdrop = 0.5\nnames = ["a", "b"]\n[deep]\nx = true\n',
    "c.yaml": "model_type: gpt2\nn_layer: 2\nresid_pdrop: 0.5\nnames: [a, b]\ndeep:\n  x: true\n",
    "c.yml": '{model_type: gpt2, n_layer: 2, resid_pdrop: 0.5, names: [a, "b"], deep: {x: true}}',
    "c.py": '"""A config."""\n# two layers\nmodel_type: str = "gpt2"\nn_layer = 2\nresid_pdrop = 0.5\n'
    'names = ("a", "b")\ndeep = {"x": True}\n',
    "whole.py": 'config = {"model_type": "gpt2", "n_layer": 2, "resid_pdrop": 0.5, '
    '"names": ["a", "b"], "deep": {"x": True}}',
}


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_form_reads_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name])
    assert read_config(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("c.toml", "a = 1\na = 2\n", "expected TOML"),
        ("c.toml", "a = nan\n", "not finite"),
        ("c.toml", "a = 1979-05-27\n", "type date"),
        ("c.yaml", "a: 1\na: 2\n", "stands twice"),
        ("c.yaml", "a: .inf\n", "not finite"),
        ("c.yaml", "a: &x 1\nb: *x\n", "alias"),
        ("c.yaml", "- 1\n- 2\n", "found list"),
        ("c.yaml", "1: 2\n", "not a string"),
        ("c.yaml", "? [a]\n: 1\n", "no plain word"),
        ("c.yaml", "a: 1\n---\nb: 1\n", "expected plain YAML"),
        ("c.yaml", "a: [\n", "expected plain YAML"),
        ("c.py", "n_layer = 2\nn_layer = 3\n", "line 2: n_layer is set twice"),
        ("c.py", "a = [x for x in (1,)]\n", "line 1"),
        ("c.py", "a, b = 1, 2\n", "line 1"),
        ("c.py", "a.b = 1\n", "line 1"),
        ("c.py", "a = 1e999\n", "not finite"),
        ("c.py", "a = (\n", "expected Python"),
        ("c.py", "a = " + "-" * 100_000 + "1\n", "line 1"),
        ("c.py", "a = " + "(" * 5000, "c.py"),
        ("c.ini", "[a]\n", "no config reader for '.ini'"),
        ("c", "{}", "no config reader"),
        ("c.json", "\udcff", "expected UTF-8"),
    ],
)
def test_what_is_more_than_data_is_refused(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, errors="surrogateescape")
    if says == "line 1" and "-" * 1000 in text:
        says = ""
    material.refused(lambda: read_config(tmp_path / name), 3, says)
