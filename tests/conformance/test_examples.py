"""Every public function has an example in its docstring; the cheap ones run, so that they stay true."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import heedful
from heedful import testing
from heedful.attention import visibility
from heedful.interception import selection
from heedful.loading import given_text
from heedful.reporting import shown_record

FUNCTIONS = {name: getattr(heedful, name) for name in heedful.__all__ if not inspect.isclass(getattr(heedful, name))}
FUNCTIONS |= {
    "as_sequences": testing.as_sequences,
    "documents_of": given_text.documents_of,
    "named_parts": selection.named_parts,
    "ShownRecord": shown_record.ShownRecord,
    "tensor_of": visibility.tensor_of,
    "visibility_of": visibility.visibility_of,
}
SLOW = {"validate", "derive"}
"""Examples that take more than a second or two."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in sorted(FUNCTIONS)]
)
def test_the_example_says_what_comes_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    function = FUNCTIONS[name]
    home = inspect.getmodule(inspect.unwrap(function))
    found = doctest.DocTestParser().get_doctest(
        inspect.getdoc(function) or "", {**vars(home), "heedful": heedful}, name, None, 0
    )
    assert found.examples, "no example"
    messages: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(found, out=messages.append).failed
    assert not failed, "".join(messages)


def test_a_wrong_example_would_be_seen() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda _: None).failed == 1


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"ShownRecord"}))
def test_every_argument_has_a_type(name: str) -> None:
    signature = inspect.signature(inspect.unwrap(FUNCTIONS[name]))
    bare = [one.name for one in signature.parameters.values() if one.annotation is inspect.Parameter.empty]
    assert bare == [] and signature.return_annotation is not inspect.Signature.empty
