"""Run the whole validation: every check of the preset, in nine sections, with one overall verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from heedful.distributed.ranks import ALONE, Ranks, checksum
from heedful.distributed.sharded import refuse_unshared
from heedful.evaluation.conclusion import BLOCKS_TOLD, TextLoss, reading_of, summarise
from heedful.evaluation.given_weights import findings_on_given_weights
from heedful.evaluation.head_cards import head_cards
from heedful.evaluation.heads import head_table
from heedful.evaluation.registry import CHECKS, SECTION_TITLES, CheckFacts
from heedful.evaluation.result import Finding, HeadRow, Report, Section
from heedful.evaluation.running import device_of, evaluating, pads_inside, takes_positions, unwrapped
from heedful.evaluation.settings import Settings, versions
from heedful.evaluation.study import Study, no_progress
from heedful.evaluation.timekeeping import Clock, Timekeeper
from heedful.evaluation.unit_values import document_fingerprints, without_copies
from heedful.inference.verdict import Verdict
from heedful.interception.held_heads import is_sharded

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

ORDER = (
    "rows_sum_to_one",
    "future_is_unseen",
    "contract_is_kept",
    "attention_is_finite",
    "entropy_within_bounds",
    "capture_matches_output",
    "divergence_is_proper",
    "global_rotation_is_unseen",
    "local_bias",
    "previous_token",
    "first_key_sink",
    "mass_by_distance",
    "same_token_attraction",
    "special_token_mass",
    "punctuation_mass",
    "induction",
    "heads_are_concentrated",
    "concentration_keeps_with_length",
    "heads_by_verdict",
    "queries_attend_by_content",
    "adjacent_queries_differ",
    "distant_queries_differ",
    "diversity_tracks_concentration",
    "beliefs_are_diverse",
    "gradients_reach_attention",
    "tables_learn_through_attention",
    "attention_output_matters",
    "learned_weights_matter",
    "more_than_position_matters",
    "own_text_matters",
    "more_than_local_average_matters",
    "ablation_signature",
)
"""Order of the checks in a report; a check that is not named here comes last in its section."""

EXACT_SECTIONS = (1, 8)
"""Sections whose claims hold for every number that was computed, and are no means over documents."""

OF_NO_DOCUMENT = ("induction",)
"""Claims whose independent units are made and not read."""


def validate(
    model: nn.Module,
    sequences: TokenBatch,
    *,
    settings: Settings | None = None,
    name: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[int, int, str], None] = no_progress,
    ranks: Ranks | None = None,
    build: Callable[[int], nn.Module] | None = None,
    cards: bool = False,
    clock: Clock = time.perf_counter,
    override: Tensor | None = None,
) -> Report:
    """Judge the attention of a model on some text.

    The model's flags, gradients, hooks and random state are as before afterwards.

    ``torch.compile`` and data-parallel wrappers are taken off, and the model inside is judged as it is written.

    Args:
        model: A transformers model, or any module that maps token ids to logits and calls
            ``scaled_dot_product_attention``.
        sequences: Token ids with their documents (``heedful.loading.sequences.make_sequences``).
        settings: Options and margins.
        name: What the user calls the model.
        notes: Remarks of the loader that the report should carry.
        progress: Called with (done, total, what).
        ranks: Processes that divide the text, each of which makes the whole report; None for this one alone.
        build: What built the model, called with a seed for each untrained model that it is compared with; None builds
            them from its config, or resets a copy.
        cards: Whether to gather what a page shows of each head beside its row, too.
        clock: Seconds since any moment, for the budget.
        override: Weights for one more ablation in section 9 (``given_weights``).

    Returns:
        The report.

    Raises:
        CaptureError: No attention call of the model could be met.
        InputRejected: The model's parameters are sharded.
        UsageError: A required claim does not exist, or the weights are of another shape than the model's.
    """
    settings = settings or Settings()
    started, begun = time.time(), clock()
    study = _study(model, sequences, settings, progress, ranks)
    study.build = build
    keeper = Timekeeper(study, clock, begun)
    with evaluating(study.model):
        if not study.nonfinite_parameters:
            keeper.begin()
            keeper.review()
        findings = {facts.name: _judged(study, facts, keeper.why_without(facts.name)) for facts in _ordered()}
        given = [] if study.nonfinite_parameters else findings_on_given_weights(study, override)
        heads = [] if study.nonfinite_parameters else head_table(study)
        sections = [
            Section(
                number=number,
                title=title,
                findings=[f for facts in _ordered() if facts.section == number for f in findings[facts.name]]
                + (given if number == max(SECTION_TITLES) else []),
            )
            for number, title in SECTION_TITLES.items()
        ]
        overall = [f for section in sections for f in section.findings if f.layer is None and f.head is None]
        gathered = head_cards(study) if cards and heads else None
        not_measured = [*keeper.not_measured, *_not_measured(study)]
        model_facts = _model_facts(study, name, notes)
        reading = reading_of(study)
    return Report(
        verdict=_verdict(overall),
        model=model_facts,
        data=_data_facts(study, reading),
        settings=_settings_facts(study.settings),
        versions=versions(),
        sections=sections,
        heads=heads,
        not_measured=not_measured,
        summary=summarise(sections, study.settings, heads, blocks=study.of_blocks),
        run={"seconds": time.time() - started, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))},
        cards=gathered,
    )


def head_rows(
    model: nn.Module,
    sequences: TokenBatch,
    *,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] = no_progress,
    ranks: Ranks | None = None,
) -> list[HeadRow]:
    """Measure only the head table, without null models and without ablation.

    Args:
        model: As for ``validate``.
        sequences: As for ``validate``.
        settings: Options and margins.
        progress: Called with (done, total, what).
        ranks: As for ``validate``.

    Returns:
        One row a head.

    Raises:
        CaptureError: No attention call of the model could be met.
        InputRejected: The model's parameters are sharded.
    """
    study = _study(model, sequences, settings or Settings(), progress, ranks)
    study.reading = False
    with evaluating(study.model):
        return head_table(study)


def _study(
    model: nn.Module,
    sequences: TokenBatch,
    settings: Settings,
    progress: Callable[[int, int, str], None],
    ranks: Ranks | None,
) -> Study:
    inside, unwrap_notes = unwrapped(model)
    kept, copies = without_copies(sequences)
    study = Study(inside, kept, settings, progress, ranks or ALONE, unwrap_notes=unwrap_notes, copies=copies)
    refuse_unshared(inside, study.ranks)
    if study.ranks.count > 1:
        study.ranks.ensure_same("weights", checksum(p for p in inside.parameters() if not is_sharded(p)))
        study.ranks.ensure_same("token sequences", checksum([sequences.input_ids, sequences.document]))
    return study


def _ordered() -> list[CheckFacts]:
    rank = {name: place for place, name in enumerate(ORDER)}
    return sorted(CHECKS.values(), key=lambda facts: (facts.section, rank.get(facts.name, len(rank)), facts.name))


def _judged(study: Study, facts: CheckFacts, without: str = "") -> list[Finding]:
    if without:
        found = [_skipped(facts, without)]
    elif not study.settings.runs(facts.preset):
        reason = f"part of preset {facts.preset}, and {study.settings.preset} was asked for"
        found = [_skipped(facts, reason)]
    elif study.nonfinite_parameters and facts.name != "attention_is_finite":
        reason = "non-finite parameters: nothing that follows from them is worth judging"
        found = [_skipped(facts, reason)]
    else:
        found = [replace(one, definition=facts.definition) for one in _own_words(study, facts)]
        if study.of_blocks and facts.name not in OF_NO_DOCUMENT and facts.section not in EXACT_SECTIONS:
            found = [_capped(one) for one in found]
    if facts.name in study.settings.require and found[0].verdict is not Verdict.PASS:
        reason = f"required, and not shown ({found[0].verdict}): {found[0].reason}"
        detail = {**found[0].detail, "without_require": str(found[0].verdict)}
        found[0] = replace(found[0], verdict=Verdict.FAIL, reason=reason, detail=detail)
    return [replace(one, meaning=facts.meaning) if one.layer is None and one.head is None else one for one in found]


def _capped(finding: Finding) -> Finding:
    """What blocks of fewer texts seem to settle is not settled: they vary together."""
    if finding.verdict not in (Verdict.PASS, Verdict.ABSENT):
        return finding
    message = f"{finding.reason}; but {BLOCKS_TOLD}"
    detail = {**finding.detail, "without_blocks": str(finding.verdict)}
    return replace(finding, verdict=Verdict.WARN, reason=message, detail=detail)


def _skipped(facts: CheckFacts, reason: str) -> Finding:
    return Finding(
        claim=facts.name, verdict=Verdict.SKIP, reason=reason, source=facts.source, definition=facts.definition
    )


def _own_words(study: Study, facts: CheckFacts) -> list[Finding]:
    """What a check found. One of another package that fails is a finding that says so, and the report goes on."""
    if facts.judge.__module__.startswith("heedful."):
        return list(facts.judge(study))
    try:
        found = list(facts.judge(study))
        strange = [one for one in found if not isinstance(one, Finding) or one.claim != facts.name]
        if not strange and found:
            return found
        reason = f"check {facts.name} gave {strange[0]!r:.80}" if strange else f"check {facts.name} gave no finding"
    except Exception as error:  # whatever the code of another package raises
        reason = f"check {facts.name} failed: {type(error).__name__}: {error}"
    return [Finding(claim=facts.name, verdict=Verdict.ERROR, reason=reason, source=facts.source)]


def _verdict(overall: Sequence[Finding]) -> Verdict:
    verdicts = {finding.verdict for finding in overall}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.WARN if verdicts & {Verdict.WARN, Verdict.ERROR, Verdict.INSUFFICIENT} else Verdict.PASS


def _model_facts(study: Study, name: str, notes: Sequence[str]) -> dict[str, Any]:
    model = study.model
    config = getattr(model, "config", None)
    first = next(model.parameters(), None)
    broken = bool(study.nonfinite_parameters)
    return {
        "name": name or type(model).__name__,
        "class": type(model).__name__,
        "architecture": getattr(config, "model_type", "") or "plain module",
        "attention": getattr(config, "_attn_implementation", "") or "scaled_dot_product_attention",
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": 0 if broken else len(study.observed.layers),
        "heads": 0 if broken else sum(layer.heads for layer in study.observed.layers),
        "dtype": str(first.dtype).removeprefix("torch.") if first is not None else "",
        "device": str(device_of(model)),
        "causal": None if broken else study.meant_causal,
        "notes": [*notes, *study.unwrap_notes, *_position_note(study), *(() if broken else _watching_notes(study))],
    }


def _watching_notes(study: Study) -> list[str]:
    return [f"{what}: {why}" for what, why in study.observed.notes.items()]


def _position_note(study: Study) -> list[str]:
    """What is to be said of padding before real tokens."""
    if not pads_inside(study.sequences.attention_mask):
        return []
    if takes_positions(study.model):
        return ["padding before tokens: positions are counted over real tokens"]
    return ["padding before tokens, and the model takes no position_ids: learned positions are places in the tensor"]


def _data_facts(study: Study, reading: TextLoss | None) -> dict[str, Any]:
    sequences = study.sequences
    return {
        "origin": sequences.origin,
        "documents": study.n_documents,
        "copies_dropped": sequences.copies + study.copies,
        "blocks": study.of_blocks,
        "sequences": int(sequences.input_ids.shape[0]),
        "sequence_length": int(sequences.input_ids.shape[1]),
        "tokens": int(sequences.attention_mask.sum()),
        "objective": "" if study.nonfinite_parameters else study.objective.name,
        "fingerprint": sequences.fingerprint,
        "document_fingerprints": document_fingerprints(sequences),
        **_reading_facts(reading),
        "notes": [*sequences.notes, *study.copy_notes, *(() if reading is None else reading.notes)],
    }


def _reading_facts(reading: TextLoss | None) -> dict[str, float | None]:
    if reading is None:
        return {}
    perplexity = reading.perplexity if math.isfinite(reading.perplexity) else None
    return {"loss": reading.loss, "perplexity": perplexity, "frequency_loss": reading.frequencies}


def _settings_facts(settings: Settings) -> dict[str, Any]:
    facts = {"looks" if name == "interim_analyses" else name: value for name, value in asdict(settings).items()}
    return {**facts, "null_models": settings.nulls, "require": list(settings.require)}  # "looks": of stored reports


def _not_measured(study: Study) -> list[dict[str, str]]:
    if study.nonfinite_parameters:
        return [{"what": "everything but parameters", "why": "parameters are not finite"}]
    found = [{"what": path, "why": why} for path, why in study.observed.not_captured.items()]
    empty = int(sum(layer.values["empty_rows"].sum() for layer in study.observed.layers))
    if empty:
        found.append({"what": f"{empty} (head, query) rows", "why": "padding or masks leave them no visible key"})
    if not study.nulls:
        found.append({"what": "comparison with heads that have learned nothing", "why": study.null_reason})
    if study.objective.name == "none":
        found.append({"what": "loss, gradients and ablation", "why": study.objective.reason})
    elif not study.settings.runs("standard"):
        found.append({"what": "ablation of each layer", "why": "part of preset standard"})
    else:
        found += _not_ranked(study)
    return found


def _not_ranked(study: Study) -> list[dict[str, str]]:
    """Layers and heads that were ranked and not measured."""
    layers = study.observed.replaceable
    heads, left = sum(layer.heads for layer in layers), len(layers) - len(study.ranked_layers)
    found, why = [], "equal weights were expected to cost more elsewhere"
    if left > 0:
        found.append({"what": f"arms other than equal weights in {left} of {len(layers)} layers", "why": why})
    if not study.settings.runs("full"):
        found.append({"what": "ablation of each head", "why": "part of preset full"})
    elif len(study.ranked_heads) < heads:
        found.append({"what": f"ablation of {heads - len(study.ranked_heads)} of {heads} heads", "why": why})
    return found
