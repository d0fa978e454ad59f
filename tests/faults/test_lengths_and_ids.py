"""S20, F13, F15, F16, F26: lengths, counts, token ids, dtypes and devices that cannot be."""

from pathlib import Path

import pytest
import torch
from tests.loading import material

from heedful.loading.documents import Documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import make_sequences

pytestmark = pytest.mark.fault


def corpus() -> Documents:
    texts = tuple(material.make_text(10, seed) for seed in range(20))
    return Documents(names=tuple(f"d{i}" for i in range(20)), texts=texts, origin="made here")


@pytest.mark.parametrize(
    ("seq_len", "sequences", "code"),
    [
        (10**9, 64, 4), (128, 10**9, 4), (10**18, 10**18, 4), (0, 64, 2), (-1, 64, 2), (128, 0, 2), (128, -5, 2),
        (1.5, 64, 2), (True, 64, 2), (1, 64, 2),
    ],
)  # fmt: skip
def test_s20_counts_that_cannot_be_are_refused_at_once(seq_len: int, sequences: int, code: int) -> None:
    tokenizer = material.make_tokenizer()
    call = lambda: make_sequences(corpus(), tokenizer, seq_len=seq_len, sequences=sequences)  # noqa: E731
    material.refused(call, code, seconds=1)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9])
def test_f13_short_sequences_are_made(length: int) -> None:
    batch = make_sequences(corpus(), material.make_tokenizer(before=None), seq_len=length, sequences=4)
    assert batch.input_ids.shape == (4, length)


def test_f15_learned_positions_are_a_limit_and_rotary_ones_a_note(tmp_path: Path) -> None:
    for family, limit in (("gpt2", 64), ("llama", 32)):
        loaded = load_model(material.save_model(tmp_path / family, family))
        bounds = {"max_positions": loaded.max_positions, "trained_positions": loaded.trained_positions}
        batch = make_sequences(corpus(), loaded.tokenizer, seq_len=limit, sequences=2, **bounds)
        assert loaded.model(batch.input_ids).logits.shape[1] == limit and not batch.notes
        call = lambda: make_sequences(corpus(), loaded.tokenizer, seq_len=limit + 1, sequences=2, **bounds)  # noqa: B023,E731
        if family == "gpt2":
            material.refused(call, 2, "--seq-len 65", "64 is the maximum")
        else:
            assert any("extrapolation" in note for note in call().notes)


def test_f16_a_token_the_model_does_not_embed_is_refused() -> None:
    material.refused(
        lambda: make_sequences(corpus(), material.make_tokenizer(), seq_len=8, vocab_size=20), 3, "embeds 20 tokens"
    )


def test_f16_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = material.save_model(tmp_path)
    model = material.make_model()
    small = type(model)(type(model.config)(**{**model.config.to_dict(), "vocab_size": 30}))
    small.save_pretrained(folder)
    material.refused(lambda: load_model(folder), 3, "its tokenizer knows 45 tokens, the model embeds 30")


def test_f16_without_a_tokenizer_no_ids_are_made_up(tmp_path: Path) -> None:
    loaded = load_model(material.save_model(tmp_path, tokenizer=False))
    assert loaded.tokenizer is None and "no tokenizer.json, vocab.txt or vocab.json found" in loaded.notes
    material.refused(lambda: make_sequences(corpus(), loaded.tokenizer), 3, "no tokenizer", "--tokenizer")


@pytest.mark.parametrize("device", ["cuda:63", "meta", "tpu", "cpu:1", "mps:1", "cuda:256"])
def test_f26_a_device_that_is_absent_is_a_usage_error(device: str, tmp_path: Path) -> None:
    material.refused(lambda: load_model(tmp_path / "never looked at", device=device), 2, "device")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_f26_cuda_without_cuda_says_what_to_do(tmp_path: Path) -> None:
    material.refused(lambda: load_model(tmp_path, device="cuda"), 2, "0 cuda devices", "--device cpu")


@pytest.mark.parametrize("dtype", ["int8", "float8", "torch.float32", "", "hub"])
def test_f26_a_dtype_that_is_none_is_a_usage_error(dtype: str, tmp_path: Path) -> None:
    material.refused(lambda: load_model(tmp_path, dtype=dtype), 2, "dtype")


def test_f26_tensors_without_data_are_refused(tmp_path: Path) -> None:
    _, config = material.save_checkpoint(tmp_path)
    state = {key: value.to("meta") for key, value in material.make_model().state_dict().items()}
    torch.save(state, tmp_path / "meta.pt")
    material.refused(lambda: load_model(tmp_path / "meta.pt", config=config), 3, "meta.pt")
