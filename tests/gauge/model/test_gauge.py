"""The gauge transformer: against the pairwise oracle, as a model of transformers, and what its gradients reach."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.oracles.gauge_pairs import messages, pair_divergences, weights
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import heedful
from heedful.errors import UsageError
from heedful.gauge.model.attention.gauge_kl import canonical
from heedful.gauge.model.gauge import GaugeForCausalLM, GaugeModel
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.loading.loaded_model import load_model
from heedful.training.model.language_head import CACHE

COVARIANCES = ("isotropic", "diagonal", "full", "token")
"""Forms of covariance; ``token`` is diagonal in the token's own frame."""
FEED_FORWARDS = ("learned", "variational", "none")


def gauge(implementation: str = "sdpa", **other: Any) -> GaugeForCausalLM:
    """Beliefs that differ in everything that they can."""
    torch.manual_seed(5)
    if other.get("covariance") == "token":
        other |= {"covariance": "diagonal", "covariance_frame": "token"}
    sizes: dict[str, Any] = {"vocab_size": 61, "irreps": "2x0e + 2x1e + 1x2e", "num_hidden_layers": 2}
    model = AutoModelForCausalLM.from_config(GaugeConfig(**(sizes | other)), attn_implementation=implementation)
    assert model.lm_head.weight is model.model.beliefs.mean.weight or not model.config.tie_word_embeddings
    with torch.no_grad():
        for table in (model.model.beliefs.log_variance, model.model.beliefs.shear):
            if table is not None:
                table.weight.normal_(std=0.7)
        if model.model.beliefs.frame is not None:
            model.model.beliefs.frame.weight.mul_(4)
    return model.eval()


def tokens(batch: int = 2, length: int = 20) -> Tensor:
    return torch.randint(2, 61, (batch, length), generator=torch.Generator().manual_seed(6))


def attended(model: GaugeForCausalLM, ids: Tensor, **options: Any) -> tuple[Tensor, ...]:
    return model(ids, output_attentions=True, **options).attentions


