import pytest
from tests.commandline import rooms

from heedful.evaluation.model_and_text import Inputs, read


def test_no_text_is_the_embedded_text(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = rooms.install(monkeypatch.setitem, lambda **_: None)
    loaded, sequences = read(
        Inputs(
            model=None,
            config=None,
            tokenizer=None,
            text=(),
            seq_len=8,
            sequences=2,
            device="cpu",
            dtype="auto",
            seed=1,
            allow_globals=(),
        )
    )
    assert (loaded.name, sequences) == ("embedded default", "sequences")
    assert calls["load_documents"] is None
