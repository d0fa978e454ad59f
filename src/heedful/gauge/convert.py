r"""Convert a checkpoint of another gauge transformer, with a config file of plain literals, to ``GaugeForCausalLM``.

Read are tables of means, log-variances (or variances) and angles of tokens, means of positions, the generators in whose
basis they are, the readout, and a learned feed-forward. A config names the heads by ``irrep_spec``, a list of
``(label, copies, dimensions)``, and the temperature by ``kappa_beta`` or ``kappa``. The weights are then

.. math:: \beta_{ij} = \operatorname{softmax}_j(-KL(N(\mu_i, \Sigma_i) \,\|\, N(\Omega_{ij} \mu_j,
          \Omega_{ij} \Sigma_j \Omega_{ij}^T)) / \kappa)

with :math:`\Sigma = \operatorname{diag}(\sigma)` in each token's own frame and nothing cut off. What a checkpoint does
otherwise is listed, never silently left out; what would make another model of it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful.errors import HeedfulError, InputRejected, UsageError
from heedful.gauge.generator_basis import Basis, basis_of, usual_generators
from heedful.gauge.irreps import Irreps, parse_irreps
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.gauge.model.gauge_feed_forward import WIDER, LearnedFeedForward
from heedful.loading.config_file import read_config
from heedful.loading.foreign_checkpoints import FOREIGN_CHECKPOINTS, ForeignCheckpoint
from heedful.loading.weights import read_weights
from heedful.loading.wording import escaped, listed

TABLES = {
    "mean": ("mu_embed.weight", "mu_embed", "mu"),
    "log_variance": ("log_sigma_diag", "log_sigma_embed.weight", "log_sigma"),
    "variance": ("sigma_embed.weight", "sigma"),
    "angle": ("phi_embed.weight", "phi_embed", "phi"),
    "position_mean": ("pos_embed.weight", "pos_embed"),
    "readout": ("out_proj.weight",),
    "generators": ("generators",),
}
"""Ends of the names under which a checkpoint keeps each table."""

LEAST_VARIANCE, LARGEST_VARIANCE = 0.01, 5.0
"""Within these such models clamp log-variances that they read."""

FEED_FORWARDS = {
    "learned": "learned",
    "none": "none",
    "variational": "variational",
    "variational_approx": "variational",
    "variational_full": "variational",
    "variational_gradient_engine": "variational",
    "vfe_dynamic": "variational",
    "vfe_dynamic_stable": "variational",
}

_FIX_HAMILTONIAN = "give --feed-forward variational or learned, which train anew, or none, to judge attention alone"


@dataclass(frozen=True)
class Conversion:
    """A converted model, with lists of what was carried over from the checkpoint and what was not.

    Attributes:
        model: The model, in evaluation mode.
        carried: Names of the tensors that were carried over, and what they became.
        left: What could not be carried over, each with what it means.
    """

    model: GaugeForCausalLM
    carried: dict[str, str]
    left: tuple[str, ...]


def convert(
    checkpoint: str | Path, config: str | Path, *, feed_forward: str | None = None, allow_global: Sequence[str] = ()
) -> Conversion:
    """Read a checkpoint and its config, neither of which is executed, and build the model.

    Args:
        checkpoint: ``.pt`` or ``.safetensors``.
        config: JSON, TOML, YAML or Python literals.
        feed_forward: ``learned``, ``variational`` or ``none`` in place of the checkpoint's.
        allow_global: Harmless record types that a torch archive may hold.

    Returns:
        The model, with what was carried over and what was not.

    Raises:
        InputRejected: A file is malformed, a table is missing or of another size, or its model cannot be one of these.
        UsageError: A word is unknown, or e3nn is not installed.

    Example:
        >>> from heedful.gauge.convert import convert
        >>> convert("best_model.pt", "config.py").model.save_pretrained("converted")  # doctest: +SKIP
    """
    settings = read_config(Path(config))
    if not recognises(settings):
        message = "expected a config with irrep_spec, a list of (label, copies, dimensions)"
        raise InputRejected(escaped(config), message, "name the config that the checkpoint was trained with")
    tensors, _ = read_weights(Path(checkpoint), tuple(allow_global))
    return converted(settings, tensors, escaped(checkpoint), feed_forward)


def recognises(settings: dict[str, Any]) -> bool:
    """Return whether a config belongs to a gauge transformer that can be converted, that is, whether it has the key
    ``irrep_spec``.
    """
    return "irrep_spec" in settings


def converted(
    settings: dict[str, Any], tensors: dict[str, Tensor], subject: str, feed_forward: str | None = None
) -> Conversion:
    """Build the model from a config and state dict of another gauge transformer, and list what was carried over.

    Args:
        settings: The config as data.
        tensors: The state dict.
        subject: The checkpoint's name in messages.
        feed_forward: In place of the config's.

    Raises:
        InputRejected: As for ``convert``.
        UsageError: As for ``convert``.
    """
    source = _Source(settings, tensors, subject)
    irreps = source.irreps()
    part, left = source.feed_forward(feed_forward)
    source.refuse_others()
    found = {name: source.table(name) for name in TABLES}
    mean = found["mean"]
    if mean is None or mean.dim() != 2 or mean.shape[1] != irreps.dim:
        got = "none" if mean is None else str(tuple(mean.shape))
        message = f"expected a table of means (token, {irreps.dim}) under *{TABLES['mean'][0]}, found {got}"
        raise InputRejected(subject, message, "give the config that the checkpoint was trained with")
    basis = source.basis(irreps, found["generators"])
    variance, isotropic = source.variances(found, irreps, len(mean))
    if not isotropic and not basis.permutes:
        message = (
            "its generators' axes are no permutation of e3nn's, so that a diagonal covariance would not stay diagonal"
        )
        raise InputRejected(subject, message, "store isotropic variances, or generators of real spherical harmonics")
    layers = source.whole("n_layers", source.whole("num_layers", 1))
    config = _config(source, irreps, found, variance, part, layers, len(mean))
    model = GaugeForCausalLM(config).eval()
    carried = _filled(model, source, found, basis, variance)
    if part == "learned":
        carried |= source.fill_feed_forward(model, basis, left)
    return Conversion(model, carried, (*left, *source.differences(found, isotropic, irreps), *source.unused()))


def _config(
    source: _Source,
    irreps: Irreps,
    found: dict[str, Tensor | None],
    variance: Tensor,
    part: str,
    layers: int,
    tokens: int,
) -> GaugeConfig:
    low, high = float(variance.min()) / 2, float(variance.max()) * 2
    placed = found["position_mean"]
    length = len(placed) if placed is not None else source.whole("max_seq_len", 128)
    return GaugeConfig(
        irreps=str(irreps),
        covariance="diagonal",
        covariance_frame="token",
        kappa=source.kappa()[0],
        kappa_rule="shared",
        mask_self=bool(source.settings.get("mask_self_attention", False)),
        position_means=placed is not None,
        token_frames="none" if found["angle"] is None else "learned",
        position_frames="none",
        feed_forward=part,
        layer_norm=False,
        residual=bool(source.settings.get("use_residual", False)),
        inner_steps=source.whole("ffn_n_iterations", 1),
        min_variance=low,
        max_variance=high,
        initial_variance=math.sqrt(low * high),
        vocab_size=tokens,
        num_hidden_layers=layers,
        max_position_embeddings=length,
        tie_word_embeddings=False,
    )


@torch.no_grad()
def _filled(
    model: GaugeForCausalLM, source: _Source, found: dict[str, Tensor | None], basis: Basis, variance: Tensor
) -> dict[str, str]:
    """Write the tables; names of what was carried to what it became."""
    tables, mean = model.model.beliefs, found["mean"]
    tables.mean.weight.copy_(basis.vectors(mean.double()))  # type: ignore[union-attr]
    low, start, high = (math.log(getattr(model.config, f"{name}_variance")) for name in ("min", "initial", "max"))
    middle, half = (low + high) / 2, (high - low) / 2
    within = ((basis.variances(variance).log() - middle) / half).atanh() - math.atanh((start - middle) / half)
    tables.log_variance.weight.copy_(half * within)
    placed, angle, readout = found["position_mean"], found["angle"], found["readout"]
    if placed is not None and tables.position_mean is not None:
        tables.position_mean.weight.copy_(basis.vectors(placed.double()))
    if angle is not None and tables.frame is not None:
        tables.frame.weight.copy_(_unbounded(basis.angles(angle.double())))
    model.lm_head.weight.copy_(basis.vectors((mean if readout is None else readout).double()))  # type: ignore[union-attr]
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            if hasattr(part, "log_kappa"):
                part.log_kappa.copy_(torch.tensor(source.kappa()).log().expand_as(part.log_kappa))
    names = {"mean": "means of tokens", "log_variance": "variances", "variance": "variances",
             "angle": "frames of tokens", "position_mean": "means of positions", "readout": "readout",
             "generators": "basis of the coordinates"}  # fmt: skip
    return {source.names[name]: word for name, word in names.items() if found[name] is not None}


def _unbounded(phi: Tensor) -> Tensor:
    """The angles whose bounded form (``frames.bounded``) these are; those beyond pi name a rotation within it."""
    length = phi.norm(dim=-1, keepdim=True)
    short = torch.remainder(length + math.pi, 2 * math.pi) - math.pi
    inside = (short.abs() / math.pi).clamp_max(1 - 1e-12)
    return torch.where(length > 0, phi / length.clamp_min(1e-300) * short.sign() * math.pi * inside.atanh(), phi)


class _Source:
    """One checkpoint and its config, while they are read."""

    def __init__(self, settings: dict[str, Any], tensors: dict[str, Tensor], subject: str) -> None:
        self.settings, self.tensors, self.subject = settings, tensors, subject
        self.names: dict[str, str] = {}

    def whole(self, name: str, usual: int) -> int:
        """A whole number of the config."""
        found = self.settings.get(name, usual)
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise InputRejected(self.subject, f"config: {name} = {found!r:.60}", "write a whole number from 1 on")
        return found

    def table(self, name: str) -> Tensor | None:
        """The one tensor that is stored under an end of ``TABLES``."""
        for end in TABLES[name]:
            keys = [key for key in self.tensors if key == end or key.endswith(f".{end}")]
            shared = {key: self.tensors[key] for key in keys}
            if len(shared) > 1 and not all(torch.equal(one, self.tensors[keys[0]]) for one in shared.values()):
                raise InputRejected(self.subject, f"{end} stands for several tensors: {listed(keys)}", "keep one")
            if keys:
                self.names[name] = keys[0]
                tensor = self.tensors[keys[0]]
                if not bool(tensor.isfinite().all()):
                    raise InputRejected(self.subject, f"{keys[0]}: a number is not finite", "train it again")
                return tensor
        return None

    def irreps(self) -> Irreps:
        """The heads; what lacks to ``embed_dim`` is filled with scalars, as such models do."""
        try:
            irreps = parse_irreps([tuple(entry) for entry in self.settings["irrep_spec"]])
        except HeedfulError as error:
            raise InputRejected(
                self.subject, f"config: irrep_spec: {error}", "write (label, copies, dimensions)"
            ) from error
        except TypeError as error:
            raise InputRejected(
                self.subject, "config: irrep_spec is no list", "write (label, copies, dimensions)"
            ) from error
        width = self.whole("embed_dim", irreps.dim)
        if width < irreps.dim:
            message = f"config: embed_dim = {width}, irrep_spec has {irreps.dim} dimensions"
            raise InputRejected(self.subject, message, "raise it, or leave it out")
        return irreps if width == irreps.dim else Irreps((*irreps.groups, (width - irreps.dim, 0)))

    def kappa(self) -> list[float]:
        """The temperature, or one for each head."""
        named = [name for name in ("kappa_beta", "kappa") if name in self.settings]
        if len(named) != 1:
            got = "none of them" if not named else "both"
            raise InputRejected(self.subject, f"config: expected kappa_beta or kappa, found {got}", "name one")
        found = self.settings[named[0]]
        each = found if isinstance(found, list) else [found]
        known = all(isinstance(one, int | float) and not isinstance(one, bool) and one > 0 for one in each)
        if not each or not known or len(each) not in (1, self.irreps().heads):
            message = f"config: {named[0]} = {found!r:.60}: expected a number above 0, or one for each head"
            raise InputRejected(self.subject, message, "write it so")
        return [float(one) for one in each]

    def feed_forward(self, asked: str | None) -> tuple[str, list[str]]:
        """The part after attention, and what of it is not carried over."""
        own = str(self.settings.get("ffn_mode", "none"))
        if asked is not None and asked not in ("learned", "variational", "none"):
            raise UsageError(f"--feed-forward {asked!r:.40}: expected learned, variational or none")
        if asked is None and "hamiltonian" in own.lower():
            message = f"ffn_mode {own!r}: leapfrog steps of beliefs with momenta, which its author has since retired"
            raise InputRejected(self.subject, message, _FIX_HAMILTONIAN)
        known = FEED_FORWARDS.get(own.lower())
        if asked is None and known is None:
            raise InputRejected(self.subject, f"config: ffn_mode {own!r:.40} is unknown", "give --feed-forward NAME")
        part = asked or known or "none"
        left = []
        if part != known:
            left.append(f"feed-forward {own}: replaced by {part}, as asked" + (", untrained" if part != "none" else ""))
        elif part == "variational":
            left.append(
                f"feed-forward {own}: became 'variational', steps down one free energy with each head's own weights; "
                "theirs follow another gradient, all dimensions as one head: only the first layer's weights are theirs"
            )
        return part, left

    def refuse_others(self) -> None:
        """Refuse what would make another model of it."""
        settings = self.settings
        group = str(settings.get("gauge_group", "SO3")).upper().replace("(", "").replace(")", "")
        if group != "SO3" or settings.get("gauge_dim", 3) != 3:
            message = f"gauge_group {settings.get('gauge_group')!r}: irreps of SO(3) alone are known here"
            raise InputRejected(self.subject, message, "train it with SO3")
        for name, why in (
            ("gauge_fixed_priors", "every token is a rotation of one belief, so that all divergences are 0"),
            ("alibi_slope", "a bias by distance is added to its divergences"),
            ("mu_normalize", "its means are projected onto a sphere as they are read"),
            ("mu_max_norm", "its means are cut to a length as they are read"),
            ("use_layernorm", "its layer norms act in another basis"),
        ):
            if settings.get(name):
                raise InputRejected(self.subject, f"{name} = {settings[name]!r}: {why}", "train it without")
        for name in ("attention_pattern", "ffn_pattern"):
            if settings.get(name, "full") != "full":
                message = f"{name} = {settings[name]!r}: a token here sees all before it"
                raise InputRejected(self.subject, message, "train it with 'full'")

    def basis(self, irreps: Irreps, given: Tensor | None) -> Basis:
        """The basis of its generators; without any, real spherical harmonics with polar axis z."""
        if given is None:
            parts = [usual_generators(order) for order in irreps.orders]
            given = torch.stack([torch.block_diag(*[part[axis] for part in parts]) for axis in range(3)])
        try:
            return basis_of(given, irreps.orders)
        except UsageError as error:
            raise InputRejected(self.subject, str(error), "use_multi_irrep has a block for each head") from error

    def variances(self, found: dict[str, Tensor | None], irreps: Irreps, rows: int) -> tuple[Tensor, bool]:
        """Variances ``(token, width)`` as such models read them, and whether each head's are all equal."""
        logs, plain = found["log_variance"], found["variance"]
        if logs is None and plain is None:
            logs = torch.zeros(irreps.dim)
        variance = logs.double().exp() if logs is not None else plain.double()  # type: ignore[union-attr]
        if variance.shape not in ((irreps.dim,), (rows, irreps.dim)):
            message = f"variances {tuple(variance.shape)}: expected ({irreps.dim},) or ({rows}, {irreps.dim})"
            raise InputRejected(self.subject, message, "store the diagonal of each token's covariance")
        if not bool((variance > 0).all()):
            raise InputRejected(self.subject, "variances: one is not above 0", "store variances, or logarithms of them")
        variance = variance.clamp(LEAST_VARIANCE, LARGEST_VARIANCE).expand(rows, irreps.dim)
        heads = variance.split(list(irreps.dims), dim=-1)
        return variance, all(bool((head == head[:, :1]).all()) for head in heads)

    def fill_feed_forward(self, model: GaugeForCausalLM, basis: Basis, left: list[str]) -> dict[str, str]:
        """Two matrices about a GELU in each block, found by their shapes; others stay untrained and are listed."""
        carried: dict[str, str] = {}
        for number, layer in enumerate(model.model.layers):
            mlp = layer.mlp
            part = {
                key: tensor for key, tensor in self.tensors.items() if f".{number}." in key and "ffn" in key.lower()
            }
            found = _two_matrices(part, model.config.hidden_size, WIDER * model.config.hidden_size)
            if found is None or not isinstance(mlp, LearnedFeedForward):
                left.append(f"feed-forward of layer {number}: no two matrices about a GELU were found: it is untrained")
                continue
            _fill(mlp, [part[key].double() for key in found], basis)
            carried |= dict.fromkeys(found, f"feed-forward of layer {number}")
        self.names |= {key: key for key in carried}
        return carried

    def differences(self, found: dict[str, Tensor | None], isotropic: bool, irreps: Irreps) -> list[str]:
        """What such models compute otherwise."""
        left = []
        if (
            self.settings.get("diagonal_covariance")
            and not isotropic
            and any(irreps.orders)
            and found["angle"] is not None
        ):
            left.append(
                "diagonal_covariance: theirs cuts off what a rotation puts beside the diagonal; here transport is exact"
            )
        if self.settings.get("evolve_sigma"):
            left.append("evolve_sigma: covariances that attention mixes; here they stay those of the tokens")
        if self.settings.get("evolve_phi"):
            left.append("evolve_phi: frames that change from layer to layer; here they stay those of the tokens")
        if str(self.settings.get("pos_encoding_mode", "none")) != "none":
            left.append(
                f"pos_encoding_mode {self.settings['pos_encoding_mode']!r}: frames of positions, there by adding angles"
            )
        left.append("masked weights of 1e-8 and 1e-6 on the diagonals of covariances: here 0, and none")
        return left

    def unused(self) -> list[str]:
        """Tensors that nothing was made of."""
        known = {*self.names.values()}
        rest = [
            key
            for key in self.tensors
            if key not in known and not any(key.endswith(end) for end in ("generators", "phi_base"))
        ]
        return [f"tensors that were not used: {listed(rest, 6)}"] if rest else []


