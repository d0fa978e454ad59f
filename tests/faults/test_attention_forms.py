"""F08, F11, F18, F22, F23, F28: attention of every form, met by a whole validation."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.planted import (
    PlantedModel,
    alternating_ids,
    previous_token_heads,
    random_ids,
    sequences_of,
)
from tests.evaluation.material import tiny_gpt2
from tests.faults.test_in_process import alike, judged, overall, sharp, statistics
from torch import Tensor, nn

from heedful import capture
from heedful.errors import UsageError
from heedful.evaluation.batches import batches_of
from heedful.inference.verdict import Verdict

pytestmark = pytest.mark.fault


def test_f08_nan_logits_of_one_head_fail_the_report_and_leave_the_others_judged() -> None:
    report = judged(PlantedModel(*previous_token_heads(2, 32), fault="nan logits"), alternating_ids(18, 32))
    assert report.verdict is Verdict.FAIL
    found = [f for f in report.sections[0].findings if f.claim == "attention_is_finite"]
    assert [(f.verdict, f.head) for f in found] == [(Verdict.FAIL, None), (Verdict.ERROR, 0)]
    assert "overflow" not in found[1].reason and "look at what enters this layer" in found[1].reason
    assert [row.verdict for row in report.heads] == ["UNDEFINED", "SHARP"]


class Masked(nn.Module):
    """Causal attention whose mask is written in one of the usual forms; ``None`` is the kernel's own causal rule."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.embedding, self.qkv, self.head = nn.Embedding(24, 32), nn.Linear(32, 96), nn.Linear(32, 24)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        batch, length, _ = hidden.shape
        query, key, value = self.qkv(hidden).view(batch, length, 3, 2, 16).permute(2, 0, 3, 1, 4) * 3
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden_by = {"-inf": -math.inf, "least float": torch.finfo(hidden.dtype).min, "-1e9": -1e9}
        mask = (
            ~later
            if self.form == "bool"
            else torch.zeros(length, length).masked_fill(later, hidden_by.get(self.form, 0))
        )
        if self.form == "rule":
            output = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.head(output.transpose(1, 2).reshape(batch, length, 32))


@pytest.mark.parametrize("form", ["bool", "-inf", "least float", "-1e9"])
def test_f11_the_form_of_the_mask_changes_no_statistic_and_no_verdict(form: str) -> None:
    plain, other = Masked("rule"), Masked(form)
    other.load_state_dict(plain.state_dict())
    text = sequences_of(random_ids(6, 24))
    alike(*(statistics(model, batches_of(model, text, 2048)) for model in (plain, other)))
    one, two = (overall(judged(model, text.input_ids)) for model in (plain, other))
    assert {c: f.verdict for c, f in one.items()} == {c: f.verdict for c, f in two.items()}


def configured(form: str) -> nn.Module:
    """A tiny model of a form, out of its config."""
    import transformers as t

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "intermediate_size": 32, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 2,
    }  # fmt: skip
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1}
    made: dict[str, Any] = {
        "single head and layer": lambda: tiny_gpt2(layers=1, attn_pdrop=0.0),
        "one key head": lambda: t.LlamaForCausalLM(t.LlamaConfig(**{**size, "num_key_value_heads": 1})),
        "grouped": lambda: t.LlamaForCausalLM(t.LlamaConfig(**size)),
        "window": lambda: t.MistralForCausalLM(t.MistralConfig(**size, sliding_window=10)),
        "softcap": lambda: t.Gemma2ForCausalLM(
            t.Gemma2Config(**size, sliding_window=10, query_pre_attn_scalar=8, attn_implementation="eager")
        ),
        "learned sink": lambda: t.GptOssForCausalLM(
            t.GptOssConfig(**size, **experts, sliding_window=10, attn_implementation="eager")
        ),
        "position bias": lambda: t.BloomForCausalLM(t.BloomConfig(vocab_size=24, hidden_size=32, n_layer=2, n_head=4)),
        "experts": lambda: t.MixtralForCausalLM(t.MixtralConfig(**size, **experts)),
    }
    return made[form]().eval()


@pytest.mark.parametrize(
    "form",
    [
        "single head and layer", "one key head", "grouped", "window", "softcap", "learned sink", "position bias",
        "experts",
    ],
)  # fmt: skip
def test_f18_every_form_of_attention_is_measured_as_it_is(form: str) -> None:
    report = judged(configured(form), random_ids(3, 24))
    found = overall(report)
    for claim in ("rows_sum_to_one", "future_is_unseen", "attention_is_finite", "entropy_within_bounds"):
        assert found[claim].verdict is Verdict.PASS, (claim, found[claim].reason)
    assert found["capture_matches_output"].verdict is Verdict.PASS
    assert len(report.heads) == (4 if form == "single head and layer" else 8)


def test_f18_cross_attention_has_its_own_rows_and_no_diagonal() -> None:
    import transformers as t

    torch.manual_seed(0)
    config = t.T5Config(
        vocab_size=24, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4, decoder_start_token_id=0, pad_token_id=0
    )
    model, ids = t.T5ForConditionalGeneration(config).eval(), random_ids(2, 16)
    with capture(model) as session, torch.no_grad():
        model(input_ids=ids, decoder_input_ids=ids[:, :12])
    table = session.heads()
    cross = table.filter(table["module"].str.contains("EncDecAttention"))
    assert cross.height == 4 and cross["verified"].all()
    assert cross["self_mass"].is_null().all() and cross["row_entropy"].is_not_null().all()


def test_f23_a_second_thread_is_refused_while_a_model_is_validated() -> None:
    model, ids = sharp(tiny_gpt2()), random_ids(4, 16)
    messages: list[BaseException] = []

    def second() -> None:
        try:
            with capture(model):
                pass
        except UsageError as error:
            messages.append(error)

    def begin(*_: Any) -> None:
        if not messages:  # the first forwards of a validation may watch nothing
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    handle = model.transformer.h[0].register_forward_pre_hook(begin)
    report = judged(model, ids)
    handle.remove()
    assert len(messages) == 1 and "another thread is capturing this model" in str(messages[0])
    assert repr(report.heads) == repr(judged(model, ids).heads)
