"""F27: models as training leaves them: compiled, parallel, sharded, frozen, tied, quantised."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.distributed as dist
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.material import tiny_gpt2, tiny_llama
from tests.faults.test_in_process import alike, judged, overall, sharp, statistics
from tests.interception.state import digest
from torch import nn

from heedful import capture
from heedful.errors import HeedfulError, InputRejected
from heedful.evaluation.batches import batches_of
from heedful.evaluation.nine_sections import head_rows
from heedful.evaluation.result import Report
from heedful.evaluation.running import unwrapped
from heedful.inference.verdict import Verdict

pytestmark = pytest.mark.fault
IDS = random_ids(4, 24)


@pytest.fixture
def process_group() -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def same_report(one: Report, other: Report) -> None:
    assert repr(one.sections) == repr(other.sections) and repr(one.heads) == repr(other.heads)
    assert one.model["class"] == other.model["class"]


def in_parallel(model: nn.Module) -> nn.Module:
    return nn.DataParallel(model)


def distributed(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def compiled_blocks(model: nn.Module) -> nn.Module:
    for index, block in enumerate(model.transformer.h):
        model.transformer.h[index] = torch.compile(block, backend="eager")
    return model


@pytest.mark.parametrize("wrap", [in_parallel, distributed, compiled, compiled_in_place])
def test_f27_a_wrapped_model_gets_the_report_of_the_model_inside(
    wrap: Callable[[nn.Module], nn.Module], process_group: None
) -> None:
    plain, wrapped = sharp(tiny_gpt2()), wrap(sharp(tiny_gpt2()))
    before, training = digest(wrapped), wrapped.training
    report = judged(wrapped, IDS)
    same_report(report, judged(plain, IDS))
    assert digest(wrapped) == before and wrapped.training is training
    assert any("the model inside is judged" in note for note in report.model["notes"]) is (
        wrap is not compiled_in_place
    )
    assert repr(head_rows(wrapped, sequences_of(IDS))) == repr(head_rows(plain, sequences_of(IDS)))


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_f27_other_compilers_are_passed_by_as_well(backend: str) -> None:
    model = torch.compile(sharp(tiny_gpt2()), backend=backend)
    with torch.no_grad():
        before = model(IDS).logits
    same_report(judged(model, IDS), judged(sharp(tiny_gpt2()), IDS))
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, before)


def test_f27_wrappers_are_taken_off_in_any_order() -> None:
    model = tiny_gpt2()
    inside, notes = unwrapped(nn.DataParallel(torch.compile(nn.DataParallel(model), backend="eager")))
    assert inside is model and [note.split(":")[0] for note in notes] == [
        "DataParallel",
        "OptimizedModule",
        "DataParallel",
    ]
    assert unwrapped(model) == (model, [])


def test_f27_blocks_compiled_one_by_one_are_judged_as_written() -> None:
    found, plain = judged(compiled_blocks(sharp(tiny_gpt2())), IDS), judged(sharp(tiny_gpt2()), IDS)
    assert [(r.verdict, r.statistics) for r in found.heads] == [(r.verdict, r.statistics) for r in plain.heads]
    assert {c: f.verdict for c, f in overall(found).items()} == {c: f.verdict for c, f in overall(plain).items()}


def test_f27_a_data_parallel_model_is_captured_under_its_wrapper() -> None:
    text, model = sequences_of(IDS), sharp(tiny_gpt2())
    plain = statistics(model, batches_of(model, text, 2048))
    wrapped = nn.DataParallel(model)
    alike(plain, statistics(wrapped, batches_of(wrapped, text, 2048)))


def test_f27_a_sharded_model_is_refused_for_a_report_and_captured_as_it_runs(process_group: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = sharp(tiny_gpt2())
    with capture(model) as alone, torch.no_grad():
        model(IDS)
    mesh = init_device_mesh("cpu", (1,))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for door in (lambda: judged(model, IDS), lambda: head_rows(model, sequences_of(IDS))):
        with pytest.raises(InputRejected, match=r"unsupported: sharded parameters \(FSDP\)") as caught:
            door()
        assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    with capture(model) as session, torch.no_grad():
        model(IDS)
    assert session.heads().equals(alone.heads())


def test_f27_frozen_parameters_are_no_failure() -> None:
    model = sharp(tiny_gpt2()).requires_grad_(False)
    found = overall(judged(model, IDS))["gradients_reach_attention"]
    assert found.verdict is Verdict.SKIP and "frozen" in found.reason


def test_f27_tied_weights_stay_tied_and_are_counted_once() -> None:
    model = tiny_gpt2()
    assert model.lm_head.weight is model.transformer.wte.weight
    report = judged(model, IDS)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert report.model["parameters"] == sum(p.numel() for p in model.parameters())


def test_f27_dynamically_quantised_linear_layers_are_measured() -> None:
    model = sharp(tiny_llama())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao says that it moves to torchao
        quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    report = judged(quantised, IDS)
    found = overall(report)
    assert {found[c].verdict for c in ("rows_sum_to_one", "attention_is_finite", "capture_matches_output")} == {
        Verdict.PASS
    }
    assert len(report.heads) == 8
    skipped = found["gradients_reach_attention"]
    assert skipped.verdict is Verdict.SKIP and "no parameters of their own" in skipped.reason
    near = [
        abs(a.statistics["concentration"] - b.statistics["concentration"])
        for a, b in zip(report.heads, judged(model, IDS).heads, strict=True)
    ]
    assert 0 < max(near) < 0.1


def test_f27_torchao_weights_are_measured_or_refused_in_one_line() -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    model = sharp(tiny_llama())
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    try:
        found = overall(judged(model, IDS))
    except HeedfulError as error:
        assert error.exit_code == 3 and "\n" not in str(error)  # noqa: PT017
    else:
        assert found["capture_matches_output"].verdict is Verdict.PASS
