from tests.evaluation.page import factory

from heedful.evaluation.page.layer_table import LAYERS, layer_table
from heedful.reporting.paragraph import Sheet, cells, plain


def by_layer(name: str, layers: int = 2, **more: object) -> list[object]:
    return [
        factory.finding(
            "learned_weights_matter", estimate=0.5 + layer, unit="nat/token", layer=layer, detail={"arm": name, **more}
        )
        for layer in range(layers)
    ]


def test_no_finding_is_no_table() -> None:
    assert layer_table([], Sheet(70)) == []


def test_ablations_stand_side_by_side() -> None:
    shown = plain(layer_table(by_layer("uniform") + by_layer("zero"), Sheet(70)))
    assert shown == (
        "\n  by layer, in nat/token   \u2713 PASS\n"
        "  layer  uniform   zero\n"
        "      0  \u2713 0.500   \u2713 0.500\n"
        "      1  \u2713 1.500   \u2713 1.500\n"
    )


def test_one_claim_shows_its_verdict_and_interval() -> None:
    finding = factory.finding("rows_differ", "ABSENT", estimate=0.1, interval=(0.0, 0.2), layer=3)
    assert "      3  \u25cb ABSENT 0.100  95% [0, 0.200]" in plain(layer_table([finding], Sheet(70)))


def test_columns_that_do_not_fit_follow_in_a_further_table() -> None:
    findings = [one for name in ("a", "b", "c", "d", "e", "f", "g", "h") for one in by_layer(name)]
    lines = plain(layer_table(findings, Sheet(60))).splitlines()
    assert sum(line.startswith("  layer") for line in lines) == 2
    assert all(cells(line) <= 60 for line in lines)


def test_a_long_claim_is_folded_in_its_heading_and_missing_cells_are_empty() -> None:
    claims = [
        factory.finding(claim, layer=layer) for claim, layer in (("diverse_states_differ", 0), ("rows_differ", 1))
    ]
    shown = plain(layer_table(claims, Sheet(70)))
    assert "layer  differ    differ" in shown
    assert "      0  \u2713 PASS\n" in shown


def test_many_layers_are_cut() -> None:
    shown = plain(layer_table(by_layer("uniform", LAYERS + 6), Sheet(70)))
    assert "\u2026 and 6 more layers: --json PATH" in shown


def test_signatures_are_gathered_beneath() -> None:
    names = ("positional", "content", "content")
    signed = [
        factory.finding("ablation_signature", "INFO", layer=layer, detail={"signature": name})
        for layer, name in enumerate(names)
    ]
    assert plain(layer_table(signed, Sheet(70))) == "  signature: positional (layer 0); content (layers 1, 2)\n"
    shown = plain(layer_table(by_layer("uniform") + signed, Sheet(70)))
    assert "ablation" not in shown
    assert shown.endswith("content (layers 1, 2)\n")
