"""S14, S15, S21: configs that are programs, bombs or beyond memory."""

import json
from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading.loaded_model import load_model

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, config = material.save_checkpoint(tmp_path_factory.mktemp("weights"))
    load_model(path, config=config)
    return path


def _refused(weights: Path, config: Path, code: int, *says: str) -> None:
    material.refused(lambda: load_model(weights, config=config), code, config.name, *says, seconds=5)


EVIL_PYTHON = (
    "open({marker!r}, 'w')",
    "import os\nos.system('touch {marker}')",
    "n_layer = __import__('pathlib').Path({marker!r}).touch()",
    "n_layer = [open({marker!r}, 'w') for _ in (1,)]",
    "class Config:\n    open({marker!r}, 'w')",
    "def f(x=open({marker!r}, 'w')): pass",
    "n_layer: open({marker!r}, 'w') = 2\nx = open",
    "@open({marker!r}, 'w')\ndef f(): pass",
    'n_layer = f"{{open({marker!r}, chr(119))}}"',
    "if open({marker!r}, 'w'): pass",
)


@pytest.mark.parametrize("text", EVIL_PYTHON)
def test_s14_a_python_config_is_never_run(text: str, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(text.format(marker=str(tmp_path / "marker")))
    _refused(weights, tmp_path / "evil.py", 3, "line", "expected NAME = literal")
    assert not (tmp_path / "marker").exists()


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
HOSTILE = {
    "apply.yaml": "a: !!python/object/apply:os.mkdir ['{marker}']\n",
    "new.yaml": "a: !!python/object/new:os.mkdir ['{marker}']\n",
    "name.yaml": "a: !!python/name:os.system\n",
    "module.yaml": "a: !!python/module:os\n",
    "bomb.yaml": BOMB,
    "deep.yaml": "[" * 20_000,
    "deep2.yaml": "\n".join(" " * i + "a:" for i in range(500)),
    "nan.yaml": "n_layer: .nan\n",
    "deep.json": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "list.json": "[" * 200_000,
    "nan.json": '{"n_layer": NaN}',
    "infinity.json": '{"n_layer": Infinity}',
    "big.json": '{"n_layer": 1e999}',
    "twice.json": '{"model_type": "gpt2", "model_type": "bert"}',
    "deep.toml": "a = " + "[" * 5000,
    "nan.toml": "n_layer = nan\n",
    "twice.toml": 'model_type = "gpt2"\nmodel_type = "bert"\n',
    "deep.py": "a = " + "[" * 5000,
    "sum.py": "a = " + "1+" * 50_000 + "1",
    "nul.py": "a = 1\0\n",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_s15_hostile_configs_are_refused_at_once(name: str, weights: Path, tmp_path: Path) -> None:
    text = HOSTILE[name]
    (tmp_path / name).write_text(text.replace("{marker}", str(tmp_path / "marker")))
    _refused(weights, tmp_path / name, 3)
    assert not (tmp_path / "marker").exists()


def test_s15_a_config_of_more_than_a_megabyte_is_refused(weights: Path, tmp_path: Path) -> None:
    for name in ("c.json", "c.yaml", "c.toml", "c.py"):
        (tmp_path / name).write_text(" " * (1 << 20) + " ")
        _refused(weights, tmp_path / name, 4, "1,048,576 bytes")


@pytest.mark.parametrize(
    "change",
    [
        {"n_positions": 10**12},
        {"n_embd": 10**12},
        {"vocab_size": 10**15},
        {"n_layer": 10**9},
        {"n_inner": 10**18},
        {"n_positions": 10**400},
        {"num_labels": 10**10},
        {"vocab_size": 10**9, "n_embd": 512},
    ],
)
def test_s21_sizes_beyond_memory_are_refused_before_allocation(
    change: dict[str, int], weights: Path, tmp_path: Path
) -> None:
    settings = json.loads((weights.parent / "settings.json").read_text()) | change
    (tmp_path / "big.json").write_text(json.dumps(settings))
    _refused(weights, tmp_path / "big.json", 4, "big.json")


@pytest.mark.parametrize(
    "change", [{"n_head": 3}, {"n_head": 0}, {"n_layer": -1}, {"n_embd": "16"}, {"n_layer": 1.5}, {"n_layer": None}]
)
def test_s21_sizes_that_make_no_model_are_refused(change: dict[str, object], weights: Path, tmp_path: Path) -> None:
    settings = json.loads((weights.parent / "settings.json").read_text()) | change
    (tmp_path / "odd.json").write_text(json.dumps(settings))
    material.refused(lambda: load_model(weights, config=tmp_path / "odd.json"), 3, seconds=5)
