"""Page sections on queries and keys, and on the decomposition of the affinity matrix."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from heedful.reporting.pages.cells import share, small
from heedful.reporting.pages.part import PagePart

if TYPE_CHECKING:
    from heedful.ngrams.explanation.record import Decomposition, Geometry

SYMMETRIC = 1e-6
LEADING = 10


def geometry_part(found: Geometry) -> PagePart:
    """Return the section on queries and keys of the first head.

    Args:
        found: What was measured.
    """
    symmetric = "symmetric" if found.asymmetry <= SYMMETRIC else "not symmetric"
    return PagePart(
        title="Queries compared with keys, first head",
        header=("what", "value", "random"),
        rows=[
            ("largest |A - A^T| over largest |A|", f"{found.asymmetry:.2f}", ""),
            ("e . e' of different tokens, mean", f"{found.similarity[0]:+.4f}", "0"),
            ("  standard deviation", f"{found.similarity[1]:.4f}", f"{found.null:.4f}"),
            ("e . e' with each token's own, mean", f"{found.with_diagonal[0]:+.4f}", f"{found.diagonal_null[0]:.4f}"),
            ("  standard deviation", f"{found.with_diagonal[1]:.4f}", f"{found.diagonal_null[1]:.4f}"),
            ("factors within the embeddings' span", share(found.overlap), share(found.overlap_null)),
            ("directions queries and keys share", share(found.shared), share(found.shared_null)),
            ("|u . v| of the leading factors", " ".join(f"{value:.2f}" for value in found.coincidence), ""),
            ("correlation of scores with A", f"{found.correlation:+.3f}", "0"),
            ("what scores leave of A", share(found.error), "100.0%"),
            *_as_published(found),
        ],
        text=(
            f"A is the affinity: {symmetric}. e: embeddings, and what random ones have. Shared directions: mean "
            "squared cosine between what queries and keys read; u . v: 1 where a query looks for tokens like itself. "
            "Scores are compared, rows centred, and not columns of the matrices: any invertible change between "
            "queries and keys leaves every score as it is and changes every cosine between columns."
        ),
    )


def _as_published(found: Geometry) -> list[tuple[str, str, str]]:
    """W_Q^T W_K and the factors against the embeddings, as a published note prints them."""
    rows = []
    if found.product is not None:
        mean, largest = found.product
        rows.append(("W_Q^T W_K: mean, largest size", f"{mean:+.4f}, {largest:.3f}", ""))
        rows.append(("  its diagonal", " ".join(f"{value:+.3f}" for value in found.product_diagonal), ""))
    if found.factor_means is not None and found.factor_largest is not None:
        sides = zip("UV", found.factor_means, found.factor_largest, strict=True)
        rows += [(f"{side}^T E: mean, largest cosine", f"{mean:+.4f}, {most:.3f}", "0") for side, mean, most in sides]
    return rows


def decomposition_part(found: Decomposition) -> PagePart:
    """Return the section on the first head's singular value decomposition.

    Args:
        found: What was kept.
    """
    values = found.singular_values
    descending = all(one >= other for one, other in itertools.pairwise(values))
    kept = "unknown: too large" if found.directions is None else f"{found.directions} of {min(found.shape)}"
    return PagePart(
        title="Its factors",
        header=("what", "value"),
        rows=[
            ("contexts x tokens", f"{found.shape[0]:,} x {found.shape[1]:,}"),
            ("share of counts that are not 0", f"{100 * found.density:.2g}%"),
            ("directions that A has", kept),
            ("components kept, requested", f"{len(values)} of {found.asked}"),
            ("largest over smallest kept", f"{found.condition:.3g}"),
            ("share of the sum of squares kept", share(found.energy)),
            ("largest |U^T U - 1|, |V^T V - 1|", small(found.orthogonality)),
            ("largest |A v - s u|, |A^T u - s v| over s_1", small(found.residual)),
        ],
        text=(
            f"Singular values, {'largest first' if descending else 'in no order'}: "
            f"{', '.join(small(value) for value in values[:LEADING])}"
            f"{' ... ' + small(values[-1]) if len(values) > LEADING else ''}. The condition is at least 1, and that of "
            "all of A infinite where it has fewer directions than tokens: a quotient under 1 is one turned over."
            + (f" Not separated: {found.note}." if found.note else "")
        ),
    )
