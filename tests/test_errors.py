"""The exception tree: what the docstring draws is what there is."""

import inspect
import re

import pytest

from heedful import errors

EXIT_CODES = {
    "HeedfulError": 6,
    "UsageError": 2,
    "InputRejected": 3,
    "CaptureError": 3,
    "ResourceLimit": 4,
    "OutputError": 5,
    "RankLost": 6,
    "CallError": 6,
    "UnsupportedByEngine": 6,
}


def classes() -> dict[str, type[errors.HeedfulError]]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: member for name, member in members if issubclass(member, errors.HeedfulError)}


def test_each_has_its_exit_code() -> None:
    assert {name: member.exit_code for name, member in classes().items()} == EXIT_CODES


def test_the_docstring_draws_each() -> None:
    drawn = set(re.findall(r"[A-Z][A-Za-z]+(?:Error|Rejected|Limit|Engine|Lost)\b", errors.__doc__ or "")) - {
        "ValueError"
    }
    assert drawn == set(classes())


def test_wrong_arguments_are_value_errors() -> None:
    assert issubclass(errors.UsageError, ValueError) and issubclass(errors.CallError, ValueError)
    with pytest.raises(ValueError):
        raise errors.UnsupportedByEngine("x")


def test_a_refusal_names_its_subject_and_the_way_out() -> None:
    error = errors.InputRejected("model.pt", "expected safetensors, got a pickle", "convert it first")
    assert str(error) == "model.pt: expected safetensors, got a pickle (convert it first)"
    assert (error.subject, error.what, error.fix) == (
        "model.pt",
        "expected safetensors, got a pickle",
        "convert it first",
    )
    assert str(errors.CaptureError("gpt", "nothing met")) == "gpt: nothing met"


def test_a_message_that_quotes_a_long_input_is_cut_and_keeps_its_end() -> None:
    long = str(errors.UsageError(f"arm {'a' * 5000!r}: expected one of frozen, none"))
    assert len(long) < 200 and "5,00" in long and long.endswith("expected one of frozen, none")
    many = str(errors.InputRejected("plan.yaml", "ab " * 5000, "rename it"))
    assert len(many) < 3100 and many.startswith("plan.yaml") and many.endswith("(rename it)")
    assert str(errors.ResourceLimit("x" * 500)) == "x" * 500
