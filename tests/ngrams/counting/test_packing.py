import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ngrams.counting import material
from tests.oracles import ngram_loops as loops

from heedful.errors import UsageError
from heedful.loading.corpus import TokenPiece
from heedful.ngrams.counting.packing import Tokens, bits_of, check_fits, count_pairs, pack, unpack
from heedful.ngrams.counting.reading import CountTable


def tokens_of(documents: list[list[int]]) -> Tokens:
    return Tokens.of(TokenPiece(np.array(document, dtype=np.uint32)) for document in documents)


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=9), max_size=6),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([5, 300, 70_000, 2_000_000]),
)
def test_pairs_are_those_of_the_loops(documents: list[list[int]], n: int, skip: int, vocabulary: int) -> None:
    """With 70,000 ids and n = 3 a pair needs two words; with 2 million n = 4 does not fit at all."""
    scale = (vocabulary - 1) // 4
    scaled = [[token * scale for token in document] for document in documents]
    if n * bits_of(vocabulary) > 63:
        with pytest.raises(UsageError, match="at most 3"):
            count_pairs(tokens_of(scaled), n, skip, vocabulary)
        return
    table = CountTable.of(count_pairs(tokens_of(scaled), n, skip, vocabulary), n, skip, vocabulary)
    assert material.as_counter(table) == loops.pair_counts(scaled, n, skip)


def test_the_past_of_a_piece_is_not_counted_again() -> None:
    whole = np.array([3, 1, 4, 1, 5, 2, 6], dtype=np.uint32)
    pieces = [TokenPiece(whole[:4]), TokenPiece(whole[1:], own=3, opens=False)]
    for n, skip in ((0, 0), (1, 0), (1, 1), (2, 0), (3, 0)):
        table = CountTable.of(count_pairs(Tokens.of(pieces), n, skip, 8), n, skip, 8)
        assert material.as_counter(table) == loops.pair_counts([whole.tolist()], n, skip)


@pytest.mark.parametrize("vocabulary", [1 << 16, (1 << 16) + 1, 1 << 17, 1 << 21])
@pytest.mark.parametrize("n", [2, 3])
def test_contexts_that_differ_in_their_highest_bit_alone(n: int, vocabulary: int) -> None:
    """Three ids of 16 bits and a token are one word of 64; of 17 bits they are more than one."""
    highest = 1 << (bits_of(vocabulary) - 1)
    firsts = [first for first in (0, highest, 3, highest | 3, highest >> 3, highest) if first < vocabulary]
    documents = [[first, *range(5, 5 + n)] for first in firsts]
    table = CountTable.of(count_pairs(tokens_of(documents), n, 0, vocabulary), n, 0, vocabulary)
    assert material.as_counter(table) == loops.pair_counts(documents, n, 0)
    assert len(table.contexts) == len(set(firsts)) > 3


@pytest.mark.parametrize(("vocabulary", "bits"), [(1, 1), (2, 1), (3, 2), (256, 8), (257, 9), (50_257, 16)])
def test_bits_of_a_token(vocabulary: int, bits: int) -> None:
    assert bits_of(vocabulary) == bits


def test_packing_keeps_the_order_of_the_text() -> None:
    ids = np.array([50_256, 0, 7, 50_256], dtype=np.uint32)
    packed = pack(ids, 3, 16)[2:].astype(np.int64)
    assert unpack(packed, 3, 16).tolist() == [[50_256, 0, 7], [0, 7, 50_256]]
    check_fits(3, 1 << 21)
    with pytest.raises(UsageError, match=r"--n 4: contexts of 4 tokens do not fit into 63 bits with 70,000 .*most 3"):
        check_fits(4, 70_000)
