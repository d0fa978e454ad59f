"""The table of checkpoints holds what each model does with one text, whatever family it is of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
import transformers
from tests.loading import material
from tests.monitoring.tracker.material import qwen

from heedful.errors import CaptureError, InputRejected, UsageError
from heedful.loading.documents import Documents
from heedful.loading.loaded_model import load_model
from heedful.loading.run_files import RECORD, WHOLE
from heedful.loading.sequences import make_sequences
from heedful.monitoring.checkpoints.reading import CheckpointReading, checkpoint_table, find_checkpoints, forward_sums
from heedful.monitoring.evolution.figures import report_of
from heedful.monitoring.evolution.rows import rows_of

TEXTS = tuple(material.make_text(12, seed) for seed in range(20))
READING = CheckpointReading(
    documents=Documents(names=tuple(f"d{i}" for i in range(20)), texts=TEXTS, origin="made up"), seq_len=24, sequences=6
)


def saved(place: Path, family: str, scale: float = 1.0, **changes: Any) -> Path:
    """A checkpoint whose key projections are a scale times those of the others."""
    model = qwen(vocab_size=50, **changes) if family == "qwen" else material.make_model(family)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".k_proj." in name or ".attention.self.key." in name or "k_norm" in name:
                parameter.mul_(scale)
    model.save_pretrained(place)
    material.make_tokenizer().save_pretrained(place)
    return place


def read(*places: Path, **changes: Any) -> polars.DataFrame:
    return checkpoint_table(find_checkpoints([str(place) for place in places]), replace(READING, **changes))


@pytest.mark.parametrize(("family", "stages", "shared"), [("llama", 2, 2), ("bert", 1, 1), ("gpt2", 1, 1)])
def test_every_family_is_read_and_what_it_lacks_is_said(family: str, stages: int, shared: int, tmp_path: Path) -> None:
    rows = rows_of(read(saved(tmp_path / "model", family)), "model")
    report = report_of(rows, "model")
    message = " ".join(report.present)
    assert rows.single and rows.sharing == [shared] and (rows.stage == "before") == (stages == 2)
    assert ("does not rotate its keys" in message) == (stages == 1) and "No gain of a key norm was found" in message
    assert ("A key head serves 2" in message) == (shared == 2) and "144 tokens in 6 sequences" in message
    assert [figure.name for figure in report.drawn] == ["key_magnitude_profile", "entropy_and_spread"]
    assert [("no evolution" in figure.paragraph) for figure in report.figures] == [True, True, True, False, False]
    assert "last step" not in " ".join(figure.paragraph for figure in report.figures)


def test_steps_are_in_order_and_norms_are_those_of_the_keys(tmp_path: Path) -> None:
    for step, scale in ((300, 3.0), (100, 1.0), (200, 2.0)):
        saved(tmp_path / f"checkpoint-{step}", "llama", scale)
    table = read(tmp_path)
    rows = rows_of(table, "run")
    assert rows.steps == (100, 200, 300) and rows.text and not rows.single
    first = rows.keys.filter(polars.col("layer") == 0).sort("step")["norm_mean"].to_list()
    assert first == pytest.approx([first[0], 2 * first[0], 3 * first[0]], rel=1e-4)
    loaded = load_model(tmp_path / "checkpoint-100")
    sequences = make_sequences(READING.documents, loaded.tokenizer, seq_len=24, sequences=6, seed=0)
    keys: list[torch.Tensor] = []
    loaded.model.model.layers[0].self_attn.k_proj.register_forward_hook(lambda m, a, out: keys.append(out))
    with torch.no_grad():
        loaded.model(input_ids=sequences.input_ids)
    assert first[0] == pytest.approx(float(keys[0].norm(dim=-1).mean()), rel=1e-5)


def test_all_tokens_are_measured_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = saved(tmp_path / "model", "llama")
    whole = read(place)
    monkeypatch.setattr("heedful.monitoring.checkpoints.reading.TOKENS", 48)
    parts = read(place)
    for part, name in (("key", "vectors"), ("key", "centred_cosine"), ("attention", "entropy_share")):
        one, two = (table.filter(polars.col("part") == part)[name].to_list() for table in (whole, parts))
        assert one == pytest.approx(two, rel=1e-5, abs=1e-7)
    assert set(whole.filter(polars.col("part") == "key")["vectors"]) == {6 * 24}


def test_gains_are_read_and_no_decay_is_claimed(tmp_path: Path) -> None:
    for step, scale in ((1, 1.0), (2, 0.5)):
        saved(tmp_path / f"step-{step}", "qwen", scale)
    table = read(tmp_path)
    gains = table.filter(polars.col("part") == "key_gain").sort("step")
    assert gains["gain_norm"].to_list() == pytest.approx([8**0.5] * 2 + [8**0.5 / 2] * 2)
    assert gains["gain_decay"].is_null().all()
    message = report_of(rows_of(table, "run"), "run").figures[0].paragraph
    assert "gains of the key norms went from 2.83 to 1.41" in message and "is not known" in message


def test_a_run_whose_step_folders_hold_no_tokenizer(tmp_path: Path) -> None:
    for step in (1, 2):
        qwen(vocab_size=50).save_pretrained(tmp_path / f"checkpoint-{step}")
    with pytest.raises(InputRejected, match="no tokenizer to read it with"):
        read(tmp_path)
    material.make_tokenizer().save_pretrained(tmp_path)
    assert set(read(tmp_path)["step"]) == {1, 2}


def test_another_architecture_is_refused_with_both_named(tmp_path: Path) -> None:
    saved(tmp_path / "step-1", "qwen")
    other = saved(tmp_path / "step-2", "qwen", num_hidden_layers=3)
    with pytest.raises(InputRejected, match=r"step-2: expected 2 attention modules as in .*step-1, found 3"):
        read(tmp_path)
    for file in other.iterdir():
        file.unlink()
    saved(other, "qwen", num_key_value_heads=4)
    message = "4 query heads and 2 key heads of dimension 8 as in .*, found .* 4 query heads and 4 key heads"
    with pytest.raises(InputRejected, match=message):
        read(tmp_path)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "step-1", "qwen")
    saved(tmp_path / "step-2", "qwen")
    material.make_tokenizer(before=None).save_pretrained(tmp_path / "step-2")
    with pytest.raises(InputRejected, match=r"step-2: its tokenizer makes other tokens"):
        read(tmp_path)
    assert set(read(tmp_path, tokenizer=str(tmp_path / "step-1"))["step"]) == {1, 2}


def test_the_model_is_left_as_it_was_and_one_without_attention_is_refused() -> None:
    sequences = make_sequences(READING.documents, material.make_tokenizer(), seq_len=24, sequences=6, seed=0)
    model = qwen(vocab_size=50)
    before = [parameter.clone() for parameter in model.parameters()]
    forward_sums(model, sequences, "model")
    assert model.training and all(map(torch.equal, before, model.parameters()))
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 0

    class Bag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = torch.nn.Embedding(50, 8)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.rows(input_ids)

    with pytest.raises(CaptureError, match="showed no attention"):
        forward_sums(Bag(), sequences, "bag")


def test_a_model_that_wants_more_than_tokens_is_refused_in_one_line() -> None:
    sequences = make_sequences(READING.documents, material.make_tokenizer(), seq_len=24, sequences=6, seed=0)
    config = transformers.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(InputRejected, match="the model's forward raised"):
        forward_sums(transformers.T5ForConditionalGeneration(config), sequences, "t5")


def folder(place: Path, step: int | None = None) -> Path:
    place.mkdir(parents=True)
    if step is not None:
        (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return place


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-100", 100), ("step_0020", 20), ("step1000", 1000), ("run3-ckpt7.safetensors", 7), ("40", 40),
        ("model-iter_5.pt", 5), ("global_step12", 12),
    ],
)  # fmt: skip
def test_a_step_is_read_from_its_name(name: str, step: int, tmp_path: Path) -> None:
    other = folder(tmp_path / "checkpoint-999999")
    assert [one.step for one in find_checkpoints([str(other), str(tmp_path / name)])] == [step, 999999]


def test_step_folders_come_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        folder(tmp_path / f"checkpoint-{step}")
    folder(tmp_path / "runs")
    assert [one.step for one in find_checkpoints([str(tmp_path)])] == [3, 20, 100]
    (tmp_path / RECORD).write_text("{}")
    (tmp_path / "checkpoint-20" / WHOLE).write_text("{}")
    assert [one.step for one in find_checkpoints([str(tmp_path)])] == [20]


def test_the_trainers_state_tells_the_step_that_a_name_does_not(tmp_path: Path) -> None:
    names = [folder(tmp_path / "last", 70), folder(tmp_path / "best", 40)]
    assert [one.step for one in find_checkpoints(list(map(str, names)))] == [40, 70]


def test_a_single_model_needs_no_step(tmp_path: Path) -> None:
    assert [(one.name, one.step) for one in find_checkpoints(["all-MiniLM-L6-v2"])] == [("all-MiniLM-L6-v2", 0)]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("checkpoint-1", "last"), "does not say its own"),
        (("checkpoint-1", "other/step_1"), "both are of step 1"),
        (("checkpoint-1", "checkpoint-1"), "both are of step 1"),
    ],
)
def test_no_order_is_refused(names: tuple[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        find_checkpoints([str(tmp_path / name) for name in names])
