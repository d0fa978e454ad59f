"""Gaussian beliefs in SO(3) irreps: generators, frames, transport, divergences. No model lives here."""

from heedful.gauge.beliefs import (
    COVARIANCES,
    Diagonal,
    Full,
    Gaussians,
    Isotropic,
    divergences,
    gaussians,
    log_of_variance,
    own_divergence,
)
from heedful.gauge.diversity import at_rows, diversity_columns, diversity_sums
from heedful.gauge.frames import bounded, check_frames, frames, into_frame, out_of_frame, transport
from heedful.gauge.free_energy import lowered
from heedful.gauge.generators import generators
from heedful.gauge.irreps import Irreps, parse_irreps
from heedful.gauge.kappa import KAPPA_RULES, check_kappa, first_kappa, kappa_for
from heedful.gauge.layout import Layout, TokenBeliefs, beside

__all__ = [
    "COVARIANCES",
    "KAPPA_RULES",
    "Diagonal",
    "Full",
    "Gaussians",
    "Irreps",
    "Isotropic",
    "Layout",
    "TokenBeliefs",
    "at_rows",
    "beside",
    "bounded",
    "check_frames",
    "check_kappa",
    "divergences",
    "diversity_columns",
    "diversity_sums",
    "first_kappa",
    "frames",
    "gaussians",
    "generators",
    "into_frame",
    "kappa_for",
    "log_of_variance",
    "lowered",
    "out_of_frame",
    "own_divergence",
    "parse_irreps",
    "transport",
]
