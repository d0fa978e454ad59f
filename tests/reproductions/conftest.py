from collections.abc import Iterator

import pytest
from reproductions.published import CLAIMS


@pytest.fixture
def no_claims() -> Iterator[None]:
    """A registry that is empty, and is as it was afterwards."""
    kept = dict(CLAIMS)
    CLAIMS.clear()
    yield
    CLAIMS.clear()
    CLAIMS.update(kept)
