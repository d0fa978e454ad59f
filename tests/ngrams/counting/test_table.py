import numpy as np
import pytest
from tests.ngrams.counting import material
from tests.oracles import ngram_loops as loops

from heedful.errors import UsageError
from heedful.loading.corpus import TokenPiece
from heedful.ngrams.counting.packing import Tokens, count_pairs
from heedful.ngrams.counting.table import CountTable


def table_of(documents: list[list[int]], n: int, skip: int, vocabulary: int = 12) -> CountTable:
    tokens = Tokens.of(TokenPiece(np.array(document, dtype=np.uint32)) for document in documents)
    return CountTable.of(count_pairs(tokens, n, skip, vocabulary), n, skip, vocabulary)


def test_a_written_out_example() -> None:
    """``a b a b c``: after a comes b twice; after b comes a once and c once."""
    table = table_of([[0, 1, 0, 1, 2]], 1, 0, 3)
    assert table.contexts.tolist() == [[0], [1]]
    assert table.matrix.toarray().tolist() == [[0, 2, 0], [1, 0, 1]]
    assert table.context_counts.tolist() == [2, 2] and table.next_counts.tolist() == [1, 2, 1]
    assert table.conditional().toarray().tolist() == [[0, 1, 0], [0.5, 0, 0.5]]
    assert table.total == 4


@pytest.mark.parametrize(("n", "skip"), [(1, 0), (1, 2), (2, 0), (2, 1), (3, 0)])
def test_expected_attention_comes_out_of_it(n: int, skip: int) -> None:
    documents = material.zipf(20, 30, 12)
    table = table_of(documents, n, skip)
    tokens = documents[3]
    wanted = loops.expected_attention(documents, tokens, n, skip)
    contexts = [tokens[end - n + 1 : end + 1] for end in range(n - 1, len(tokens))]
    rows = table.rows_of(contexts)
    conditional = table.conditional()
    assert len(tokens) > 10 and (rows >= 0).any()
    for end, row in enumerate(rows, n - 1):
        found = np.zeros(end + 1)
        if row >= 0:
            found = conditional[[row]].toarray()[0][tokens[: end + 1]]
            found = found / found.sum() if found.sum() else found
        np.testing.assert_allclose(found, wanted[end], atol=1e-15)


def test_rows_of_contexts() -> None:
    table = table_of([[5, 1, 5, 2], [11, 5]], 1, 0)
    assert table.rows_of([[11], [5], [2], [0]]).tolist() == [2, 1, -1, -1]
    assert table.rows_of([]).tolist() == []
    for wrong in ([[12]], [[-1]]):
        with pytest.raises(UsageError, match=r"token id (12|-1) is outside the vocabulary of 12 tokens"):
            table.rows_of(wrong)
    with pytest.raises(UsageError, match="expected contexts of 1 tokens"):
        table.rows_of([[1, 2]])


def test_nothing_was_observed() -> None:
    table = table_of([[1]], 2, 0)
    assert table.matrix.shape == (0, 12) and table.contexts.shape == (0, 2) and table.total == 0
    assert table.rows_of([[1, 2]]).tolist() == [-1] and table.conditional().shape == (0, 12)
