"""Tokenizers that hang, grow, crash or lie, each as a ``tokenizer.json``; and what must become of them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heedful.loading.corpus import Piece
from heedful.loading.documents import Documents
from heedful.loading.sequences import make_sequences
from heedful.loading.token_encoder import TokenEncoder
from heedful.loading.tokenizer_files import load_tokenizer

TEXT = "a" * 48 + "! In the beginning    \n\n the words were many 0000000000000000000000 x"


def plain() -> dict[str, Any]:
    """A tokenizer of characters, which is harmless."""
    letters = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz \n!.0")}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "a", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": letters,
                  "merges": []},
    }  # fmt: skip


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _sequence(place: str, parts: list[Any]) -> dict[str, Any]:
    names = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}
    return {"type": "Sequence", names[place]: parts}


def trie(units: list[int], normalized: bytes) -> dict[str, Any]:
    """A precompiled table of replacements with any content."""
    table = struct.pack("<I", 4 * len(units)) + b"".join(struct.pack("<I", unit) for unit in units) + normalized
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


REGEXES = (
    r"(a+)+$", r"(a|a)*b", r"(a|aa)+$", r"(a*)*b", r"(\w+\s?)+$", r"([a-z]+)*\d", r"(.*)*x$", r"(a?){40}a{40}",
    r"(?:a+a+)+b", r"((a+)(a+))+b", r"\s*\s*\s*\s*\s*\s*x", r".*.*.*.*.*=", r"(x+x+)+y|(0+)+z", r"(?=(a+))a*b\1+c",
    r"^(([a-z])+.)+[A-Z]([a-z])+$", r"a{1,30000}{1,30000}b", r"(a{0,100}){0,100}b", r"(?<=(a|b)*)c", r"(?i)(ß|ss)+$",
    r"(((((((((a*)*)*)*)*)*)*)*)*)*b", r"(?:(?:a|b|ab)+)+c",
)  # fmt: skip


def hostile() -> Iterator[tuple[str, bytes]]:
    """Name and content of each."""
    for number, pattern in enumerate(REGEXES):
        yield f"regex {number}", _dumped(pre_tokenizer=_split(pattern))
        yield f"replace by regex {number}", _dumped(normalizer=_replace({"Regex": pattern}, "q"))
        yield f"decode by regex {number}", _dumped(decoder=_replace({"Regex": pattern}, "q"))
    doubling = _replace({"String": "a"}, "aa")
    for place in ("normalizer", "decoder"):
        yield f"{place}: doubles forty times", _dumped(**{place: _sequence(place, [doubling] * 40)})
        yield f"{place}: 50 MB for a letter", _dumped(**{place: _replace({"String": "a"}, "b" * 50_000_000)})
        yield f"{place}: something for nothing", _dumped(**{place: _replace({"String": ""}, "ab")})
        yield f"{place}: something between", _dumped(**{place: _sequence(place, [_replace({"Regex": ""}, "abc")] * 20)})
    tenfold = _sequence("normalizer", [_sequence("normalizer", [_replace({"Regex": "."}, "aaaaaaaaaa")] * 3)] * 3)
    yield "tenfold nested", _dumped(normalizer=tenfold)
    levels = [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}] * 30
    yield "bytes of bytes", _dumped(pre_tokenizer=_sequence("pre_tokenizer", levels))
    yield "prefix of 50 MB", _dumped(normalizer={"type": "Prepend", "prepend": "a" * 50_000_000})
    yield (
        "prefixes of 4 kB",
        _dumped(normalizer=_sequence("normalizer", [{"type": "Prepend", "prepend": "a" * 4000}] * 250)),
    )
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        yield f"{name} of 50 MB", _dumped(model={**plain()["model"], name: "a" * 50_000_000})
    for number in (2**31, 2**32 - 1, 2**32, 2**62, -1, 1.5, 1e300):
        vocabulary = {**plain()["model"]["vocab"], "zz": number}
        yield f"id {number}", _dumped(model={**plain()["model"], "vocab": vocabulary})
        added = {"id": number, "content": "zz", "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}  # fmt: skip
        yield f"added id {number}", _dumped(added_tokens=[added])
    yield "decoder prefix of 50 MB", _dumped(decoder={"type": "WordPiece", "prefix": "a" * 50_000_000, "cleanup": True})
    yield "decoder strips 10^9", _dumped(decoder={"type": "Strip", "content": "a", "start": 10**9, "stop": 10**9})
    yield from _tries()
    yield from _templates()
    yield (
        "unigram of ties",
        _dumped(
            model={
                "type": "Unigram",
                "unk_id": 0,
                "vocab": [["a" * n, -1.0] for n in range(1, 3000)],
                "byte_fallback": False,
            }
        ),
    )
    yield (
        "unigram unk outside",
        _dumped(model={"type": "Unigram", "unk_id": 10**6, "vocab": [["b", -1.0]], "byte_fallback": False}),
    )
    yield (
        "unigram without words",
        _dumped(model={"type": "Unigram", "unk_id": None, "vocab": [], "byte_fallback": False}),
    )
    for word in ([], [[]], "", {}, 7):
        yield f"unigram word {word}", _dumped(model={"type": "Unigram", "unk_id": None, "vocab": [["b", -1.0], word]})
    yield (
        "word of 10^9",
        _dumped(
            model={
                "type": "WordPiece",
                "unk_token": "a",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 10**9,
                "vocab": {"a": 0},
            }
        ),
    )
    yield "unknown word missing", _dumped(model={"type": "WordLevel", "unk_token": "nowhere", "vocab": {"a": 0}})
    yield "deep", b'{"normalizer":' + b'{"type":"Sequence","normalizers":[' * 5000 + b"]}" * 5000 + b"}"
    yield "many parts", _dumped(normalizer=_sequence("normalizer", [{"type": "NFKD"}] * 100_000))
    yield "merge of nothing", _dumped(model={**plain()["model"], "merges": [["q", "nowhere"]]})
    yield "dropout beyond", _dumped(model={**plain()["model"], "dropout": 1e9})
    yield "no model", b"{}"
    yield "twice", b'{"model": null, "model": ' + json.dumps(plain()["model"]).encode() + b"}"


def _tries() -> Iterator[tuple[str, bytes]]:
    leaf = 1 << 8
    for name, units, text in (
        ("empty", [], b""),
        ("one unit", [0], b"a"),
        ("offsets outside", [0xFFFFFC00] * 256, b"a"),
        ("all leaves", [leaf | (number & 0xFF) for number in range(256)] + [0x7FFFFFFF] * 256, b"a"),
        ("values outside", [(1 << 10)] + [leaf | (number & 0xFF) | (1 << 10) for number in range(511)], b"a" * 3),
        ("long replacement", [(1 << 10)] + [leaf | number & 0xFF for number in range(511)], b"b" * 5_000_000),
        ("half characters", [(1 << 10)] + [leaf | number & 0xFF for number in range(511)], "é中".encode()[1:]),
    ):
        yield f"trie: {name}", _dumped(normalizer=trie(units, text))
    yield (
        "trie: size lies",
        _dumped(
            normalizer={
                "type": "Precompiled",
                "precompiled_charsmap": base64.b64encode(b"\xff\xff\xff\xff" + b"a" * 8).decode(),
            }
        ),
    )
    yield "trie: cut", _dumped(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAA="})
    yield "trie: not base64", _dumped(normalizer={"type": "Precompiled", "precompiled_charsmap": "%%%"})


def _templates() -> Iterator[tuple[str, bytes]]:
    mark = {"SpecialToken": {"id": "a", "type_id": 0}}
    body = {"Sequence": {"id": "A", "type_id": 0}}
    for name, pieces, ids in (("of pieces", 200_000, 1), ("of ids", 1, 2_000_000), ("of both", 20_000, 100_000)):
        template = {
            "type": "TemplateProcessing", "single": [mark] * pieces + [body], "pair": [mark, body, body],
            "special_tokens": {"a": {"id": "a", "ids": [0] * ids, "tokens": ["a"] * ids}},
        }  # fmt: skip
        yield f"template {name}", _dumped(post_processor=template)


def _dumped(**parts: Any) -> bytes:
    return json.dumps({**plain(), **parts}).encode()


def use(folder: Path, text: str = TEXT) -> None:
    """Everything that heedful does with a tokenizer: load, encode by both ways, decode."""
    tokenizer, _ = load_tokenizer(folder)
    documents = Documents(texts=(text,) * 3, names=("one", "two", "three"), origin="text", notes=())
    make_sequences(documents, tokenizer, seq_len=16, sequences=2, seed=0)
    encoder = TokenEncoder(tokenizer, "tokenizer")
    list(encoder.encode([Piece(text, 0, len(text), True, None)], 1))


Use = Callable[[Path], None]
