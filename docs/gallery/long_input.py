# %% [markdown]
# # Long input
#
# heedful never stores a (query, key) array, so length costs time and not memory. 16,384 queries and keys of one head
# would be 1 GiB of float32 weights; the moments below are a few vectors.

# %%
import torch

import heedful

length = 16_384
generator = torch.Generator().manual_seed(0)
query, key = (torch.randn(1, 1, length, 32, generator=generator) for _ in range(2))
query[..., 1:, :] += 2.0 * key[..., :-1, :]  # a head that looks for the token before
rows = heedful.measure(query, key, visibility=heedful.causal()).rows
parts = {"64 to 128": slice(64, 128), "1024 to 2048": slice(1024, 2048), "8192 to 16384": slice(8192, 16384)}
for keys, part in parts.items():
    entropy, most = rows.entropy[0, 0, part].mean(), rows.visible[0, 0, part].log().mean()
    print(f"rows that see {keys} keys: entropy {entropy:.2f} nats, of at most {most:.2f}")

# %% [markdown]
# Entropy grows with the number of keys, so lengths are compared by the distance from uniform, `log n - H`. This head loses
# its distance as more keys come into sight: fixed logits thin out.

# %%
nats = rows.visible.log() - rows.entropy
for keys, part in parts.items():
    print(f"{keys} keys: {nats[0, 0, part].mean():.2f} nats from uniform")

# %% [markdown]
# A model is read the same way, and a part of it if that is enough: some layers, every so many forwards.

# %%
loaded = heedful.load_model()
sequences = heedful.make_sequences(heedful.load_documents(), loaded.tokenizer, sequences=4)
with heedful.capture(loaded.model, layers=[3], every=2) as session:
    for row in sequences.input_ids:
        loaded.model(input_ids=row[None])
print(session.heads().select("label", "sequences", "effective_keys"))

# %% [markdown]
# The drawing of a long head is binned to at most 256 x 256 cells, each the exact mean of its pairs: `session.pattern`.
