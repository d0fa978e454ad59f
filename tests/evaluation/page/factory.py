"""A realistic report without a model: 4 layers of 6 heads, every verdict, long reasons, hostile names."""

from __future__ import annotations

import math
from typing import Any

from heedful.evaluation.result import Finding, HeadRow, Report, Section
from heedful.inference.verdict import Verdict

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;pwn\x07",
    "c1": "\x9b31m",
    "osc52": "\x1b]52;c;ZXZpbA==\x07",
    "markup": "[red]x[/red][link=https://example.org]y[/link]",
    "script": "</script><script>alert(1)</script>",
    "image": '"><img onerror=alert(1)>',
    "template": "{{7*7}}",
    "bidi": "abc\u202edef",
    "nul": "a\x00b",
    "separator": "a\u2028b\u2029c",
    "zero_width": "a\u200bb\ufeffc",
    "surrogate": "a\ud800b",
    "wide": "\u6ce8\u610f\u529b",
    "formula": "=HYPERLINK(0)",
}
LAYERS, HEADS = 4, 6
INIT = "19 models of the same config, freshly initialised"
SHUFFLED = "the same sequences with tokens shuffled within each"
PAIRED = "the model as it is, same tokens"
ARMS = {
    "zero": ("attention_output_matters", 5.44, (0.094, 0.402, 5.117, 0.655)),
    "uniform": ("learned_weights_matter", 5.21, (0.052, 0.214, 4.66, 0.318)),
    "mean": ("more_than_position_matters", 3.87, (0.003, 0.188, 3.2, 0.244)),
    "shuffled": ("own_text_matters", 8.91, (-0.004, 0.351, 8.63, 0.412)),
    "local": ("more_than_local_average_matters", 2.02, (0.031, 0.187, 1.92, 0.204)),
}
SIGNATURES = ("positional", "content", "content", "content")


def finding(
    claim: str = "rows_sum_to_one", verdict: str = "PASS", reason: str = "As it should be.", **more: Any
) -> Finding:
    return Finding(claim=claim, verdict=Verdict(verdict), reason=reason, **more)


def head(layer: int = 0, number: int = 0, **more: Any) -> HeadRow:
    known = {
        "module": f"transformer.h.{layer}.attn",
        "label": f"L{layer}H{number}",
        "verdict": "WEAK",
        "pattern": "",
        "statistics": {"concentration": 0.2, "effective_keys": 30.0, "max_weight": 0.1, "row_std_seed": 0.0243},
    }
    return HeadRow(layer=layer, head=number, **{**known, **more})


def small(**more: Any) -> Report:
    known: dict[str, Any] = {
        "verdict": Verdict.PASS,
        "model": {"name": "tiny"},
        "data": {"documents": 2},
        "settings": {"seed": 0},
        "versions": {"heedful": "0.1.0"},
        "sections": [Section(number=1, title="Correctness", findings=[finding()])],
        "heads": [head()],
        "not_measured": [],
        "summary": {"conclusion": "Fine.", "next": ["Rest."]},
        "run": {"seconds": 1.5},
    }
    return Report(**{**known, **more})


def everywhere(token: str) -> Report:
    """A report with the token in every place where text can stand."""
    texts = {"reason": token, "null": token, "unit": token, "source": token}
    whole = finding(claim=token or "x", estimate=0.5, detail={"named": [token] * 9, "signature": token}, **texts)
    of_layer = finding(claim=f"{token}l", estimate=0.5, layer=0, detail={"arm": token, "signature": token}, **texts)
    of_head = finding(claim=f"{token}h", layer=0, head=0, **texts)
    facts: dict[str, Any] = {"name": token, "class": token, token: token, "notes": [token], "origin": token}
    return small(
        model=facts,
        data=facts,
        settings=facts,
        versions={token: token},
        sections=[Section(number=5, title=token, findings=[whole, of_layer, of_head])],
        heads=[head(label=token, module=token, pattern=token, verdict=token, reason=token)],
        not_measured=[{"what": token, "why": token}],
        summary={"conclusion": token, "next": [token], "multiplicity": {token: token}, "counts": {token: 1}},
        run={token: token},
    )


