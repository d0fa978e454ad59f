import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import heedful
from heedful.app import app, main
from heedful.commandline.commands import COMMANDS
from heedful.commandline.help import hyphens

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


def help_of(*words: str) -> str:
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0, shown.output
    return shown.stdout


@pytest.mark.parametrize("words", [words for words, command in COMMANDS.items() if command.run is not None])
def test_help_begins_with_two_examples_that_name_options_of_the_command(words: str) -> None:
    text = help_of(*words.split())
    examples = COMMANDS[words].examples
    assert len(examples) == 2 and text.index("Examples:") < text.index("Machine:") < len(text)
    for line in examples:
        name = "heedful sweep" if words == "sweep run" else f"heedful {words}"
        assert line.startswith(name) and f"  {line}\n" in text
        for option in re.findall(r"--[a-z-]+", line):
            assert option in text, (line, option)
    assert max(map(len, text.splitlines())) <= 80


def test_the_first_page_lists_few_commands_then_groups() -> None:
    first, _, rest = help_of().partition("Groups of commands:")
    names = [line.split()[0] for line in first.partition("Commands:")[2].splitlines() if line[:3].strip()]
    assert 5 <= len(names) <= 8 and names[0] == "check"
    groups = [line.split()[0] for line in rest.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    assert groups[:5] == ["ngrams", "gauge", "compress", "sweep", "lab"]


def test_underscores_are_hyphens_in_the_names_of_options() -> None:
    assert hyphens(["validate", "--seq_len", "8", "--null_models=2", "a_b", "--", "--c_d"]) == [
        "validate", "--seq-len", "8", "--null-models=2", "a_b", "--", "--c_d",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["count", "derive", "prune", "quantize-keys", "calibrate", "claims"])
def test_flat_names_are_gone(command: str) -> None:
    assert CliRunner().invoke(app, [command]).exit_code == 2
