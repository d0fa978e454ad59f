import json
import runpy

import jsonschema
import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded

from heedful.evaluation.page import schema
from heedful.evaluation.page.json_document import to_document, to_json
from heedful.evaluation.page.schema import ReportDocument, json_schema, schema_text, shipped_schema


def test_the_shipped_schema_is_current() -> None:
    assert shipped_schema() == schema_text()


def test_the_documented_command_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(schema.__file__, run_name="__main__")
    assert capsys.readouterr().out == schema_text()


@pytest.mark.parametrize("make", [factory.realistic, factory.small, carded])
def test_documents_follow_the_schema(make: object) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    document = json.loads(to_json(make()))
    assert list(validator.iter_errors(document)) == []
    ReportDocument.model_validate_json(json.dumps(document))


@pytest.mark.parametrize(
    "break_it", [{"surplus": 1}, {"schema": "heedful.report/2"}, {"verdict": "MAYBE"}, {"heads": 1}]
)
def test_what_breaks_the_schema_is_seen(break_it: dict[str, object]) -> None:
    document = {**to_document(factory.small()), **break_it}
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(document))


def test_every_field_is_required() -> None:
    assert set(json_schema()["required"]) == set(to_document(factory.small()))
