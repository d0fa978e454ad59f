"""The check as a whole: proofs, state, whole batches, what is not promised, and one clear line on bad input."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.contract.architectures import LENGTH, batch_of, made
from tests.contract.planting import SECOND, packed
from tests.interception.state import snapshot
from torch import Tensor, nn

import heedful
from heedful.contract.check import check
from heedful.contract.record import Contract, Status
from heedful.errors import CaptureError, UsageError


def statuses(report: Any, promise: str) -> set[Status]:
    return {one.status for one in report.of(promise)}


def test_the_model_that_ships_with_heedful_keeps_its_contract() -> None:
    loaded = heedful.load_model()
    ids = torch.randint(3, 2000, (2, 96), generator=torch.Generator().manual_seed(0))
    report = heedful.check(loaded.model, {"input_ids": ids}, tokenizer=loaded.tokenizer)
    assert report.held
    for promise in ("direction", "scale", "grouping", "rotary", "rows"):
        assert statuses(report, promise) == {Status.HELD}
    assert {(one.kernel, one.behaviour) for one in report.of("direction")} == {("held", "held")}
    assert report.forwards <= 4
    assert "model type llama, a decoder" in str(report)


def test_model_and_batch_are_as_before() -> None:
    model = made("qwen3", "sdpa").train()
    batch = packed("qwen3", use_cache=False)
    before, kept = snapshot(model), dict(batch)
    check(model, batch)
    assert snapshot(model) == before
    assert batch.keys() == kept.keys() and all(batch[name] is kept[name] for name in kept)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_live_leak_of_packed_documents() -> None:
    """transformers reads documents out of positions only where neither a mask nor a cache is given."""
    model = made("llama", "sdpa")
    messages = {}
    for name, more in {
        "no mask, no cache": {"use_cache": False},
        "no mask, cache": {},
        "ones, no cache": {"use_cache": False, "attention_mask": torch.ones(1, LENGTH).long()},
    }.items():
        report = check(model, packed("llama", **more))
        messages[name] = statuses(report, "documents")
        moved = [one for one in report.broken if one.breach is not None and one.breach.proof == "changed token"]
        assert bool(moved) == (name != "no mask, no cache")
    assert messages["no mask, no cache"] == {Status.HELD}
    assert messages["no mask, cache"] == messages["ones, no cache"] == {Status.BROKEN}


class Biased(nn.Module):
    """Causal attention with a bias of one pair: a large negative number, or -inf for every pair of neighbours."""

    def __init__(self, length: int, everywhere: bool) -> None:
        super().__init__()
        self.embedding, self.joint = nn.Embedding(50, 16), nn.Linear(16, 48)
        bias = torch.full((length, length), -math.inf).triu(1)
        if everywhere:
            bias[range(2, length), range(1, length - 1)] = -math.inf
        else:
            bias[length // 2 + 1, length // 2] = -200.0
        self.register_buffer("bias", bias)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        query, key, value = (one[:, None] for one in self.joint(x).chunk(3, -1))
        return x + F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias)[:, 0]


def test_one_weight_that_rounds_to_0_hides_no_token() -> None:
    """A random model of large weights, 2 of 640 in a calibration: the middle token moved not the output behind it."""
    torch.manual_seed(0)
    ids = torch.randint(50, (1, 24))
    contract = Contract(direction="causal")
    assert check(Biased(24, everywhere=False).eval(), {"input_ids": ids}, contract=contract).held
    hidden = check(Biased(24, everywhere=True).eval(), {"input_ids": ids}, contract=contract)
    assert any("does not move with token 12 just before it" in one.found for one in hidden.broken)


def test_a_contract_overrules_the_config() -> None:
    report = check(made("llama", "sdpa"), batch_of("llama"), contract=Contract(window=9, scale=0.5, theta=500.0))
    assert statuses(report, "window") == statuses(report, "scale") == statuses(report, "rotary") == {Status.BROKEN}
    first = report.of("window")[0]
    assert first.source == "contract" and first.breach is not None
    assert (first.breach.query, first.breach.key) == (9, 0)
    assert report.of("scale")[0].found == "0.25"


def test_what_the_batch_cannot_show_is_not_judged() -> None:
    one_document = {**batch_of("llama", 1), "attention_mask": torch.ones(1, LENGTH).long()}
    report = check(made("llama", "sdpa"), one_document, contract=Contract(window=100, documents=[[3] * LENGTH]))
    for promise in ("window", "documents", "padding"):
        assert statuses(report, promise) == {Status.NOT_EXERCISED}


def test_sources_that_contradict_one_another_are_named_and_not_judged() -> None:
    batch = packed("llama", use_cache=False, cu_seq_lens_q=torch.tensor([0, SECOND + 3, LENGTH], dtype=torch.int32))
    report = check(made("llama", "sdpa"), batch)
    assert statuses(report, "documents") == {Status.CONTRADICTION}
    assert any("position_ids" in note and "cu_seq_lens_q" in note for note in report.notes)
    model = made("llama", "sdpa")
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False  # type: ignore[assignment]
    assert statuses(check(model, batch_of("llama")), "direction") == {Status.CONTRADICTION}


def test_positions_that_jump_forward_are_noted() -> None:
    positions = torch.cat([torch.arange(SECOND), torch.arange(30, 30 + LENGTH - SECOND)])[None]
    report = check(made("llama", "sdpa"), {**batch_of("llama", 1), "position_ids": positions})
    assert not report.of("documents") and any("jump forward" in note for note in report.notes)


class Plain(nn.Module):
    """Attention that no config speaks for: no causal mask."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.embedding, self.inner, self.causal = nn.Embedding(32, 16), nn.Linear(16, 48), causal

    def forward(self, input_ids: Tensor) -> Tensor:
        parts = self.inner(self.embedding(input_ids)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in parts)
        return F.scaled_dot_product_attention(query, key, value, is_causal=self.causal).transpose(1, 2).flatten(2)


