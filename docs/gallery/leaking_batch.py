# %% [markdown]
# # A leaking batch, found and mended
#
# Training packs several documents into one row, to waste no padding. The second document must not see the first. Whether it
# does depends on the collator, the attention implementation and the cache, and nothing warns you: the loss even gets better.

# %%
import torch
from transformers import DataCollatorWithFlattening

import heedful

loaded = heedful.load_model()
model = loaded.model
texts = ["In the beginning God created the heaven and the earth.", "And Moses went up unto God."]
features = [{"input_ids": loaded.tokenizer(text).input_ids} for text in texts]
lengths = [len(one["input_ids"]) for one in features]
print("tokens of the documents:", lengths)

# %% [markdown]
# ## The batch
#
# transformers' own collator joins the documents and lets positions begin again at 0. There is no mask: the model reads the
# documents out of the positions.

# %%
batch = dict(DataCollatorWithFlattening(return_tensors="pt")(features))
print({name: tuple(value.shape) for name, value in batch.items()})
print(batch["position_ids"][0].tolist())

# %% [markdown]
# ## Found
#
# A plain loop passes the batch as it is. heedful asks the kernels which keys each query saw, and it changes a token of the
# first document to see whether the second one moves. The two proofs must agree.

# %%
documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
report = heedful.check(model, batch, documents=documents)
print(report)
for judgement in report.broken:
    print("broken:", judgement.promise)

# %% [markdown]
# How much does it matter? Change the first document, and measure how far the logits of the second one move.


# %%
def moved(**arguments) -> float:
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0, 3] += 1
    with torch.no_grad():
        before, after = (model(**one, **arguments).logits[0, lengths[0] :] for one in (batch, changed))
    return float((before - after).abs().max())


print(f"largest change of the second document's logits: {moved():.3f}")

# %% [markdown]
# ## Mended
#
# With a cache, transformers doesn't read documents out of the positions. A training step needs no cache, so switch it off.

# %%
mended = heedful.check(model, {**batch, "use_cache": False}, documents=documents)
print(mended)
print(f"largest change of the second document's logits: {moved(use_cache=False):.3f}")

# %% [markdown]
# ## Kept
#
# One line in your tests keeps it so. Another adds the check to a run of transformers' Trainer: it stops at the first batch
# that leaks.

# %%
from heedful.testing import assert_documents_isolated

print(assert_documents_isolated(model, {**batch, "use_cache": False}, documents=documents))
try:
    assert_documents_isolated(model, batch, documents=documents)
except AssertionError as error:
    print("AssertionError:", str(error)[:160])
callback = heedful.ContractCallback()  # Trainer(..., callbacks=[callback])

# %% [markdown]
# [How to pack documents](../how-to/packing.md) lists every collator, attention implementation and cache.