def realistic() -> Report:
    titles = (
        "Correctness",
        "Position",
        "Tokens",
        "Statistics",
        "Heads",
        "Queries",
        "Diversity",
        "Gradients",
        "Ablation",
    )
    found = (
        _correctness(),
        _position(),
        _tokens(),
        _statistics(),
        _heads(),
        _queries(),
        _diversity(),
        _gradients(),
        _ablation(),
    )
    sections = [
        Section(number=i + 1, title=title, findings=f) for i, (title, f) in enumerate(zip(titles, found, strict=True))
    ]
    return Report(
        verdict=Verdict.FAIL,
        model={
            "name": "runs/gpt2-verses/checkpoint-8000",
            "class": "GPT2LMHeadModel",
            "architecture": "gpt2",
            "parameters": 3_412_992,
            "layers": LAYERS,
            "heads": LAYERS * HEADS,
            "dtype": "float32",
            "device": "cpu",
            "causal": True,
            "notes": ["the prefix _orig_mod. was taken off 52 parameter names"],
        },
        data={
            "origin": "verses-held-out.txt, notes \x1b[31m.txt",
            "documents": 48,
            "sequences": 64,
            "sequence_length": 128,
            "tokens": 8192,
            "fingerprint": "5f" * 32,
        },
        settings={"preset": "standard", "null_models": 19, "alpha": 0.05, "resamples": 1999, "seed": 0},
        versions={"heedful": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.7"},
        sections=sections,
        heads=[_head(layer, number) for layer in range(LAYERS) for number in range(HEADS)],
        not_measured=[
            {"what": "transformer.h.3.crossattention", "why": "the forward pass never reached it"},
            {
                "what": "special_token_mass",
                "why": "the tokenizer declares no special token that occurs in the text",
            },
        ],
        summary={
            "tests": 231,
            "multiplicity": "Holm within each section for named claims, "
            "Benjamini-Hochberg at q = 0.05 for counts of heads",
            "conclusion": "The attention of this model reads content and the loss depends on it, but one parameter "
            "receives no gradient, so a part of it is not being trained.",
            "next": [
                "Find why transformer.h.2.attn.c_attn.bias receives no gradient: is it detached, or frozen on purpose?",
                "Give --sequences 197 to decide whether equal tokens attract: with 64 only effects above 0.35 sd "
                "are seen.",
            ],
        },
        run={"started": "2026-01-01T00:00:00Z", "seconds": 74.25},
    )


def _correctness() -> list[Finding]:
    return [
        finding(
            "rows_sum_to_one",
            reason="Every row sums to one within the tolerance of float32.",
            estimate=2.38e-7,
            unit="mass",
            n=48,
            threshold=1e-5,
        ),
        finding(
            "future_is_unseen",
            reason="Changing a later token changed no earlier logit.",
            estimate=0.0,
            unit="logit",
            n=48,
            threshold=0.0,
        ),
        finding(
            "attention_is_finite",
            "ERROR",
            "1 of 24 heads gave NaN; nothing else was judged of it.",
            n=48,
            detail={"named": ["L3H5"]},
        ),
        finding("entropy_within_bounds", reason="Every entropy lies between 0 and the log of the visible keys.", n=48),
    ]


def _position() -> list[Finding]:
    heads = [
        finding("local_bias", "PASS" if i % 3 == 0 else "ABSENT", "by head", layer=i // 6, head=i % 6, p=0.01)
        for i in range(24)
    ]
    return [
        finding(
            "local_bias",
            reason="The last five keys get 1.62 times the weight of farther ones, more than in "
            "any freshly initialised model of this shape, and more than the margin asks for.",
            estimate=1.62,
            interval=(1.41, 1.88),
            unit="ratio",
            n=48,
            null=INIT,
            p=0.005,
            p_adjusted=0.02,
            threshold=1.25,
            detail={
                "named": [
                    "L0H1 2.91",
                    "L0H3 2.40",
                    "L1H0 1.97",
                    "L1H4 1.88",
                    "L2H2 1.71",
                    "L2H5 1.66",
                    "L3H0 1.5",
                    "L3H1 1.4",
                ]
            },
            meaning="Near keys outweigh far ones.",
        ),
        *heads,
        finding(
            "first_key_sink",
            "ABSENT",
            "No head keeps more than 0.3 of its mass on the first key.",
            estimate=0.061,
            interval=(0.054, 0.069),
            unit="mass",
            n=48,
            null=INIT,
            p=0.45,
            threshold=0.3,
        ),
        finding(
            "previous_token",
            reason="4 heads put more than 0.4 of their mass on the token before.",
            estimate=0.713,
            interval=(0.688, 0.736),
            unit="mass",
            n=48,
            null=INIT,
            p=1e-7,
            p_adjusted=4e-7,
            threshold=0.4,
        ),
    ]


def _tokens() -> list[Finding]:
    return [
        finding(
            "same_token_attraction",
            "INSUFFICIENT DATA",
            "The interval holds both zero and the margin; 197 documents would "
            "decide (smallest effect seen with 48: 0.41).",
            estimate=0.14,
            interval=(-0.05, 0.33),
            unit="nat",
            n=48,
            null=SHUFFLED,
            p=0.14,
            threshold=0.223,
        ),
        finding(
            "special_token_mass",
            "SKIP",
            "The tokenizer declares no special token that occurs in the text.",
        ),
        finding(
            "punctuation_mass",
            "INFO",
            f"Punctuation gets 1.32 times its uniform share; most often {HOSTILE['escape']} and {HOSTILE['markup']}.",
            estimate=1.32,
            interval=(1.2, 1.46),
            unit="ratio",
            n=48,
        ),
        finding(
            "induction",
            "WARN",
            "2 heads reach 0.2 but none 0.4.",
            estimate=0.27,
            interval=(0.22, 0.31),
            unit="mass",
            n=64,
            null=INIT,
            p=0.05,
            p_adjusted=0.1,
            threshold=0.4,
            detail={"named": ["L1H2 0.27", "L2H4 0.22"]},
        ),
    ]


def _statistics() -> list[Finding]:
    return [
        finding(
            "heads_are_concentrated",
            reason="Rows lie 1.08 nats from uniform on average; freshly initialised models reach 0.04.",
            estimate=1.08,
            interval=(1.02, 1.15),
            unit="nat",
            n=48,
            null=INIT,
            p=0.005,
            p_adjusted=0.02,
            threshold=0.5,
        ),
        finding(
            "concentration_keeps_with_length",
            reason="Halving the context changes it by less than a tenth.",
            estimate=-0.04,
            interval=(-0.07, -0.01),
            unit="nat",
            n=48,
            threshold=0.1,
        ),
    ]


def _heads() -> list[Finding]:
    return [finding("heads_by_verdict", "INFO", "24 heads were judged on rows that see at least 16 keys.", n=48)]


def _queries() -> list[Finding]:
    return [
        finding(
            "queries_attend_by_content",
            reason="Two queries at the same place read different keys in different texts.",
            estimate=0.312,
            interval=(0.297, 0.33),
            unit="nat",
            n=48,
            null=SHUFFLED,
            p=0.0005,
            threshold=0.02,
        ),
        finding(
            "distant_queries_differ",
            "UNDEFINED",
            "Only rows that share at least 16 visible keys are compared, and there were none.",
            estimate=math.nan,
            unit="nat",
        ),
    ]


def _diversity() -> list[Finding]:
    layers = [
        finding(
            "diversity_tracks_concentration",
            "INFO",
            "by layer",
            estimate=0.4 + 0.1 * i,
            interval=(0.3 + 0.1 * i, 0.5 + 0.1 * i),
            n=48,
            layer=i,
            unit="nat",
        )
        for i in range(LAYERS)
    ]
    return [
        finding(
            "diversity_tracks_concentration",
            "INSUFFICIENT DATA",
            "4 layers are too few for a rank correlation; 8 are needed.",
            estimate=0.8,
            unit="rank correlation",
            n=4,
        ),
        *layers,
    ]


def _gradients() -> list[Finding]:
    return [
        finding(
            "gradients_reach_attention",
            "FAIL",
            "1 of 16 attention parameters receives no gradient: transformer.h.2.attn.c_attn.bias.",
            estimate=0.9375,
            unit="share",
            n=8,
            threshold=1.0,
        ),
    ]


def _ablation() -> list[Finding]:
    found = []
    for arm, (claim, whole, layers) in ARMS.items():
        for layer, value in ((None, whole), *enumerate(layers)):
            found.append(
                finding(
                    claim,
                    "PASS" if value > 0.01 else "ABSENT",
                    f"{arm}: the loss rises by {value:.3g} nats a token.",
                    estimate=value,
                    interval=(value - 0.003 - abs(value) / 25, value + 0.003 + abs(value) / 25),
                    unit="nat/token",
                    n=48,
                    null=PAIRED,
                    p=0.0005,
                    p_adjusted=0.0025,
                    threshold=0.01,
                    layer=layer,
                    detail={"arm": arm},
                )
            )
    for layer, name in ((None, "content"), *enumerate(SIGNATURES)):
        detail = {"signature": name}
        found.append(
            finding("ablation_signature", "INFO", f"{name}: by what the loss forgives.", layer=layer, detail=detail)
        )
    return found


def _head(layer: int, number: int) -> HeadRow:
    index = layer * HEADS + number
    concentration = (0.02, 0.31, 1.4, 2.9, 0.6, 0.09)[number] * (1 + layer / 7)
    verdict = (
        "SHARP"
        if concentration > 2.5
        else "SELECTIVE"
        if concentration > 0.5
        else "WEAK"
        if concentration > 0.05
        else "DIFFUSE"
    )
    pattern = {3: "previous token", 2: "induction"}.get(number, "") if layer < 2 else ""
    label = {0: "\u21130", 7: HOSTILE["bidi"], 9: HOSTILE["wide"]}.get(index, f"L{layer}H{number}")
    values = {
        "concentration": concentration,
        "effective_keys": 64.5 * math.exp(-concentration),
        "max_weight": 1 - math.exp(-concentration) * 0.97,
        "self_mass": 0.05,
        "previous_mass": 0.71 if pattern == "previous token" else 0.04,
        "local_mass": 0.2,
        "sink_mass": 0.03,
        "visible_share": math.exp(-concentration),
        "row_std_seed": 0.011 + 0.02 * concentration,
    }
    if index == 23:
        return HeadRow(
            layer=layer,
            module=f"transformer.h.{layer}.attn",
            head=number,
            label=label,
            verdict="UNDEFINED",
            pattern="",
            statistics=dict.fromkeys(values, math.nan),
        )
    return HeadRow(
        layer=layer,
        module=f"transformer.h.{layer}.attn",
        head=number,
        label=label,
        verdict=verdict,
        pattern=pattern,
        statistics=values,
        reason=f"{concentration:.2f} nats from uniform.",
    )
