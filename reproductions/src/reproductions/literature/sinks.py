"""Claims on attention sinks: where they are, what they rest on, and what a window without them costs."""

from __future__ import annotations

import numpy as np

from heedful.evaluation.result import Finding
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements
from reproductions.literature.tables import DECODER, claimed, mean, measured, share, values

SINK = 0.3
"""Mass on the first key from which a head is a sink (Gu et al. 2024, arXiv:2410.10781)."""

XIAO = "Xiao et al. 2023, arXiv:2309.17453, section 3"
GU = "Gu et al. 2024, arXiv:2410.10781"
FIRST = 2
"""Layers that the claim leaves out, the bottom ones."""
RECOVERED = 0.9
"""Share of what a window costs that the first keys must give back."""


@claimed(
    section=XIAO,
    sentence="Beyond the bottom two layers, the model heavily attends to the first token.",
    figure="Llama-2-7B: pictures of mean logits",
)
def deep_layers_attend_to_the_first_token(evidence: Measurements) -> list[Finding]:
    """Mean mass over heads and rows, layers 2 and up; the bottom two beside."""
    found = values(measured(evidence, "sinks"), "text_by_layer")
    message = f"Mass on the first key, mean over rows 64 to 127 and heads of layers {FIRST} and up: {DECODER}."
    null = "about .01: uniform attention over visible keys"
    return [
        above(share(found[:, FIRST:].mean(1)), SINK, message, unit="mass", null=null),
        beside(share(found[:, :FIRST].mean(1)), "The same of the bottom two layers.", unit="mass"),
    ]


@claimed(
    section=XIAO,
    sentence="It does so across all layers (beyond the bottom two).",
    figure="Llama-2-7B: pictures of mean logits",
)
def every_deep_layer_attends_to_the_first_token(evidence: Measurements) -> list[Finding]:
    """The layer that has least on random tokens, on text."""
    found = measured(evidence, "sinks")
    layer = FIRST + int(values(found, "random_by_layer")[:, FIRST:].mean(0).argmin())
    message = f"Mass on the first key of text in the layer that has least on random tokens, layer {layer}: {DECODER}."
    mass = share(values(found, "text_by_layer")[:, layer])
    return [above(mass, SINK, message, unit="mass", null="about .01: uniform attention over visible keys")]


@claimed(
    section=XIAO,
    sentence="The position of the first tokens matters, not their meaning: a line break there draws as much.",
    figure="Llama-2-13B: four line breaks restore perplexity 5.60 of 5.40",
)
def a_line_break_draws_as_much(evidence: Measurements) -> list[Finding]:
    """Mass on the first key after it was replaced, over that before; less than a tenth may be lost."""
    found = measured(evidence, "sinks")
    before, after = (values(found, f"{name}_by_layer")[:, FIRST:].mean(1) for name in ("text", "newline"))
    message = f"Mass on the first key when it is a line break, over that when it is the text's own: {DECODER}."
    return [
        above(mean(after / before), 0.9, message, unit="ratio", null="1: the same; 0: none is left"),
        beside(mean(after - before), "The same as a difference.", unit="mass"),
    ]


@claimed(
    section=XIAO,
    sentence="A window of the last keys breaks the model as soon as the first tokens leave it.",
    figure="Llama-2-13B: perplexity 5158 with a window of 1024, 5.43 where it is computed anew",
)
def a_window_without_first_keys_breaks_the_model(evidence: Measurements) -> list[Finding]:
    """Rise of the loss of tokens 128 to 255 under the last 64 keys; breaking: perplexity at least doubles."""
    found = measured(evidence, "windows")
    message = f"Rise of the loss of tokens 128 to 255 when each sees the last 64 keys alone: {DECODER}."
    return [
        above(mean(values(found, "last") - values(found, "all")), float(np.log(2)), message, unit="nat/token",
              null="0: all keys; the threshold is twice the perplexity"),
    ]  # fmt: skip


@claimed(
    section=XIAO,
    sentence="Four first keys kept beside the window restore it.",
    figure="Llama-2-13B: perplexity 5.40 with 4 and 1020, 5158 with 1024",
)
def four_first_keys_restore_the_window(evidence: Measurements) -> list[Finding]:
    """Share of the window's cost that is given back; keys keep the distances they had."""
    found = measured(evidence, "windows")
    whole, last, both = (values(found, name) for name in ("all", "last", "first_and_last"))
    message = (
        "Loss under the last 60 and the first 4 keys, less a tenth of the loss that the window of 64 adds, less the "
        f"loss with all keys: {DECODER}. Keys keep their distances; in the paper they move up."
    )
    kept = both - whole - (1 - RECOVERED) * (last - whole)
    return [
        below(mean(kept), 0.0, message, unit="nat/token", null=f"{RECOVERED:.0%} of the cost is given back"),
        beside(mean(both - whole), "What the window with first keys costs.", unit="nat/token"),
    ]


@claimed(
    section=GU,
    sentence="Sinks are there on random tokens too: they need no natural text.",
    figure="rates of sinks on random tokens near those on text, GPT-2 to Llama 3",
)
def random_tokens_have_sinks(evidence: Measurements) -> list[Finding]:
    """Share of heads beyond .3 on random tokens: half of that on text, or more."""
    found = measured(evidence, "sinks")
    text, random = (values(found, f"{name}_sinks") for name in ("text", "random"))
    message = f"Share of heads whose mass on the first key is beyond {SINK:g} on random tokens: {DECODER}."
    half = float(text.mean()) / 2
    return [
        above(share(random), half, message, unit="share", null=f"half of the share on text, {half:.2f}"),
        beside(share(text), "The same on text.", unit="share"),
    ]


@claimed(
    section=f"{GU}; Kobayashi et al. 2020, arXiv:2004.10102",
    sentence="The sink's value is small: much weight there adds little.",
    figure="values of the first token have far smaller norms",
)
def sink_values_are_small(evidence: Measurements) -> list[Finding]:
    """Log ratio of norms in heads beyond .3; half the norm or less."""
    found = measured(evidence, "sinks")
    message = (
        f"Log of the norm of the first key's value over the median of the others', mean over the {found['sink_heads']} "
        f"sink heads of {DECODER}."
    )
    null = "0: as long as the others"
    return [below(mean(values(found, "value_ratio")), float(np.log(0.5)), message, unit="log ratio", null=null)]
