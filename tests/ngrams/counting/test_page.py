from heedful.loading.corpus import TextFile
from heedful.ngrams.counting.manifest import Manifest, TableFacts
from heedful.ngrams.counting.page import count_text


def manifest(**other: object) -> Manifest:
    tables = (
        TableFacts(n=0, skip=0, total=900_000_000, contexts=1, pairs=40_000, once=9, files=()),
        TableFacts(n=1, skip=0, total=899_999_000, contexts=40_000, pairs=12_600_000, once=6_300_000, files=()),
        TableFacts(n=3, skip=11, total=0, contexts=0, pairs=0, once=0, files=()),
    )
    facts = {
        "complete": True,
        "tokenizer": "smol\x1b[31m",
        "fingerprint": "0123456789abcdef" * 4,
        "vocabulary": 50_000,
        "documents_are": "auto",
        "texts": tuple(TextFile(f"{number}.txt", 1000, "") for number in range(5)),
        "n": (1, 3),
        "skips": (0, 11),
        "shard_bytes": (5000,),
        "documents": 1,
        "tokens": 900_000_000,
        "unknown": 12,
        "tables": tables,
        "notes": ("a note",),
    }
    return Manifest(**{**facts, **other})  # type: ignore[arg-type]


def test_a_page() -> None:
    text = count_text(manifest(), 10.0)
    assert max(map(len, text.splitlines())) <= 70 and "\x1b" not in text
    words = " ".join(text.split())
    assert "0.txt, 1.txt, 2.txt and 2 more: 5,000 bytes, 1 document" in words
    assert "900,000,000; 40,000 of the 50,000 seen; 12 unknown" in words
    assert "90,000,000 tokens a second, 10.0 s" in words
    # half of the pairs stood once; 6.3 of 900 million positions; 12.6 million of 40,000 x 50,000
    assert "1 0 899,999,000 40,000 12,600,000 50.0 % 99.3 % 0.63 %" in words
    assert "3 11 0 0 0 - - -" in words and "note: a note" in words


def test_no_speed_where_it_is_not_known() -> None:
    assert "tokens a second" not in count_text(manifest())
