"""Natural wrong calls of the public functions: each gets one line that says what was expected and what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

import heedful
from heedful import testing
from heedful.errors import HeedfulError
from heedful.loading.loaded_model import LoadedModel

pytestmark = pytest.mark.fault

VISIBILITY = "visibility: expected 'causal', 'bidirectional', a bool tensor"
COUNTS = "counts: expected the folder that heedful.count wrote"
MODEL = "model: expected a torch module, what load_model gives, a path, or None"

CALLS: dict[str, str] = {
    # measure, AttentionCall and rules
    "heedful.measure('q', 'k')": "query: expected a tensor or a numpy array, got str",
    "heedful.measure(None, q)": "query: expected a float tensor (batch, head, position, dim), got None",
    "heedful.measure(q[0], q[0])": "query: expected a float tensor (batch, head, position, dim), got (2, 5, 8) float32",
    "heedful.measure(q.long(), q)": "query: expected a float tensor",
    "heedful.measure(np.array([object()]), q)": "query: expected a tensor, got a ndarray that is none",
    "heedful.measure(q, q, visibility='casual')": VISIBILITY,
    "heedful.measure(q, q, visibility=True)": VISIBILITY,
    "heedful.measure(q, q, visibility=heedful.causal)": "got the function causal (call it)",
    "heedful.measure(q, q, visibility=torch.zeros(5, 5))": "expected a bool tensor (True = visible), got torch.float32",
    "heedful.measure(q, q, visibility=torch.ones(4, 4) > 0)": "expected a shape that broadcasts to",
    "heedful.measure(q, q, scale='auto')": "scale: expected a number, got 'auto'",
    "heedful.measure(q, q, bias='alibi')": "bias: expected a tensor or a numpy array, got str",
    "heedful.measure(q, q, groups={'a': 1})": "groups: expected heedful.Groups(...), got dict",
    "heedful.measure(q, q, extras='all')": "extras: expected heedful.Extras(...), got str",
    "heedful.measure(q, q, engine='flash')": "engine: expected one of auto, dense, tiled, fused; got 'flash'",
    "heedful.AttentionCall(query=q, key=None)": "key: expected a float tensor",
    "heedful.AttentionCall(query=q, key=q, softcap='50')": "softcap: expected a number, got '50'",
    "heedful.causal(window='8')": "window: expected a whole number or None, got '8'",
    "heedful.masked('x')": "visibility.mask: expected a tensor or a numpy array, got str",
    "heedful.padding('x')": "attention_mask: expected a tensor or a numpy array, got str",
    "heedful.documents('a')": "visibility.documents: expected a tensor or a numpy array, got str",
    # capture and what a session gives
    "captured('gpt2')": "capture: expected a torch module, got str",
    "captured(loaded)": "capture: expected a torch module, got LoadedModel (give its .model)",
    "captured(type(model))": "got the class LlamaForCausalLM (build it first)",
    "captured(model, layers=99)": "capture: no such layers: [99]",
    "captured(model, layers=1.5)": "layers: expected an index, a module path, or a list of them; got 1.5",
    "captured(model, heads='3')": "heads: expected an index, a list of them, or {layer: [heads]}; got '3'",
    "captured(model, heads=99)": "has heads 0..5, got [99]",
    "captured(model, every='2')": "every: expected a whole number from 1 up, got '2'",
    "captured(model).weights(9, 0)": "weights: no such layer: 9",
    "captured(model).weights(0, [0])": "has heads 0, 1, 2, 3, 4, 5; got [0]",
    "captured(model).pattern(0, 0, bins='x')": "bins: expected 1 to 256, got 'x'",
    # replace and verify
    "replaced('unifrom')": "expected one of uniform, local, mean, shuffled, zero, a tensor of weights, or a function",
    "replaced(None)": "a tensor of weights, or a function; got None",
    "replaced(torch.ones(3, 3))": "expected weights that broadcast to (batch, head, query, key) = (2, 6, 8, 8)",
    "replaced(torch.ones(8, 8).long())": "expected weights as a float tensor, got torch.int64",
    "replaced(lambda call: None)": "expected the pattern to return a tensor (2, 6, 8, 32), got NoneType",
    "replaced('zero', layers=[0], heads={0: [1]})": "layers: expected none together with heads by layer",
    "replaced('zero', heads={0: [99]})": "has heads 0..5, got [99]",
    "replaced('zero', layers=True)": "layers: expected an index, a module path, or a list of them; got True",
    "heedful.verify('gpt2', ids)": "verify: expected a torch module, got str",
    "heedful.verify(model, [1, 2])": "verify: inputs: expected a tensor, a tuple or a mapping",
    # validate, heads
    "heedful.validate(3)": f"{MODEL}; got int",
    "heedful.validate(type(model))": "got the class LlamaForCausalLM (build it first)",
    "heedful.validate(model)": "sequences: expected token ids, or a tokenizer for the text",
    "heedful.validate(model, ['a b', 'c d'])": "sequences: expected token ids, or a tokenizer for the text",
    "heedful.validate(model, ids.float())": "expected token ids (sequence, token) of whole numbers, got a tensor",
    "heedful.validate(model, ids + 100_000)": "expected ids below 2,048, which the model embeds",
    "heedful.validate(model, ids - 1_000)": "expected token ids from 0 up",
    "heedful.validate(model, ids, preset='fast')": "preset: expected one of quick, standard, full; got 'fast'",
    "heedful.validate(model, ids, require='no_claim')": "require: no such claim: no_claim",
    "heedful.validate(model, ids, settings={})": "settings: expected heedful.Settings(...), got dict",
    "heedful.validate(model, ids, null_models='3')": "null models: expected a whole number, got '3'",
    "heedful.validate(model, ids, seed='0')": "seed: expected a whole number, got '0'",
    "heedful.validate(model, ids, seq_len='8')": "seq_len: expected a whole number from 1 up, got '8'",
    "heedful.validate(model, ids, device='cuda')": "device: cuda: applies only to a model that heedful loads",
    "heedful.validate(model, tokenizer, 5)": "text: expected strings, a list of strings, paths, or token ids; got 5",
    "heedful.validate(model, tokenizer, b'abc')": "got bytes",
    "heedful.validate(model, tokenizer, [' '])": "found nothing but blanks",
    "heedful.validate(model, tokenizer, 'missing.txt')": "missing.txt: expected a file or folder, found none",
    "heedful.validate(model, 'no/tokenizer', 'a text')": "no/tokenizer: no local folder",
    "heedful.validate(model, 'a text', tokenizer=5)": "tokenizer: expected one of transformers or tokenizers",
    "heedful.validate('./no/model', ids)": "no/model: expected a file or folder, found none",
    "heedful.heads(torch.nn.Linear(3, 3), ids)": "Linear: the model's forward raised on token ids",
    "heedful.heads(model, {'ids': ids})": "expected token ids (sequence, token) of whole numbers, got NoneType",
    # the others
    "heedful.compare(None, None)": "before: expected what heedful.validate returns, or its JSON file; got NoneType",
    "heedful.compare('a.json', 'a.json')": "a.json: is the same file as a.json",
    "heedful.watch(3)": "runs: expected a run, its table, or checkpoints, by path; got int",
    "heedful.watch('run', out='x.csv')": "expected a name that ends in .parquet, got '.csv'",
    "heedful.count(None, 'counts')": "text: expected paths of text files, got NoneType",
    "heedful.count('a.txt', 'counts', n=1.5)": "--n 1.5: expected whole numbers from 1 up",
    "heedful.derive(None)": f"{COUNTS}, or what heedful.read_counts gave; got NoneType",
    "heedful.derive('c', recipe='x')": "expected one of seed, corrected, offset",
    "heedful.explain(model, 'c')": "expected the folder that heedful.derive wrote, got LlamaForCausalLM",
    "heedful.align(model, None, ids)": COUNTS,
    "heedful.remedy('c', length='x')": "length: expected 3 to 128, got 'x'",
    "heedful.quantize(model, ids, bits='4')": "bits: expected a number, got '4'",
    "heedful.quantize(model, ids, rotation='none')": "rotation: expected one of after, before; got 'none'",
    "heedful.prune(model, ids, part='neurons')": "part: expected some of layers, heads, dimensions; got neurons",
    "heedful.prune(model, ids, fraction='half')": "fraction: expected a number, got 'half'",
    "heedful.load_model(model)": "expected a path, a hub name or None, got a module, which is loaded already",
    "heedful.load_documents(3)": "paths: expected paths of text files, got int",
    "heedful.make_sequences(['a b'], 3)": "tokenizer: expected one of transformers or tokenizers",
    "heedful.read_counts(3)": "counts: expected the folder that heedful.count wrote, got int",
    "heedful.read_table(3)": "run: expected the folder of a run, or its table, got int",
    "testing.assert_causal('gpt2', ids)": "model: expected a torch module, got str",
    "testing.assert_causal(model, 'a text')": "text came without a tokenizer to read it",
    "testing.assert_causal(model, tokenizer)": "batches: expected sequences, got a tokenizer alone",
    "testing.as_sequences(ids, documents=3)": "documents: expected one for each of 2 sequences, got 3",
}
"""A call as a person would write it, to what its one line says."""


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return heedful.load_model()


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the checks of annotations that tests install, and where nothing lies."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_gets_one_line(call: str, loaded: LoadedModel, tmp_path: Path) -> None:
    model, ids = loaded.model, torch.arange(16).reshape(2, 8) + 5

    def captured(given: Any, **options: Any) -> heedful.Session:
        with heedful.capture(given, **options) as session, torch.no_grad():
            model(ids)
        return session

    def replaced(pattern: Any, **options: Any) -> None:
        with heedful.replace(model, pattern, **options), torch.no_grad():
            model(ids)

    names = {"heedful": heedful, "testing": testing, "torch": torch, "np": np, "q": torch.zeros(1, 2, 5, 8)}
    names |= {"model": model, "ids": ids, "loaded": loaded, "tokenizer": loaded.tokenizer}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    with pytest.raises(HeedfulError) as refused:
        eval(call, {**names, "captured": captured, "replaced": replaced})
    message = str(refused.value)
    assert CALLS[call] in message and "\n" not in message and "object has no attribute" not in message
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_call_that_is_not_checked_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of what visibility is, the same call ends inside: the test above would fail on it."""
    for module in ("heedful.attention.engines.measure", "heedful.attention.call"):
        monkeypatch.setattr(f"{module}.visibility_of", lambda given: given)
    query = torch.zeros(1, 2, 5, 8)
    with pytest.raises(AttributeError, match="has no attribute"):
        heedful.measure(query, query, visibility="casual")
