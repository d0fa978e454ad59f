"""``torchrun -m heedful --parallel tensor``: heads divided over processes, the report of one; lost ranks, odd heads."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.loading import material

import heedful
from heedful.commandline.multi_process import processes_of
from heedful.errors import UsageError

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
}
KILLED = """
import os, signal, sys
import transformers.models.qwen3.modeling_qwen3 as modeling
forward, calls = modeling.Qwen3Attention.forward, []

def dying(*args, **keywords):
    calls.append(1)
    if os.environ["RANK"] == "1" and len(calls) > 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(*args, **keywords)

modeling.Qwen3Attention.forward = dying
import heedful.app
heedful.app.main(sys.argv[1:])
"""
CAPTURED = """
import sys, torch, torch.distributed as dist, transformers, heedful
from transformers.distributed import DistributedConfig

divided = len(sys.argv) > 1
options = {}
if divided:
    dist.init_process_group("gloo")
    options = {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=2)}
model = transformers.AutoModelForCausalLM.from_pretrained("model", dtype=torch.float32, **options).eval()
ids = torch.randint(3, 40, (3, 24), generator=torch.Generator().manual_seed(1))
mask = torch.ones_like(ids)
mask[1, :5] = 0

def scaled(call):
    heads = torch.arange(model.config.num_attention_heads)[:, None, None]
    return call.value.repeat_interleave(call.heads // call.kv_heads, 1) * heads

found = {}
with torch.no_grad():
    with heedful.capture(model) as session:
        model(input_ids=ids, attention_mask=mask)
    with heedful.capture(model, layers=[1], heads=[3, 0]) as part:
        model(input_ids=ids)
    with heedful.replace(model, "uniform", layers=[1], heads=[0, 3]):
        found["uniform"] = model(input_ids=ids).logits
    with heedful.replace(model, scaled):
        found["own"] = model(input_ids=ids).logits
found["heads"], found["part"] = session.heads().to_dicts(), part.heads().to_dicts()
found["map"] = session.kept.map(1, 3)[1].mean
found["not_captured"] = session.not_captured
if not divided or dist.get_rank() == 1:
    torch.save(found, f"found_{divided:d}.pt")
if divided:
    try:
        heedful.validate(model, None)
    except heedful.errors.UsageError as error:
        print(f"refused: {error}")
    dist.destroy_process_group()
"""


def save(folder: Path, **changes: Any) -> None:
    import transformers as t

    material.save_model(folder)
    size = len(material.make_backend().get_vocab())
    torch.manual_seed(1234)
    t.Qwen3ForCausalLM(t.Qwen3Config(vocab_size=size, **SIZES | changes)).save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model")
    rows = [json.dumps({"text": material.make_text(20, seed)}) for seed in range(24)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(folder: Path, processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    variables = {**os.environ, "PYTHONPATH": str(Path(heedful.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two documents differ: numbers by more than float32 explains, words at all; sentences hold numbers too."""
    if isinstance(one, dict) and isinstance(other, dict):
        odd = [f"{path}: {sorted(one.keys() ^ other.keys())}"] if one.keys() != other.keys() else []
        return odd + [
            d for key in one.keys() & other.keys() for d in differences(one[key], other[key], f"{path}/{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in differences(a, b, f"{path}/{i}")]
    if isinstance(one, float) and isinstance(other, float):
        return [] if math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4) else [f"{path}: {one} and {other}"]
    return [] if one == other or path.endswith("/reason") else [f"{path}: {one} and {other}"]


@pytest.mark.slow
def test_the_report_is_that_of_one_process(folder: Path) -> None:
    """Statistics, gradients, untrained models and ablations of layers and heads, every head under its own number."""
    words = ["-m", "heedful", "validate", "model", "--text", "a.jsonl", "--seq-len", "48", "--sequences", "24"]
    words += ["--preset", "full", "--null", "untrained", "--null-models", "2", "--json"]
    found = []
    for processes, more in ((1, []), (2, ["--parallel", "tensor"])):
        done = run(folder, processes, *words, f"{processes}.json", *more)
        assert done.returncode in (0, 1) and not errors(done), done.stderr
        found.append(json.loads((folder / f"{processes}.json").read_text()))
        found[-1].pop("run")
        for finding in found[-1]["sections"][0]["findings"]:  # kernels of divided heads are not judged by the contract
            finding["detail"] = {} if finding["claim"] == "contract_is_kept" else finding["detail"]
    assert differences(*found) == []
    assert len(found[1]["heads"]) == 8 and len({row["statistics"]["concentration"] for row in found[1]["heads"]}) == 8


@pytest.mark.slow
def test_capture_and_replace_in_a_script_of_ones_own_show_all_heads(folder: Path) -> None:
    (folder / "captured.py").write_text(CAPTURED)
    one, two = run(folder, 1, "captured.py"), run(folder, 2, "captured.py", "tensor")
    assert one.returncode == two.returncode == 0, two.stderr
    assert two.stdout.count("refused: Qwen3ForCausalLM is divided over 2 processes") == 2
    alone, divided = (torch.load(folder / f"found_{word}.pt") for word in (0, 1))
    for name in ("heads", "part"):
        assert differences(alone[name], divided[name]) == []
    assert [row["head"] for row in divided["part"]] == [3, 0] and all(row["verified"] for row in divided["heads"])
    assert alone["not_captured"] == divided["not_captured"] == {}
    for name in ("uniform", "own", "map"):
        torch.testing.assert_close(divided[name], alone[name], rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.slow
def test_check_proves_every_module_over_two_processes(folder: Path) -> None:
    words = ["-m", "heedful", "check", "model", "--text", "a.jsonl", "--seq-len", "48", "--parallel", "tensor"]
    done = run(folder, 2, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 of 2 modules captured (attention table: sdpa), 2 proved both ways") == 1


@pytest.mark.slow
def test_a_rank_lost_in_the_forward_ends_the_run_with_one_line_and_no_report(folder: Path) -> None:
    (folder / "killed.py").write_text(KILLED)
    words = ["validate", "model", "--text", "a.jsonl", "--seq-len", "48", "--parallel", "tensor", "--json", "r.json"]
    done = run(folder, 2, "killed.py", *words)
    assert done.returncode != 0 and done.stdout == ""
    message = errors(done)
    assert len(message) == 1 and ("rank 1 of 2 ended" in message[0] or "with all its ranks" in message[0]), done.stderr
    assert not (folder / "r.json").exists() and not list(folder.glob("*.tmp*"))


@pytest.mark.slow
def test_heads_that_do_not_divide_and_models_without_a_plan_are_refused_in_one_line(folder: Path) -> None:
    save(folder / "shared", num_key_value_heads=1)
    material.save_model(folder / "gpt2")
    for name, says in (
        ("shared", "4 query heads and 1 key heads do not divide evenly over 2 processes"),
        ("gpt2", "transformers has no plan to divide a GPT2LMHeadModel over processes"),
    ):
        words = ["-m", "heedful", "heads", name, "--text", "a.jsonl", "--seq-len", "48", "--parallel", "tensor"]
        done = run(folder, 2, *words)
        assert done.returncode != 0 and done.stdout == ""
        assert len(errors(done)) == 1 and says in errors(done)[0], done.stderr


def test_one_process_divides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes_of("documents") == 1
    with pytest.raises(UsageError, match="--parallel tensor: divides the model over several processes"):
        processes_of("tensor")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (processes_of("tensor"), processes_of("documents")) == (3, 1)