def test_what_nobody_promised_is_reported_and_not_judged() -> None:
    ids = torch.arange(20)[None] % 31
    report = check(Plain(causal=False), ids)
    (direction,) = report.of("direction")
    assert (direction.status, direction.found) == (Status.NOT_PROMISED, "queries see later keys")
    assert not report.broken
    broken = check(Plain(causal=False), ids, contract=Contract(direction="causal"))
    assert (broken.broken[0].breach.query, broken.broken[0].breach.key) == (0, 1)  # type: ignore[union-attr]
    assert check(Plain(causal=True), ids, contract=Contract(direction="causal")).held


def test_every_key_of_a_batch_reaches_the_model_or_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"batch\['position_ids'\]: Plain.forward takes no such argument"):
        check(Plain(causal=True), {"input_ids": torch.arange(9)[None], "position_ids": torch.arange(9)[None]})
    seen: list[set[str]] = []
    model = made("llama", "sdpa")
    handle = model.register_forward_pre_hook(lambda m, args, kwargs: seen.append(set(kwargs)), with_kwargs=True)
    batch = packed("llama", use_cache=False, labels=batch_of("llama", 1)["input_ids"])
    check(model, batch)
    handle.remove()
    short = {"input_ids", "attention_mask", "position_ids", "use_cache"}  # a text of its own, for exchanged positions
    assert len(seen) >= 3 and all(keys in (set(batch), short) for keys in seen)


def test_a_loader_text_and_nothing_are_batches() -> None:
    model = made("llama", "sdpa")
    assert check(model, [batch_of("llama"), None]).held
    assert check(model).held
    with pytest.raises(UsageError, match="text needs a tokenizer"):
        check(model, "one text")
    with pytest.raises(UsageError, match="expected at least one batch of the loader"):
        check(model, iter([]))
    with pytest.raises(UsageError, match="expected a mapping"):
        check(model, 3)


def test_bad_input_gets_one_clear_line() -> None:
    with pytest.raises(CaptureError, match="no attention call was captured"):
        check(nn.Sequential(nn.Embedding(9, 4)), {"input": torch.arange(5)[None]})
    with pytest.raises(UsageError, match=r"documents: expected a whole number for each of 1 rows of 44 tokens"):
        check(made("llama", "sdpa"), batch_of("llama", 1), documents=[[0, 1]])


def test_half_a_forward_without_logits_says_what_is_not_seen() -> None:
    class Pooled(Plain):
        def forward(self, input_ids: Tensor) -> Tensor:
            return super().forward(input_ids).mean(1)

    report = check(Pooled(causal=True), torch.arange(20)[None] % 31, contract=Contract(direction="causal"))
    assert report.held and any("behaviour" in message for message in report.undecided)


@pytest.mark.filterwarnings("ignore")
def test_quantised_products_do_not_make_an_alarm() -> None:
    model = made("llama", "sdpa")
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    report = check(quantised, packed("llama", use_cache=False))
    assert not report.broken and statuses(report, "documents") == {Status.HELD}


def test_the_report_is_plain_json() -> None:
    report = check(made("llama", "sdpa"), packed("llama"))
    plain = report.as_json()
    assert plain["schema"] == "heedful.contract/1" and plain["held"] is False
    first = next(one for one in plain["judgements"] if one["status"] == "BROKEN")
    assert first["promise"] == "documents" and first["breach"]["query"] == SECOND and first["remedy"]["code"]
    assert math.isfinite(plain["seconds"])


def test_what_load_model_gives_is_checked_with_its_own_tokenizer_and_the_record_shows_itself() -> None:
    report = heedful.check(
        heedful.load_model(), "in the beginning god created the heaven and the earth", behaviour=False
    )
    assert repr(report).startswith("ContractReport(") and "promises held, 0 broken" in repr(report)
    page = report.to_html()
    assert page.startswith("<!doctype html>") and "Attention contract" in page and "rotary" in page
    assert json.loads(report.to_json())["schema"] == "heedful.contract/1"
    with pytest.raises(UsageError, match=r"model: expected a torch module, or what heedful\.load_model gives, got str"):
        heedful.check("./model")  # type: ignore[arg-type]