@pytest.mark.parametrize("mask_self", [True, False])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_weights_and_messages_are_those_of_transported_pairs(covariance: str, mask_self: bool) -> None:
    model = gauge("eager", covariance=covariance, mask_self=mask_self, position_frames="learned").double()
    ids, inner = tokens(1, 12), model.model
    layer = inner.layers[0].self_attn
    beliefs, frames = inner.beliefs(ids, torch.arange(12)[None])
    groups, own = inner.layout.groups(beliefs), canonical(inner.layout, beliefs, frames)
    visible = torch.ones(12, 12, dtype=torch.bool).tril(-1 if mask_self else 0)
    visible[0, 0] = True
    expected, beta = [], []
    for group, common, frame, kappa in zip(groups, own, frames, layer.log_kappa.exp().split([2, 2, 1]), strict=True):
        turn = frame[0].expand(12, *frame.shape[2:])
        for copy in range(group.mean.shape[1]):
            mean, spread = group.mean[0, copy], turn @ common.covariance()[0, copy] @ turn.mT
            beta.append(weights(pair_divergences(mean, spread, turn), float(kappa[copy]), visible))
            expected.append(messages(beta[-1], mean, spread, turn))
    hidden = [list[Tensor](), list[Tensor]()]
    layer.register_forward_hook(lambda _, given, found: hidden[0].append(found[0]))
    found = attended(model, ids)[0][0]
    torch.testing.assert_close(found, torch.stack(beta), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(hidden[0][0][0], torch.cat(expected, -1), rtol=1e-8, atol=1e-8)
    assert torch.stack(beta)[:, 11].max() > 0.2


def test_a_frame_of_tokens_is_a_change_of_coordinates_of_their_means() -> None:
    """The weights with frames are those without, of turned means; frames of positions cannot be taken away so."""
    model, bare = (gauge("eager", num_hidden_layers=1, position_means=False) for _ in range(2))
    ids = tokens(1)
    beliefs, frames = model.model.beliefs(torch.arange(61)[None], torch.zeros(1, 61, dtype=torch.long))
    with torch.no_grad():
        turned = canonical(model.model.layout, beliefs, frames)
        bare.model.beliefs.mean.weight.copy_(bare.model.layout.tokens(turned).mean[0])
        bare.model.beliefs.frame.weight.zero_()
    one, other = attended(model, ids)[0], attended(bare, ids)[0]
    torch.testing.assert_close(one, other, rtol=0, atol=2e-6)
    bare.model.beliefs.mean.weight.data.copy_(model.model.beliefs.mean.weight)
    assert (attended(bare, ids)[0] - one)[:, 2:].abs().max() > 0.05
    assert (attended(bare, ids)[0] - one)[:, :2].abs().max() < 1e-6  # scalars have no frames
    placed = gauge("eager", num_hidden_layers=1, position_means=False, position_frames="sinusoidal")
    assert (attended(placed, ids)[0] - one).abs().max() > 0.05


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_gradients_reach_every_table_through_attention(covariance: str) -> None:
    """Of the weights alone; shears of scalars do not exist, and turns about an axis do nothing to scalars."""
    model = gauge("eager", covariance=covariance, position_frames="learned", num_hidden_layers=1)
    found = attended(model, tokens())[0][:, :, 8:].square().sum((-1, -2)).sum(0)
    for head, order in enumerate(model.model.layout.irreps.orders):
        model.zero_grad()
        found[head].backward(retain_graph=True)
        tables = {name: p.grad for name, p in model.model.beliefs.named_parameters()}
        reached = {name.split(".")[0] for name, p in tables.items() if p is not None and p.abs().max() > 1e-7}
        expected = {"mean", "position_mean", "log_variance"}
        expected |= {"frame", "position_frame"} if order else set()
        expected |= {"shear"} if order and covariance == "full" else set()
        assert reached == expected, head


@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_training_reaches_every_parameter(covariance: str, feed_forward: str) -> None:
    model = gauge(covariance=covariance, feed_forward=feed_forward, kappa_rule="learned", position_frames="learned",
                  alignment_weight=0.1, prior_weight=0.1, layer_norm=True, tie_word_embeddings=False)  # fmt: skip
    model.train()(tokens(), labels=tokens()).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
def test_no_token_is_told_of_its_future_its_labels_or_its_neighbours(feed_forward: str) -> None:
    model, one = gauge(feed_forward=feed_forward), tokens()
    other = one.clone()
    other[0, 12:] = (one[0, 12:] + 7) % 61
    other[1] = one[1].flip(0)
    first, second = model(one).logits, model(other).logits
    assert torch.equal(first[0, :12], second[0, :12]) and not torch.equal(first[0, 12:], second[0, 12:])
    assert torch.equal(model(one, labels=other).logits, first)
    assert torch.equal(model.train()(one, labels=other).logits, first)


def test_untrained_tables_have_the_deviations_of_their_config() -> None:
    config = GaugeConfig(vocab_size=3000, irreps="2x0e+2x1e", max_position_embeddings=900, mean_std=1.7, frame_norm=0.6,
                         position_std=0.4, position_frames="learned", initial_variance=2.0)  # fmt: skip
    beliefs = GaugeForCausalLM(config).model.beliefs
    for table, deviation in (("mean", 1.7), ("position_mean", 0.4), ("frame", 0.6 / 3**0.5),
                             ("position_frame", 0.6 / 3**0.5)):  # fmt: skip
        assert getattr(beliefs, table).weight.std().item() == pytest.approx(deviation, rel=0.05), table
    assert not beliefs.log_variance.weight.any()
    read, _ = beliefs(torch.arange(9)[None], torch.arange(9)[None])
    torch.testing.assert_close(read.log_variance.exp(), torch.full((1, 9, 8), 2.0))
    with torch.no_grad():
        beliefs.log_variance.weight.fill_(1e4)
        assert beliefs(torch.arange(9)[None], torch.arange(9)[None])[0].log_variance.exp().max() < 101


@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_saved_and_loaded_it_is_the_same(covariance: str, feed_forward: str, tmp_path: Path) -> None:
    model = gauge(covariance=covariance, feed_forward=feed_forward, irreps=[("l0", 2, 1), ("l1", 1, 3)])
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).irreps == "2x0e+1x1e"
    logits = model(tokens()).logits
    for again in (AutoModelForCausalLM.from_pretrained(tmp_path).eval(), load_model(tmp_path).model):
        assert type(again) is GaugeForCausalLM and torch.equal(again(tokens()).logits, logits)
        assert again.lm_head.weight is again.model.beliefs.mean.weight
    assert type(AutoModel.from_pretrained(tmp_path)) is GaugeModel


