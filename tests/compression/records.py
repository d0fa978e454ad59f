"""Records on compression that no model was run for."""

from __future__ import annotations

import math

from heedful.compression.record import (
    Curve,
    Damage,
    HeadDamage,
    KeyTails,
    LabelLosses,
    Point,
    Pruning,
    Quantization,
    RankCorrelation,
    Saving,
    Trial,
    UnitCost,
)
from heedful.inference.mean_interval import Effect


def effect(estimate: float, half: float = 0.001, n: int = 32) -> Effect:
    return Effect(estimate=estimate, low=estimate - half, high=estimate + half, n=n)


def damage(divergence: float, error: float, loss: float | None) -> Damage:
    cost = None if loss is None else effect(loss)
    return Damage(divergence=effect(divergence, divergence / 10), error=effect(error), loss=cost)


def trial(name: str, bits: int | None, group: str, clip: float | None, loss: float | None, verdict: str) -> Trial:
    heads = [
        HeadDamage(
            layer=layer, head=head, key_head=head // 2, divergence=effect(0.01 * (1 + layer + head)), error=effect(0.1)
        )
        for layer in range(2)
        for head in range(4)
    ]
    return Trial(
        name=name,
        bits=bits,
        group=group,
        clip=clip,
        key_error=effect(0.1),
        quantized=damage(0.035, 0.155, loss),
        noise=damage(0.025, 0.145, None if loss is None else loss / 2),
        structure=None if loss is None else effect(loss / 2),
        divergence_structure=effect(0.01),
        verdict=verdict,
        heads=heads,
    )


def quantization(*, loss: bool = True) -> Quantization:
    costs = (0.0001, 0.0233, 1.5) if loss else (None, None, None)
    verdicts = ("within", "costs", "not settled") if loss else ("no loss",) * 3
    return Quantization(
        model={
            "name": "a <b>model</b>\x1b[31m",
            "class": "TinyForCausalLM",
            "parameters": 1000,
            "layers": 2,
            "heads": 8,
            "dtype": "float32",
            "device": "cpu",
            "notes": ["read from a file"],
        },
        data={
            "origin": "planted text",
            "documents": 32,
            "sequences": 40,
            "sequence_length": 128,
            "tokens": 5120,
            "objective": "next token" if loss else "none",
            "fingerprint": "f",
            "document_fingerprints": ["a"],
            "notes": [],
        },
        settings={"margin": 0.01, "seed": 0},
        versions={"heedful": "0"},
        stage="after",
        loss=effect(3.1) if loss else None,
        recomputed=effect(1e-8, 1e-9) if loss else None,
        trials=[
            trial("8-bit token", 8, "token", None, costs[0], verdicts[0]),
            trial("4-bit tensor", 4, "tensor", None, costs[1], verdicts[1]),
            trial("4-bit tensor clip 99.9", 4, "tensor", 99.9, costs[2], verdicts[2]),
        ],
        tails=[
            KeyTails(layer=layer, module=f"layers.{layer}", key_head=head, kurtosis=effect(4.2), crest=effect(5.5))
            for layer in range(2)
            for head in range(2)
        ],
        correlations=[
            RankCorrelation(
                x="kurtosis", y="divergence", under="4-bit tensor", items=4, estimate=0.8, low=0.7, high=0.9, p=0.01
            ),
            RankCorrelation(
                x="crest", y="error", under="4-bit tensor", items=4, estimate=0.1, low=math.nan, high=math.nan, p=1.0
            ),
        ],
        not_measured=[] if loss else [{"what": "loss", "why": "no head"}],
    )


def points(part: str, rise: float, orders: int, loss: bool) -> list[Point]:
    local = part == "dimensions"
    return [
        Point(
            fraction=fraction,
            removed=round(8 * fraction),
            loss=effect(rise * fraction, 0.01) if loss else None,
            shuffled=effect(-rise * fraction, 0.01) if loss else None,
            divergence=effect(0.02 * fraction) if local else None,
            error=effect(0.2 * fraction) if local else None,
            orders=[rise * fraction + 0.1 * k for k in range(orders)] if loss else [],
        )
        for fraction in (0.25, 0.5)
    ]


def head(index: int, loss: bool) -> UnitCost:
    return UnitCost(
        part="heads",
        module="layers.0",
        layer=0,
        head=index,
        price=effect(0.01 * index) if loss else None,
        effective_rank=effect(4.2),
        centred_cosine=effect(-0.01),
    )


def pruning(*, loss: bool = True) -> Pruning:
    rankings = {"layers": ("effective rank", "price", "random"), "dimensions": ("contribution", "random")}
    curves = [
        Curve(
            part=part, ranking=ranking, units=8, points=points(part, 0.4 + place, 3 if ranking == "random" else 1, loss)
        )
        for part, names in rankings.items()
        if loss or part == "dimensions"
        for place, ranking in enumerate(names)
    ]
    savings = [
        Saving(part="layers", ranking="effective rank", fraction=0.25, saved=effect(0.5, 0.1), p=0.05, answer="yes"),
        Saving(part="layers", ranking="price", fraction=0.25, saved=effect(0.25, 0.3), p=0.3, answer="not settled"),
        Saving(part="layers", ranking="price", fraction=0.5, saved=effect(7.0, 0.1), p=0.05, answer="yes"),
    ]
    base = quantization(loss=loss)
    return Pruning(
        model=base.model,
        data={**base.data, "documents_that_rank": 16, "documents_that_price": 16},
        settings={"orders": 3, "seed": 0},
        versions=base.versions,
        labels=LabelLosses(right=effect(3.1), fed=effect(9.0), shuffled=effect(8.0), answer="yes") if loss else None,
        units=[head(index, loss) for index in range(20)],
        curves=curves,
        savings=savings if loss else [],
        correlations=[
            RankCorrelation(
                x="effective_rank", y="price", under="layers", items=8, estimate=0.3, low=0.1, high=0.5, p=0.47
            )
        ]
        if loss
        else [],
        not_measured=[{"what": "price of each of the heads alone", "why": "270 of them"}],
    )
