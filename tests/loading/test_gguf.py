import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.loading import material

from heedful.loading.gguf import read_gguf_header
from heedful.loading.loaded_model import load_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of one layer as llama.cpp writes it."""
    import gguf

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    words = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "\u2581a", "ab"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    draw = np.random.default_rng(0)
    shapes = {
        "token_embd": (8, 8),
        "output": (8, 8),
        "output_norm": (8,),
        "blk.0.attn_norm": (8,),
        "blk.0.ffn_norm": (8,),
    }
    shapes |= {f"blk.0.attn_{name}": (8, 8) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (16, 8), "blk.0.ffn_up": (16, 8), "blk.0.ffn_down": (8, 16)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_gives_model_and_tokenizer(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load_model(tiny)
    assert loaded.source == "gguf" and loaded.model.dtype is torch.float32 and not loaded.model.training
    assert loaded.tokenizer is not None and loaded.vocab_size == 8
    assert loaded.model(torch.tensor([[1, 4, 5]])).logits.isfinite().all()
    assert capfd.readouterr() == ("", "")


def test_siblings_of_the_file_are_not_looked_at(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(tiny.read_bytes())
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "evil"}')
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "evil.Evil"}}')
    assert load_model(tmp_path / "x.gguf").vocab_size == 8


def test_a_config_does_not_go_with_it(tiny: Path, tmp_path: Path) -> None:
    material.refused(lambda: load_model(tiny, config=tmp_path / "c.json"), 2, "brings its own config")


def test_cut_and_flipped_files_are_refused_or_load(tiny: Path, tmp_path: Path) -> None:
    content, draw = tiny.read_bytes(), random.Random(0)
    for step in range(10):
        (tmp_path / "x.gguf").write_bytes(content[: len(content) * step // 10])
        material.refused(lambda: load_model(tmp_path / "x.gguf"), 3)
    for _ in range(20):
        broken = bytearray(content)
        broken[draw.randrange(len(content) // 3)] ^= 1 << draw.randrange(8)
        (tmp_path / "x.gguf").write_bytes(broken)
        material.unhurt(lambda: load_model(tmp_path / "x.gguf"))


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(
    settings: list[bytes], tensors: list[bytes], *, version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    number = counts or (len(tensors), len(settings))
    return b"GGUF" + struct.pack("<IQQ", version, *number) + b"".join(settings) + b"".join(tensors)


ARCHITECTURE = text("general.architecture") + struct.pack("<I", 8) + text("llama")
WORDS = text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
NUMBERS = text("numbers") + struct.pack("<IIQ", 9, 4, 3) + bytes(12)
TENSOR = text("w") + struct.pack("<IQQIQ", 2, 3, 5, 0, 0)
BLOCKS = text("llama.block_count") + struct.pack("<II", 4, 2)
BLOCK = text("blk.0.w") + struct.pack("<IQIQ", 1, 3, 0, 0)


def read(content: bytes, tmp_path: Path) -> object:
    (tmp_path / "a.gguf").write_bytes(content)
    return read_gguf_header(tmp_path / "a.gguf")


def test_architecture_and_size_are_read(tmp_path: Path) -> None:
    header = read(gguf([WORDS, ARCHITECTURE, NUMBERS], [TENSOR, TENSOR]), tmp_path)
    assert (header.architecture, header.elements) == ("llama", 30)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"GGUF", 3, "truncated"),
        (gguf([], [], version=1), 3, "version 1"),
        (gguf([], [], version=1 << 24), 3, "version"),
        (gguf([], [], counts=(1 << 60, 0)), 4, "100,000"),
        (gguf([], [], counts=(0, 1 << 60)), 4, "100,000"),
        (gguf([text("llama.block_count") + struct.pack("<II", 4, 10**9)], []), 4, "llama.block_count = 1000000000"),
        (gguf([BLOCKS], [BLOCK, TENSOR]), 3, "tell of 2 blocks, its tensors of 1, up to 0"),
        (gguf([], [BLOCK]), 3, "tell of 0 blocks"),
        (gguf([ARCHITECTURE], [], counts=(5, 1)), 3, "truncated"),
        (gguf([struct.pack("<Q", 1 << 60)], []), 3, "truncated"),
        (gguf([text("a") + struct.pack("<I", 77)], []), 3, "unknown type 77"),
        (gguf([text("a") + struct.pack("<IIQ", 9, 4, 1 << 60)], []), 3, "truncated"),
        (gguf([text("a") + struct.pack("<IIQ", 9, 8, 1 << 60)], []), 3, "truncated"),
        (gguf([text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9], []), 3, "unknown type 9"),
        (gguf([], [text("w") + struct.pack("<I", 1 << 20)]), 3, "dimensions"),
        (gguf([], [text("w") + struct.pack("<IQIQ", 1, 3, 0, 1 << 60)]), 3, "truncated"),
        (gguf([text("general.architecture") + struct.pack("<IQ", 8, 1) + b"\xff"], []), 3, "damaged"),
    ],
)
def test_malformed_headers_are_refused(content: bytes, code: int, says: str, tmp_path: Path) -> None:
    material.refused(lambda: read(content, tmp_path), code, says, seconds=1)
