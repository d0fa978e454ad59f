"""Page on a derivation: how much of the counts each head's factors retain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import share, small

MANY = 11.0
"""Times a factor's squares from which on an error is told as such, and not by the share that it leaves."""


BYTES, MOST_BYTES = 4, 1 << 30
"""Of one number of a table of embeddings, and of the largest table that is proposed: a GiB."""


def derivation_page(record: Mapping[str, Any]) -> Page:
    """Build the page of a derivation.

    Args:
        record: What ``heedful ngrams derive`` stores as ``derivation.json``.
    """
    recipe = record["recipe"]
    message = ", ".join(f"{name} {value}" for name, value in recipe.items())
    tied = record["embedding"]
    length = f"Sequences of at most {record['length']} tokens. " if "length" in record else ""
    subject = f"{record['counts']['tokens']:,} tokens counted. Recipe: {message}. {length}" + (
        f"Matrices are tied to embeddings {tied[:12]}..."
        if tied
        else "Embeddings were drawn again, so nothing is tied to them."
    )
    return Page(
        title="Derived attention",
        subject=subject,
        parts=[
            _part(record, "queries_and_keys", "Queries and keys"),
            _read(record),
            _part(record, "values", "Values and outputs"),
            _pairs(record),
        ],
    )


def _read(record: Mapping[str, Any]) -> PagePart:
    """What the projections give back of the factors, and where heads write."""
    rows = [
        (
            _place(head),
            _given_back(head["unread"]["queries"]),
            _given_back(head["unread"]["keys"]),
            str(head["output_directions"]),
        )
        for head in record["heads"]
    ]
    return PagePart(
        title="What projections read and write",
        header=("head, table", "queries", "keys", "outputs"),
        rows=rows,
        text=(
            "queries, keys: share of the factors' squares, weighed with frequency, that the projections of embeddings "
            "give back: 100 % where tokens are independent; under 0 where the encoder makes more of them than there "
            "is, told by how many times its squares the error is from 10 on. outputs: directions of the stream that "
            "the head can write to." + _too_narrow(record)
        ),
    )


def _too_narrow(record: Mapping[str, Any]) -> str:
    """A warning where embeddings are narrower than tokens are many, with what the least read side keeps."""
    tokens, width = record["counts"].get("vocabulary", 0), record["recipe"].get("width", 0)
    lost = [max(head["unread"].values()) for head in record["heads"] if head["unread"]]
    if not lost or tokens <= width:
        return ""
    least = f", and projections read as little as {share(1 - max(lost))} of a side" if max(lost) <= 1 else ""
    whole = 1 << tokens.bit_length()
    factors = "--set embedding=log_probability_factors"
    remedies = [f"--set width={whole} would hold them all"] if tokens * whole * BYTES <= MOST_BYTES else []
    if record["recipe"].get("embedding", "random_unit") == "random_unit":
        remedies.append(f"{factors} derives embeddings from the counts that do not need it")
    told = f": {'; '.join(remedies)}" if remedies else ""
    return f" Warning: {tokens:,} tokens do not fit in a width of {width:,}{least}{told}."


def _place(head: Mapping[str, Any]) -> str:
    return f"L{head['layer']}H{head['head']} n{head['n']} s{head['skip']}"


def _given_back(lost: float) -> str:
    """What is not lost; where a projection makes a factor many times larger, how many times its squares it is off."""
    if lost < MANY:
        return share(1 - lost)
    return f"{lost:.0f}x off" if lost < 999.5 else f"{lost:.0e}x off".replace("e+0", "e").replace("e+", "e")


def _open(record: Mapping[str, Any], side: str) -> str:
    """What the choice of components leaves open, heads of one answer together."""
    heads: dict[str, list[str]] = {}
    for head in record["heads"]:
        if head[side] is not None and head[side].get("note"):
            heads.setdefault(head[side]["note"], []).append(f"L{head['layer']}H{head['head']}")
    return "".join(f" Not separated in {', '.join(which)}: {note}." for note, which in heads.items())


def _pairs(record: Mapping[str, Any]) -> PagePart:
    messages = [
        f"{'Head' if len(one['heads']) == 1 else 'Heads'} {', '.join(map(str, one['heads']))} (skip {one['skip']}): "
        f"{'fits' if one['fits'] else 'does not fit'}. Each {one['sentence']}"
        for one in record["pairings"]
    ]
    return PagePart(title="Where heads attend and what they take", text=" ".join(messages))


def _part(record: Mapping[str, Any], side: str, title: str) -> PagePart:
    rows = [
        (
            _place(head),
            f"{facts['rank']} of {facts['asked']}",
            small(facts["singular_values"][0]),
            small(facts["singular_values"][-1]),
            f"{facts['condition']:.3g}",
            share(facts["energy"]),
            small(facts["residual"]),
        )
        for head in record["heads"]
        if (facts := head[side]) is not None
    ]
    if not rows:
        return PagePart(title=title, text="Copies of the tokens themselves: nothing was factorised.")
    return PagePart(
        title=title,
        header=("head, table", "rank", "largest", "smallest", "condition", "kept", "residual"),
        rows=rows,
        text=(
            "rank: components kept of those asked for, fewer where the matrix has no more; largest and smallest kept "
            "singular value, and their quotient; "
            "kept: share of the sum of squares, weighed as the recipe says; residual: largest |A v - s u| and "
            "|A^T u - s v| over the largest singular value." + _open(record, side)
        ),
    )
