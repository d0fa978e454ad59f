import subprocess
import sys

import pytest
from typer.testing import CliRunner

import heedful
from heedful.app import app, main

runner = CliRunner()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "heedful", *words], capture_output=True, text=True, timeout=60)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['heedful', 'validate', '--help']\nfrom heedful.app import main\ntry: main()\n"
    code += "except SystemExit: print(sorted({'torch', 'transformers', 'polars', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--null-models R" in done.stdout


def test_version_and_module() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"heedful {heedful.__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["validate", "--help"], ["heads", "-h"]])
def test_help_fits_eighty_columns(words: list[str]) -> None:
    result = runner.invoke(app, words)
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_no_command_shows_the_help_as_a_usage_error() -> None:
    result = runner.invoke(app, [])
    assert result.exit_code == 2
    assert "Commands:" in result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bogus"], "error: heedful: No such command 'bogus' (see heedful --help)\n"),
        (["validate", "--preset", "x"], "error: --preset: 'x' is not one of"),
        (["validate", "--seq-len", "1"], "error: --seq-len: "),
        (["validate", "--seq-len", "many"], "error: --seq-len: "),
        (["validate", "--sequences", "0"], "error: --sequences: "),
        (["validate", "--null-models", "-1"], "error: --null-models: "),
        (["validate", "--dtype", "int8"], "error: --dtype: "),
        (["validate", "--seed", "-1"], "error: --seed: "),
        (["validate", "a", "b"], "error: heedful validate: Got unexpected extra argument"),
        (["validate", "--bogus\x1b[2J"], "error: heedful validate: No such option"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)
    assert err.count("\n") == 1
    assert "\x1b" not in err
