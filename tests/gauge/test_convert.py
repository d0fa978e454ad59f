"""Checkpoints of irrep_spec, token tables and kappa: their weights by an oracle written from the note's formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.oracles.note_divergence import note_generators, note_logits, note_weights
from torch import Tensor
from typer.testing import CliRunner, Result

from heedful.app import app
from heedful.commandline.help import hyphens
from heedful.errors import HeedfulError, InputRejected, UsageError
from heedful.gauge.convert import convert
from heedful.gauge.generator_basis import basis_of, usual_generators
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.loading.loaded_model import load_model

SPEC = [("ℓ0", 5, 1), ("ℓ1", 3, 3), ("ℓ2", 1, 5)]
WORDS, LENGTH, KAPPA, WIDTH = 40, 16, 0.4318, 19


def run(*words: str) -> Result:
    return CliRunner().invoke(app, hyphens(list(words)))


def tables(**other: Any) -> dict[str, Tensor]:
    """A checkpoint's tensors in their own basis."""
    draw = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    found = {
        "generators": note_generators(SPEC).float(),
        "token_embed.mu_embed.weight": normal(WORDS, WIDTH),
        "token_embed.log_sigma_diag": 0.5 * normal(WORDS, WIDTH),
        "token_embed.phi_embed.weight": 1.5 * normal(WORDS, 3),
        "token_embed.pos_embed.weight": 0.3 * normal(LENGTH, WIDTH),
        "out_proj.weight": normal(WORDS, WIDTH),
    }
    return {name: tensor for name, tensor in (found | other).items() if tensor is not None}


def config(**other: Any) -> str:
    """The config as a file of literals, in the note's own notation."""
    settings = {"vocab_size": WORDS, "embed_dim": WIDTH, "n_layers": 1, "irrep_spec": SPEC, "hidden_dim": 32,
                "max_seq_len": LENGTH, "kappa_beta": KAPPA, "mask_self_attention": True, "ffn_mode": "none",
                "use_positional_embedding": True, "diagonal_covariance": False} | other  # fmt: skip
    return f"'''A config.'''\nCONFIG = {settings!r}\n"


def written(folder: Path, tensors: dict[str, Tensor], text: str) -> tuple[Path, Path]:
    torch.save({"model_state_dict": tensors, "step": 3}, folder / "best_model.pt")
    (folder / "config.py").write_text(text, encoding="utf-8")
    return folder / "best_model.pt", folder / "config.py"


