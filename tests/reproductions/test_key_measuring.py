"""What claims on keys are judged on: scaled keys and queries leave attention as it is; pairs are those of the keys."""

from __future__ import annotations

from pathlib import Path

import polars
import torch
from reproductions.keys import tables
from reproductions.keys.measuring import mean_cosine, measure_heads, rescaled, sampled_cosines, ten_pair_errors

from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.model.decoder_config import HeedfulDecoderConfig

WINDOWS = torch.randint(32, (8, 24), generator=torch.Generator().manual_seed(0)).tolist()


def decoder() -> HeedfulDecoderForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
    model = HeedfulDecoderForCausalLM(HeedfulDecoderConfig(num_hidden_layers=2, num_key_value_heads=2, **sizes))
    for name, parameter in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            torch.nn.init.uniform_(parameter, 1.0, 3.0)
    return model.eval()


def test_scaled_keys_and_queries_change_norms_and_no_attention(tmp_path: Path) -> None:
    model = decoder()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = rescaled(model, seed=1)
    ids = torch.tensor(WINDOWS)
    assert torch.allclose(model(input_ids=ids).logits, other(input_ids=ids).logits, atol=1e-5)
    for name, one in (("heads", model), ("rescaled", other)):
        measure_heads(one, WINDOWS, tmp_path / name)
    first, second = (tables.key_heads(tables.records(tmp_path / name)) for name in ("heads", "rescaled"))
    assert torch.allclose(*(torch.tensor(one["entropy_share"].to_list()) for one in (first, second)), atol=1e-5)
    ratio = (second["norm_mean"] / first["norm_mean"]).to_numpy()
    assert (abs(ratio - 1) > 0.01).all() and abs(ratio[0] - ratio[1]) < 1e-5 and abs(ratio[0] - ratio[2]) > 0.01
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_key_head_has_the_mean_of_the_query_heads_that_use_it(tmp_path: Path) -> None:
    measure_heads(decoder(), WINDOWS, tmp_path)
    table = tables.records(tmp_path)
    keys, queries = tables.key_heads(table), tables.query_heads(table)
    assert (keys.height, queries.height) == (4, 8) and table["step"].n_unique() == 2
    shared = queries.filter((polars.col("layer") == 1) & polars.col("head").is_in([2, 3]))["sink_mass"].to_numpy()
    found = keys.filter((polars.col("layer") == 1) & (polars.col("head") == 1))["sink_mass"].to_numpy()
    assert abs(found[0] - shared.mean()) < 1e-6


def test_few_pairs_are_right_on_average_and_err_as_their_number_says() -> None:
    keys = torch.randn(3, 40, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(keys, dim=-1)
    every = [float(unit[h, i] @ unit[h, j]) for h in range(3) for i in range(40) for j in range(40) if i != j]
    assert abs(mean_cosine(keys) - sum(every) / len(every)) < 1e-5
    few, many = (sampled_cosines(keys, pairs, 2000) for pairs in (10, 160))
    assert 3 < float(few.std() / many.std()) < 4.5  # self-pairs included, as in the study
    assert torch.allclose(sampled_cosines(torch.ones(1, 5, 4), 10, 3), torch.ones(3))


def test_the_error_of_ten_pairs_is_that_of_a_models_keys() -> None:
    errors = ten_pair_errors(decoder(), WINDOWS, draws=200)
    assert len(errors) == 2 and all(0.02 < error < 1 for error in errors)
    assert not any(module._forward_hooks for module in decoder().modules())
