"""Check whether a head's value matrix fits the position it attends to."""

from __future__ import annotations

from dataclasses import dataclass

from heedful.ngrams.derivation.recipe import DerivationRecipe


@dataclass(frozen=True)
class HeadPairing:
    """Which token, counted from the query, the heads with one skip predict, and a sentence that describes it.

    Attributes:
        skip: Their skip.
        heads: Which heads of each layer.
        ahead: How many tokens behind the query stands the one that they speak of; 1 is the next.
        sentence: What they do, in words.
    """

    skip: int
    heads: tuple[int, ...]
    ahead: int
    sentence: str

    @property
    def fits(self) -> bool:
        """Whether these heads predict the token directly after the query, which is also what the model predicts."""
        return self.ahead == 1


def pairings(recipe: DerivationRecipe) -> list[HeadPairing]:
    """Return one ``HeadPairing`` for each skip of a recipe.

    A pattern by ``content`` looks for tokens that the counts put ``skip + 1`` after the query; an ``offset`` looks
    back ``skip`` tokens, from where ``skip + 1`` further on is the next: to look anywhere else is impossible here. A
    ``copy`` speaks of the token that is looked at, ``probability`` and ``log_ratio`` of what stands ``skip + 1`` after
    it.

    Args:
        recipe: What is derived how.
    """
    by_skip: dict[int, list[int]] = {}
    for head in range(recipe.heads):
        by_skip.setdefault(recipe.skip(head), []).append(head)
    return [_pairing(recipe, skip, tuple(heads)) for skip, heads in sorted(by_skip.items())]


def _pairing(recipe: DerivationRecipe, skip: int, heads: tuple[int, ...]) -> HeadPairing:
    looked = -skip if recipe.pattern == "offset" else skip + 1
    ahead = looked if recipe.value == "copy" else looked + skip + 1
    looks = f"looks back {skip} tokens" if recipe.pattern == "offset" else f"attends to what often stands {_at(looked)}"
    takes = "copies it" if recipe.value == "copy" else f"adds what stands {skip + 1} after it"
    meaning = "which is the next token" if ahead == 1 else f"which is {_at(ahead)}, while the next is asked for"
    return HeadPairing(skip, heads, ahead, f"{looks} and {takes}, {meaning}.")


def _at(ahead: int) -> str:
    if ahead > 0:
        return f"{ahead} after the query"
    return "the query itself" if ahead == 0 else f"{-ahead} before the query"