@pytest.mark.parametrize("mask_self", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_weights_are_those_of_the_notes_formula(tmp_path: Path, stored: bool, mask_self: bool) -> None:
    tensors = tables() if stored else tables(generators=None)
    found = convert(*written(tmp_path, tensors, config(mask_self_attention=mask_self)))
    model = found.model
    model.set_attn_implementation("eager")
    ids = torch.randint(0, WORDS, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    out = model(ids, output_attentions=True)
    expected = note_weights(tables(), SPEC, KAPPA, ids, mask_self)
    torch.testing.assert_close(out.attentions[0].double(), expected, rtol=2e-4, atol=2e-5)
    assert expected[:, :, 12:].amax(-1).mean() > 0.2 and expected[:, 8, 8:].std() > 0.05
    logits = note_logits(tables(), SPEC, KAPPA, ids, mask_self)
    torch.testing.assert_close(out.logits.double(), logits, rtol=1e-3, atol=2e-3)
    assert set(found.carried.values()) >= {"means of tokens", "variances", "frames of tokens", "readout"}


def test_a_planted_fault_is_noticed(tmp_path: Path) -> None:
    """Angles about another axis give other weights, so that the comparison above can fail."""
    wrong = tables()
    wrong["token_embed.phi_embed.weight"] = wrong["token_embed.phi_embed.weight"].roll(1, -1)
    model = convert(*written(tmp_path, wrong, config())).model
    model.set_attn_implementation("eager")
    ids = torch.randint(0, WORDS, (1, LENGTH), generator=torch.Generator().manual_seed(1))
    found = model(ids, output_attentions=True).attentions[0].double()
    expected = note_weights(tables(), SPEC, KAPPA, ids, True)
    assert (found - expected)[:, :5].abs().max() < 1e-4  # scalars do not turn
    assert (found - expected)[:, 5:].abs().max() > 0.05


def test_a_learned_feed_forward_and_residuals_are_carried_over(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(8)
    place = "transformer.blocks.0.ffn.standard_ffn"
    parts = {
        f"{place}.0.weight": torch.randn(32, WIDTH, generator=draw) / 4,
        f"{place}.0.bias": torch.randn(32, generator=draw),
        f"{place}.3.weight": torch.randn(WIDTH, 32, generator=draw) / 4,
        f"{place}.3.bias": torch.randn(WIDTH, generator=draw),
    }
    found = convert(*written(tmp_path, tables(**parts), config(ffn_mode="learned", use_residual=True)))
    ids = torch.randint(0, WORDS, (2, LENGTH), generator=draw)
    expected = note_logits(tables(), SPEC, KAPPA, ids, True, residual=True, matrices=list(parts.values()))
    torch.testing.assert_close(found.model(ids).logits.double(), expected, rtol=1e-3, atol=5e-3)
    assert not any("feed-forward" in one for one in found.left)


@pytest.mark.parametrize("mode", ["VFE_dynamic", "variational_full"])
def test_what_cannot_be_carried_over_is_named(tmp_path: Path, mode: str) -> None:
    text = config(
        ffn_mode=mode, diagonal_covariance=True, evolve_sigma=True, evolve_phi=True, pos_encoding_mode="learned"
    )
    found = convert(*written(tmp_path, tables(**{"pos_encoding.pos_phi": torch.ones(LENGTH, 3)}), text))
    left = " ".join(found.left)
    assert found.model.config.feed_forward == "variational"
    for word in (
        mode,
        "diagonal_covariance",
        "evolve_sigma",
        "evolve_phi",
        "pos_encoding_mode",
        "pos_encoding.pos_phi",
    ):
        assert word in left, word
    assert "diagonal_covariance" not in " ".join(
        convert(*written(tmp_path, tables(**{"token_embed.log_sigma_diag": torch.zeros(WIDTH)}), text)).left
    )


def test_temperatures_may_be_one_a_head_and_tables_shorter(tmp_path: Path) -> None:
    kappa = [0.1 * (head + 1) for head in range(9)]
    tensors = tables(
        **{"token_embed.pos_embed.weight": None, "token_embed.phi_embed.weight": None, "out_proj.weight": None}
    )
    del tensors["token_embed.log_sigma_diag"]
    model = convert(*written(tmp_path, tensors, config(kappa_beta=kappa))).model
    assert model.model.layers[0].self_attn.log_kappa.exp().tolist() == pytest.approx(kappa)
    assert model.model.beliefs.frame is None and model.model.beliefs.position_mean is None
    beliefs, _ = model.model.beliefs(torch.arange(4)[None], torch.arange(4)[None])
    torch.testing.assert_close(beliefs.log_variance, torch.zeros(1, 4, WIDTH), rtol=0, atol=1e-6)
    padded = convert(*written(tmp_path, tables(**_wider(tables())), config(embed_dim=21))).model
    assert padded.config.irreps == "5x0e+3x1e+1x2e+2x0e"


def _wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    wide = {n: torch.nn.functional.pad(t, (0, 2)) for n, t in tensors.items() if t.shape[-1] == WIDTH and t.dim() == 2}
    return wide | {"generators": torch.nn.functional.pad(tensors["generators"], (0, 2, 0, 2))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ffn_mode": "hamiltonian"}, "leapfrog.*retired.*--feed-forward variational"),
        ({"ffn_mode": "strange"}, "ffn_mode 'strange' is unknown"),
        ({"gauge_group": "SOn", "gauge_dim": 10}, "irreps of SO\\(3\\) alone"),
        ({"gauge_fixed_priors": True}, "rotation of one belief"),
        ({"use_layernorm": True}, "another basis"),
        ({"alibi_slope": -0.1}, "alibi_slope"),
        ({"attention_pattern": "local"}, "attention_pattern"),
        ({"irrep_spec": [("ℓ1", 3, 4)]}, "those of SO\\(3\\) are odd"),
        ({"irrep_spec": 3}, "irrep_spec is no list"),
        ({"embed_dim": 7}, "irrep_spec has 19 dimensions"),
        ({"kappa_beta": -1}, "expected a number above 0"),
        ({"kappa": 1.0}, "found both"),
        ({"n_layers": "two"}, "n_layers"),
    ],
)
def test_other_models_are_refused_by_name(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputRejected, match=message):
        convert(*written(tmp_path, tables(), config(**settings)))


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    for wrong, message in (
        ({"token_embed.mu_embed.weight": None}, "table of means"),
        ({"token_embed.mu_embed.weight": torch.ones(WORDS, 7)}, "table of means"),
        ({"token_embed.log_sigma_diag": torch.ones(3)}, "variances"),
        ({"token_embed.mu_embed.weight": torch.full((WORDS, WIDTH), torch.nan)}, "not finite"),
        ({"generators": torch.randn(3, WIDTH, WIDTH)}, "heads mix"),
        ({"generators": 2 * note_generators(SPEC).float()}, "expected irreps of SO"),
    ):
        with pytest.raises(InputRejected, match=message):
            convert(*written(tmp_path, tables(**wrong), config()))
    with pytest.raises(HeedfulError, match="irrep_spec"):
        convert(*written(tmp_path, tables(), "CONFIG = {'vocab_size': 3}"))
    with pytest.raises(InputRejected, match="literal"):
        convert(*written(tmp_path, tables(), "CONFIG = {'irrep_spec': __import__('os').getcwd()}"))
    with pytest.raises(UsageError, match="--feed-forward 'x'"):
        convert(*written(tmp_path, tables(), config()), feed_forward="x")


def test_the_command_writes_a_model_and_says_what_was_left(tmp_path: Path) -> None:
    checkpoint, settings = written(tmp_path, tables(), config(ffn_mode="hamiltonian"))
    refused = run("gauge", "convert", str(checkpoint), "--config", str(settings), "--out", str(tmp_path / "out"))
    assert refused.exit_code == 3 and "retired" in refused.stderr and not (tmp_path / "out").exists()
    words = ("gauge", "convert", str(checkpoint), "--config", str(settings), "--out", str(tmp_path / "out"))
    done = run(*words, "--feed-forward", "none")
    assert done.exit_code == 0, done.stderr
    assert "carried over: token_embed.mu_embed.weight: means of tokens" in done.stdout
    assert "not carried over: feed-forward hamiltonian: replaced by none, as asked" in done.stdout
    again = run(*words)
    assert again.exit_code == 2 and "absent or empty folder" in again.stderr
    loaded = load_model(tmp_path / "out").model
    ids = torch.arange(9)[None]
    expected = convert(checkpoint, settings, feed_forward="none").model
    assert isinstance(loaded, GaugeForCausalLM) and torch.equal(loaded(ids).logits, expected(ids).logits)


def test_a_checkpoint_with_its_config_is_loaded_as_it_is(tmp_path: Path) -> None:
    checkpoint, settings = written(tmp_path, tables(), config())
    loaded = load_model(checkpoint, config=settings)
    assert loaded.source == "checkpoint" and any("not carried over" in note for note in loaded.notes)
    save_file(tables(), tmp_path / "model.safetensors")
    other = load_model(tmp_path / "model.safetensors", config=settings)
    assert torch.equal(other.model(torch.arange(9)[None]).logits, loaded.model(torch.arange(9)[None]).logits)


@pytest.mark.slow
def test_the_notes_own_usage_runs(tmp_path: Path) -> None:
    checkpoint, settings = written(tmp_path, tables(), config())
    words = ("validate", "--checkpoint", str(checkpoint), "--config", str(settings), "--seq_len", str(LENGTH))
    done = run(*words, "--preset", "quick", "--sequences", "20", "--null-models", "0")
    assert done.exit_code in (0, 1) and "[9/9]" in done.stdout.replace("9/9", "[9/9]"), done.stderr
    assert "random tokens" in done.stdout
    long = run(*words[:-1], "128")
    assert long.exit_code == 2 and "16 is the maximum" in long.stderr


@pytest.mark.parametrize("order", range(6))
def test_the_usual_generators_are_an_irrep_in_another_basis(order: int) -> None:
    found = usual_generators(order)
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        torch.testing.assert_close(found[a] @ found[b] - found[b] @ found[a], found[c])
    torch.testing.assert_close(-(found @ found).sum(0), order * (order + 1) * torch.eye(2 * order + 1).double())
    assert basis_of(found, (order,)).permutes
    turn = torch.linalg.qr(
        torch.randn(2 * order + 1, 2 * order + 1, generator=torch.Generator().manual_seed(0)).double()
    )[0]
    assert basis_of(turn @ found @ turn.T, (order,)).permutes == (order == 0)


def test_generators_in_no_such_basis_need_isotropic_variances(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    turns = [torch.linalg.qr(torch.randn(d, d, generator=draw).double())[0] for _, n, d in SPEC for _ in range(n)]
    turn = torch.block_diag(*turns)
    turned = {"generators": (turn @ note_generators(SPEC) @ turn.T).float()}
    with pytest.raises(InputRejected, match="would not stay diagonal"):
        convert(*written(tmp_path, tables(**turned), config()))
    equal = turned | {"token_embed.log_sigma_diag": torch.zeros(WIDTH)}
    model = convert(*written(tmp_path, tables(**equal), config())).model
    model.set_attn_implementation("eager")
    ids = torch.randint(0, WORDS, (1, LENGTH), generator=draw)
    expected = note_weights(tables(**equal), SPEC, KAPPA, ids, True)
    torch.testing.assert_close(
        model(ids, output_attentions=True).attentions[0].double(), expected, rtol=1e-3, atol=1e-4
    )
