"""Beliefs in the tracker's table: those of the pairwise definition, named by irrep, of a model that has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.monitoring.tracker.material import qwen

from heedful.gauge.beliefs import divergences
from heedful.gauge.model.attention.gauge_kl import canonical
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.gauge.tracked_beliefs import belief_line, belief_rows, belief_sums
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.table import read_table
from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vectors import Sample


def gauge() -> GaugeForCausalLM:
    torch.manual_seed(3)
    model = GaugeForCausalLM(GaugeConfig(irreps="2x0e + 1x1e", vocab_size=50))
    torch.nn.init.normal_(model.model.beliefs.log_variance.weight)
    return model.eval()


def sums_of(model: torch.nn.Module, ids: torch.Tensor) -> Sums:
    found: list[Sums] = []
    with torch.no_grad(), intercept(model, lambda event: found.append(belief_sums(event, Sample(), 0))):  # type: ignore[func-returns-value]
        model(ids)
    return found[0]


def test_rows_are_those_of_all_pairs() -> None:
    model, ids = gauge(), torch.randint(0, 50, (3, 24), generator=torch.Generator().manual_seed(1))
    rows = belief_rows(sums_of(model, ids))
    beliefs, frames = model.model.beliefs(ids, torch.arange(24).expand(3, -1))
    earlier = torch.ones(24, 24, dtype=torch.bool).tril(-1)
    head = 0
    for group in canonical(model.model.layout, beliefs, frames):
        for copy in range(group.mean.shape[1]):
            apart = divergences(group, group)[:, copy][:, earlier]
            distance = torch.cdist(group.mean, group.mean)[:, copy][:, earlier]
            expected = {"kl_mean": apart.mean(), "kl_sd": apart.std(correction=0), "kl_min": apart.min(),
                        "kl_max": apart.max(), "mean_distance": distance.mean(),
                        "variance_mean": group.log_variance[:, copy].exp().mean(),
                        "variance_min": group.log_variance[:, copy].exp().min(),
                        "variance_max": group.log_variance[:, copy].exp().max()}  # fmt: skip
            assert rows[head] == {
                name: pytest.approx(value.item(), rel=1e-3, abs=1e-4) for name, value in expected.items()
            }
            head += 1
    assert head == len(rows) == 3


def test_shards_merge_to_the_whole() -> None:
    model, ids = gauge(), torch.randint(0, 50, (4, 24), generator=torch.Generator().manual_seed(1))
    whole, parts = belief_rows(sums_of(model, ids)), [sums_of(model, part) for part in ids.split(2)]
    for one, other in zip(whole, belief_rows(parts[0].merged(parts[1])), strict=True):
        assert one == pytest.approx(other)


def test_a_tracked_run_has_them_by_irrep_and_others_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = gauge().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.randint(0, 50, (4, 24), generator=torch.Generator().manual_seed(1))
    with AttentionTracker(model, out=tmp_path / "run", every=2, optimizer=optimizer) as tracker:
        for _ in range(2):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
    table = read_table(tmp_path / "run")
    for part in ("attention", "beliefs"):
        named = table.filter((table["part"] == part) & (table["step"] == 2))
        assert named["irrep"].to_list() == ["l0", "l0", "l1"]
    assert table.filter(table["part"] == "beliefs")["kl_mean"].min() > 0
    step = table.filter((table["part"] == "step") & (table["step"] == 2))
    assert step["angle_spread"].item() == pytest.approx(0.3 / 3**0.5, rel=0.3) and step["gradient_spikes"].item() == 0
    said = capsys.readouterr().out.splitlines()
    lines = [line for line in said if "phi 0." in line]
    assert len(lines) == 2 and all(len(line) <= 80 and "KL " in line and "sigma " in line for line in lines)
    heads = [line for line in said if line.startswith("  L0H")][-3:]
    assert [line.split()[:3] for line in heads] == [
        ["L0H0", "l0", "row_std"],
        ["L0H1", "l0", "row_std"],
        ["L0H2", "l1", "row_std"],
    ]
    deviations = table.filter((table["part"] == "attention") & (table["step"] == 2))["row_std_seed"]
    assert [float(line.split()[3]) for line in heads] == pytest.approx(deviations.to_list(), rel=0.06)
    beliefs = table.filter((table["part"] == "beliefs") & (table["step"] == 2))
    assert all(
        f"KL {row['kl_mean']:.2g}±" in line for row, line in zip(beliefs.iter_rows(named=True), heads, strict=True)
    )
    assert belief_line([{"part": "step"}]) == ""
    assert belief_rows(Sums({}, {})) == []


def test_a_call_without_beliefs_has_no_sums() -> None:
    events: list[AttentionEvent] = []
    plain = qwen()
    with torch.no_grad(), intercept(plain, lambda event: events.append(event)):  # type: ignore[func-returns-value]
        plain(torch.randint(0, 20, (2, 12)))
    assert belief_sums(events[0], Sample(), 0).added == {}