@pytest.mark.parametrize("mask_self", [True, False])
@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
@pytest.mark.parametrize("covariance", ["full", "token"])
def test_a_cache_changes_nothing(covariance: str, feed_forward: str, mask_self: bool) -> None:
    model = gauge(feed_forward=feed_forward, covariance=covariance, mask_self=mask_self, position_frames="sinusoidal")
    ids, logits = tokens(), model(tokens()).logits
    first = model(ids[:, :7], use_cache=True)
    second = model(ids[:, 7:15], **{CACHE: first[CACHE]}, use_cache=True)
    third = [model(ids[:, i : i + 1], **{CACHE: second[CACHE]}, use_cache=True).logits for i in range(15, 20)]
    torch.testing.assert_close(torch.cat([first.logits, second.logits, *third], 1), logits, rtol=0, atol=2e-5)
    drawn = [model.generate(ids, max_new_tokens=12, do_sample=False, use_cache=cached) for cached in (True, False)]
    assert torch.equal(*drawn) and drawn[0].shape == (2, 32)


def test_padding_before_a_text_changes_nothing() -> None:
    model, ids = gauge(), tokens()
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, :6] = 0
    places = (mask.cumsum(1) - 1).clamp_min(0)
    found = model(ids, attention_mask=mask, position_ids=places).logits
    torch.testing.assert_close(found[1, 6:], model(ids[1:, 6:]).logits[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(found[0], model(ids).logits[0], rtol=0, atol=2e-5)


def test_a_token_sees_itself_only_where_it_sees_no_other() -> None:
    own = [
        attended(gauge("eager", mask_self=masked), tokens())[0].diagonal(dim1=-2, dim2=-1) for masked in (True, False)
    ]
    assert torch.equal(own[0][..., 0], torch.ones(2, 5)) and not own[0][..., 1:].any()
    assert own[1][..., 1:].min() > 0.01
    packed = torch.cat([torch.arange(12), torch.arange(8)])[None]
    found = attended(gauge("eager"), tokens(1), position_ids=packed, use_cache=False)[0]
    assert torch.equal(found[0, :, 12, 12], torch.ones(5)) and not found[0, :, 13, 13].any()


@pytest.mark.parametrize("feed_forward", ["learned", "variational"])
def test_checkpointed_gradients_are_the_plain_ones(feed_forward: str) -> None:
    plain, again = (gauge(feed_forward=feed_forward, alignment_weight=0.1).train() for _ in range(2))
    (getattr(again, "activation_checkpointing_enable", None) or again.gradient_checkpointing_enable)()
    again.config.use_cache = False
    runs: list[int] = []
    again.model.layers[1].self_attn.register_forward_pre_hook(lambda *_: runs.append(1))
    for model in (plain, again):
        model(tokens(), labels=tokens()).loss.backward()
    assert len(runs) == 2
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        if one.requires_grad:
            assert one.grad is not None and one.grad.abs().max() > 0, name
            torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_capture_meets_every_layer_and_names_its_heads(implementation: str) -> None:
    model = gauge(implementation, feed_forward="variational")
    proofs = heedful.verify(model, tokens())
    paths = [f"model.layers.{i}.{part}" for i in range(2) for part in ("self_attn", "mlp")]
    assert [proof.path for proof in proofs] == paths
    assert all(proof.recomputed and proof.replaced and proof.heads == 5 for proof in proofs), proofs
    with heedful.capture(model) as session:
        model(tokens())
    heads = session.heads()
    assert heads["label"].to_list()[:5] == ["L0H0 l0", "L0H1 l0", "L0H2 l1", "L0H3 l1", "L0H4 l2"]
    assert heads["self_mass"].max() == 0.0


def test_penalties_are_of_a_token_not_of_a_pair() -> None:
    """Twice the text of the same kind leaves them; outside of training the loss is that of the next token alone."""
    plain, model = gauge(), gauge(alignment_weight=1.0)
    drawn = torch.randint(2, 61, (8, 60), generator=torch.Generator().manual_seed(2))
    extra = {}
    for name, ids in (("short", drawn[:, :30]), ("long", drawn), ("few", drawn[:2])):
        loss = plain(ids, labels=ids).loss
        assert torch.equal(model.eval()(ids, labels=ids).loss, loss)
        extra[name] = (model.train()(ids, labels=ids).loss - loss).item()
    assert extra["long"] == pytest.approx(extra["short"], rel=0.3) and extra["few"] == pytest.approx(
        extra["long"], rel=0.3
    )
    apart = model.model(drawn, aligned=True).alignment[:, :-1].mean()
    assert extra["long"] == pytest.approx(apart.item(), rel=1e-4)
    parts = [model(part, labels=part, num_items_in_batch=8 * 59).loss.item() for part in drawn.split(2)]
    assert sum(parts) == pytest.approx(model(drawn, labels=drawn).loss.item(), rel=1e-5)


def test_alignment_is_the_mean_divergence_under_the_weights() -> None:
    model = gauge("eager", num_hidden_layers=1, covariance="full").double()
    ids, inner = tokens(1, 12), model.model
    found = inner(ids, aligned=True, output_attentions=True)
    beliefs, frames = inner.beliefs(ids, torch.arange(12)[None])
    total = torch.zeros(12).double()
    beta = iter(found.attentions[0][0])
    for common in canonical(inner.layout, beliefs, frames):
        for copy in range(common.mean.shape[1]):
            dim = common.mean.shape[-1]
            apart = pair_divergences(
                common.mean[0, copy], common.covariance()[0, copy], torch.eye(dim).double().expand(12, dim, dim)
            )
            total += (next(beta) * apart).sum(-1)
    torch.testing.assert_close(found.alignment[0], total / 5, rtol=1e-9, atol=1e-9)
    assert found.prior.min() > 0.1


@pytest.mark.parametrize("rule", ["calibrated", "learned"])
def test_the_first_training_batch_sets_the_concentration(rule: str) -> None:
    model = gauge(kappa_rule=rule, target_concentration=0.7, num_hidden_layers=1, feed_forward="none").train()
    ids = torch.randint(2, 61, (8, 60), generator=torch.Generator().manual_seed(2))
    before = model.model.layers[0].self_attn.log_kappa.clone()
    model.eval()(ids)
    assert torch.equal(model.model.layers[0].self_attn.log_kappa, before)  # what only looks changes nothing
    model.train()(ids)
    after = model.model.layers[0].self_attn.log_kappa.clone()
    with heedful.capture(model.eval()) as session:
        model(ids)
    assert all(abs(value - 0.7) < 0.1 for value in session.heads()["concentration"])
    model.train()(ids.flip(0)[:, :30])
    assert torch.equal(model.model.layers[0].self_attn.log_kappa, after) and not torch.equal(before, after)
    assert model.model.layers[0].self_attn.log_kappa.requires_grad == (rule == "learned")


def test_under_autocast_divergences_are_of_float32() -> None:
    model, ids = gauge(), tokens()
    with torch.no_grad():
        exact = model.model(ids)[0]
        with torch.autocast("cpu", torch.bfloat16), heedful.capture(model) as session:
            near = model.model(ids)[0]
    assert session.heads()["verified"].all()
    assert 0 < (near - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"irreps": "2x0"}, "irreps '2x0': cannot be read"),
        ({"irreps": [("l1", 2, 4)]}, "those of SO.3. are odd"),
        ({"hidden_size": 25}, r"irreps 5x0e\+3x1e\+1x2e have 19 dimensions, hidden_size is 25; add scalars"),
        ({"num_attention_heads": 8}, "are 9 heads, not 8"),
        ({"kappa": 0.0}, "kappa 0.0: expected a number above 0"),
        ({"kappa_rule": "cold"}, "kappa rule 'cold': expected one of"),
        ({"covariance": "round"}, "covariance 'round': expected one of"),
        ({"feed_forward": "wide"}, "feed_forward 'wide': expected one of"),
        ({"token_frames": "sinusoidal"}, "token_frames 'sinusoidal': expected one of learned, none"),
        ({"position_frames": "rope"}, "position_frames 'rope': expected one of"),
        ({"frame_norm": 3.5}, r"frame_norm = 3.5: expected \|phi\| of at most pi"),
        ({"min_variance": 0.0}, "variances: expected 0 < min_variance < initial_variance < max_variance, got 0.0"),
        ({"initial_variance": -1.0}, "variances: expected 0 <"),
        ({"vocab_size": 0}, "vocab_size = 0: expected a whole number from 1 on"),
        ({"alignment_weight": -1.0}, "alignment_weight = -1.0: expected a number from 0 on"),
        ({"target_concentration": -0.5}, "target_concentration = -0.5: expected nats above 0"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        GaugeConfig(**wrong)
    assert "\n" not in str(caught.value)


def test_inputs_that_cannot_be_are_refused() -> None:
    model = gauge(max_position_embeddings=16)
    with pytest.raises(UsageError, match="position 19 is beyond the 16 that the model has"):
        model(tokens())
    with pytest.raises(UsageError, match="expected input_ids: a belief is"):
        model(inputs_embeds=torch.zeros(1, 4, 13))
    with pytest.raises(UsageError, match="expected 1 token or more, got 0"):
        model.resize_token_embeddings(0)
    free = gauge(max_position_embeddings=16, position_means=False)
    assert math.isfinite(free(tokens()).logits.sum().item())
    assert replace(free.model.layout, covariance="full").shears == 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_half_precision_runs_throughout(covariance: str, feed_forward: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Parameters of half precision, divergences in float32: the logits are off by the rounding of the tables."""
    others: dict[str, Any] = {
        "kappa_rule": "learned",
        "position_frames": "learned",
        "layer_norm": feed_forward == "learned",
    }
    weighed = {"alignment_weight": 0.1, "prior_weight": 0.1}
    model = gauge(covariance=covariance, feed_forward=feed_forward, **others, **weighed)
    exact = model(tokens()).logits
    model.save_pretrained(tmp_path)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype).eval()
    found = half(tokens()).logits
    assert found.dtype is dtype and {p.dtype for p in half.parameters()} == {dtype}
    assert (found.float() - exact).abs().max() < 0.06 * exact.abs().max()
    assert half.generate(tokens(), max_new_tokens=3, do_sample=False).shape == (2, 23)
    half.train()(tokens(), labels=tokens()).loss.backward()
    assert [name for name, p in half.named_parameters() if p.grad is not None and not p.grad.isfinite().all()] == []
    assert load_model(tmp_path, dtype=str(dtype).removeprefix("torch.")).model(tokens()).logits.dtype is dtype


@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
def test_beta_override_takes_the_place_of_the_learned_weights(feed_forward: str) -> None:
    model, ids = gauge(feed_forward=feed_forward), tokens(2, 12)
    plain = model(ids).logits
    attending = [f"model.layers.{layer}.self_attn" for layer in range(2)]
    given = torch.rand(2, 5, 12, 12, generator=torch.Generator().manual_seed(0)).tril().softmax(-1)
    found = model(ids, beta_override=given)
    with heedful.replace(model, given, layers=attending):
        torch.testing.assert_close(found.logits, model(ids).logits)
    assert (found.logits - plain).abs().max() > 0.01
    uniform = torch.ones(12, 12).tril() / torch.arange(1, 13)[:, None]
    free = gauge(feed_forward=feed_forward, mask_self=False)
    with heedful.replace(free, "uniform", layers=attending):
        torch.testing.assert_close(free(ids, beta_override=uniform).logits, free(ids).logits, rtol=0, atol=1e-5)
    assert torch.equal(model(ids).logits, plain)
    assert model(ids, beta_override=given, labels=ids).loss is not None
    with pytest.raises(UsageError, match="expected weights that broadcast"):
        model(ids, beta_override=torch.rand(3, 3))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_tokens_are_added_and_taken_away_in_every_table(covariance: str, tied: bool, tmp_path: Path) -> None:
    model, ids = gauge(covariance=covariance, tie_word_embeddings=tied), tokens()
    plain = model(ids).logits
    assert model.resize_token_embeddings(70) is model.get_input_embeddings()
    assert model.config.vocab_size == 70 and len(model.get_input_embeddings().weight) == 70
    more = model(ids).logits
    assert more.shape[-1] == 70
    torch.testing.assert_close(more[..., :61], plain)
    torch.testing.assert_close(model.model.beliefs.mean.weight[65], model.model.beliefs.mean.weight[:61].mean(0))
    assert (model.lm_head.weight is model.model.beliefs.mean.weight) == tied
    assert model(torch.full((1, 9), 69), labels=torch.full((1, 9), 69)).loss.isfinite()
    model.save_pretrained(tmp_path)
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path).eval()(ids).logits, more)
    model.resize_token_embeddings(61)
    torch.testing.assert_close(model(ids).logits, plain)
    assert model.model.resize_token_embeddings(pad_to_multiple_of=64, mean_resizing=False).num_embeddings == 64
