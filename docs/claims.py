"""The stored answers as a page: ``python docs/claims.py`` writes docs/claims.md.

The answers come from ``python -P -m reproductions.answering``; pictures of the run are kept in docs/claims.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

from reproductions.answer import Answer
from reproductions.judging import Answered
from reproductions.lines import numbers
from reproductions.notes import NOTES
from reproductions.stored import stored_answers

HERE = Path(__file__).parent
PICTURES = {
    "000": {
        "claims/scale_effects": "Focus of all layers, and agreement of the first with the counts, by scale.",
        "claims/entropy_and_ceiling": "Entropy of rows at .01, what their length allows, and what was taken for that.",
        "claims/singular_values": "Singular values of M (Vim user manual): what the note printed as the top.",
    },
    "001": {
        "experiments/figures/spin_by_rule": "Nats from uniform of l0, l1 and l2 heads by rule of temperature.",
    },
    "002": {
        "claims/key_norm_evolution": "Mean key norm by group of layers; dashed, the square root of the dimension.",
        "claims/outlier_magnitude": "Share of a key in its largest component, and the largest component of all keys.",
        "claims/latent_redundancy": "Cosine of two keys, raw and about the mean key of their sequence.",
        "claims/key_magnitude_profile": "Mean key norm by layer at the last step, and where it began.",
        "claims/entropy_and_spread": "Entropy of attention against key norm and against the spread of logits.",
    },
    "003": {
        "claims/expected_and_actual": "One sequence: expected weights, and those of the first head of three models.",
        "claims/skill_by_head": "Skill of every head at .01; 0 is uniform attention.",
    },
}
"""Note to the pictures of its run, drawn by ``heedful watch RUN --figures`` or a topic's own command."""

MEASURED = {note: HERE / "claims" / f"{note}.md" for note in ("000", "001", "002", "003", "004", "literature")}
"""Note to what was measured for it, in a few sentences."""


def page(answers: list[Answered]) -> str:
    """Markdown: what the answers mean, a table of them, and each claim with its findings."""
    counts = Counter(one.answer for one in answers)
    lines = [
        "# Published claims",
        "",
        "Written by `docs/claims.py` from the answers that `python -P -m reproductions.answering` keeps; "
        "`python -P -m reproductions` shows the same.",
        "",
        "A claim is **reproduced** where every part of it holds by its interval, **refuted** where the interval of one "
        "part lies on the wrong side, **not settled** where intervals hold both or a smaller run cannot refute, and "
        "**not tested** where nothing was measured. Intervals are 95 %, over documents, texts, seeds or layers, as the "
        "finding says. The threshold that decided stands behind each number. An **identity** is what algebra makes so, "
        "whatever the text: it has no interval.",
        "",
        ", ".join(f"{counts[answer]} {answer}" for answer in Answer if counts[answer]) + ".",
    ]
    for number, group in groupby(answers, key=lambda one: one.note):
        lines += note(number, list(group))
    return "\n".join(lines) + "\n"


def note(number: str, answers: list[Answered]) -> list[str]:
    """One note: what was measured, a table, pictures, the claims."""
    lines = ["", f"## {NOTES[number].heading}", "", f"On {NOTES[number].about}."]
    if number in MEASURED:
        lines += ["", MEASURED[number].read_text(encoding="utf-8").strip().replace("](../", "](")]
    lines += ["", "| claim | published | answer |", "|---|---|---|"]
    lines += [f"| [{one.sentence}](#{one.name}) | {one.figure} | {one.answer} |" for one in answers]
    for name, message in PICTURES.get(number, {}).items():
        lines += ["", f"![{message}]({name}.svg)", "", f"*{message}*"]
    for one in answers:
        lines += ["", f"### {one.name}", "", f"{one.sentence} ({one.section}; published: {one.figure})", ""]
        lines += [f"**{str(one.answer).capitalize()}.**", ""]
        for finding in one.findings:
            measured = numbers(finding)
            lines.append(f"- {finding.verdict!s}: {finding.reason}" + (f" ({measured})" if measured else ""))
    return lines


if __name__ == "__main__":
    (HERE / "claims.md").write_text(page(stored_answers()), encoding="utf-8")
