from pathlib import Path

import pytest
from tests.loading import material

from heedful.loading import memory
from heedful.loading.memory import ensure_fits


def test_some_memory_is_free_and_a_kilobyte_fits() -> None:
    assert memory.available_bytes() > 1 << 20
    ensure_fits(1024, "a kilobyte")


def test_what_does_not_fit_is_refused_with_both_sizes() -> None:
    message = material.refused(
        lambda: ensure_fits(10**18, "the weights", hint="take fewer"), 4, "the weights", "take fewer"
    )
    assert "888 PiB" in message and "60%" in message


def test_the_least_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: 1000)
    monkeypatch.setattr(memory, "_cgroup", lambda: 100)
    assert memory.available_bytes() == 100
    ensure_fits(60, "just enough")
    material.refused(lambda: ensure_fits(61, "too much"), 4)


def test_a_control_group_counts_with_what_it_can_give_back(tmp_path: Path) -> None:
    for name, text in {
        "memory.max": "1000\n",
        "memory.current": "900\n",
        "memory.stat": "anon 5\ninactive_file 300\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert memory._free_bytes(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_bytes(tmp_path) == memory._UNLIMITED


@pytest.mark.parametrize(
    ("count", "words"), [(512, "512 B"), (1536, "1.5 KiB"), (3 << 30, "3 GiB"), (1 << 61, "2 EiB")]
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert memory.in_units(count) == words


def test_a_gpu_reports_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (1000, 2000))
    ensure_fits(600, "just enough", device="cuda:1")
    material.refused(lambda: ensure_fits(601, "too much", device="cuda:1"), 4, "cuda:1")


def test_an_address_space_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 62, -1))
    assert 0 < memory._address_space() < 1 << 62