def _two_matrices(part: dict[str, Tensor], width: int, most: int) -> tuple[str, str, str, str] | None:
    """Names of the matrices and biases of ``out(gelu(in(x)))``, in that order; None where they are not there alone."""
    into = [key for key, t in part.items() if t.dim() == 2 and t.shape[1] == width and t.shape[0] <= most]
    out = [key for key, t in part.items() if t.dim() == 2 and t.shape[0] == width and t.shape[1] <= most]
    pairs = [(a, b) for a in into for b in out if a != b and part[a].shape == part[b].shape[::-1]]
    pairs = pairs[:1] if len(pairs) == 2 and part[pairs[0][0]].shape[0] == width else pairs
    if len(pairs) != 1:
        return None
    first, second = pairs[0]
    biases = (first.removesuffix("weight") + "bias", second.removesuffix("weight") + "bias")
    return (first, biases[0], second, biases[1]) if all(bias in part for bias in biases) else None


@torch.no_grad()
def _fill(mlp: LearnedFeedForward, found: list[Tensor], basis: Basis) -> None:
    """The two matrices in heedful's coordinates; a narrower one is filled with zeros, of which the GELU is 0."""
    into, bias, out, shift = found
    count = len(bias)
    for parameter in mlp.parameters():
        parameter.zero_()
    mlp.up_proj.weight[:count] = basis.vectors(into).to(mlp.up_proj.weight)
    mlp.up_proj.bias[:count] = bias.to(mlp.up_proj.bias)
    mlp.down_proj.weight[:, :count] = basis.vectors(out.T).T.to(mlp.down_proj.weight)
    mlp.down_proj.bias.copy_(basis.vectors(shift))


def _as_loaded(
    settings: dict[str, Any], tensors: dict[str, Tensor], subject: str
) -> tuple[GaugeForCausalLM, tuple[str, ...]]:
    found = converted(settings, tensors, subject)
    return found.model, tuple(f"not carried over: {one}" for one in found.left)


FOREIGN_CHECKPOINTS.add("gauge by irrep_spec", ForeignCheckpoint(recognises, _as_loaded))
