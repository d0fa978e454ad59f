# %% [markdown]
# # Watching a training run
#
# A loss curve doesn't tell whether attention learns. This notebook trains a small model for 150 steps on a task that only
# attention can solve, and records every head. It takes about a minute on a CPU.

# %%
import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import heedful

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=32,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=64,
)
model = LlamaForCausalLM(config)

# %% [markdown]
# ## The task
#
# Random tokens, then the same tokens again. The first half can't be predicted. The second half can, by a head that finds the
# earlier copy: an induction head.


# %%
def batch(rows: int, generator: torch.Generator) -> torch.Tensor:
    half = torch.randint(0, 32, (rows, 16), generator=generator)
    return torch.cat([half, half], dim=1)


generator = torch.Generator().manual_seed(1)
batch(1, generator)[0].tolist()

# %% [markdown]
# ## The run
#
# `AttentionTracker` records a step now and then. Between recorded steps it costs nothing.

# %%
folder = tempfile.mkdtemp()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
with heedful.AttentionTracker(model, out=folder, every=30, optimizer=optimizer) as tracker:
    for _ in range(150):
        ids = batch(32, generator)
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tracker.step(loss)

# %% [markdown]
# Each line is one recorded step: loss, key norms, entropy as a share of its maximum, mass on the first key, cosine of keys,
# gradient norm. The lowest entropy falls as a head becomes sharp.
#
# ## The table
#
# One row for each step, layer, head, part and stage. Here: the entropy share of each head.

# %%
import polars as pl

table = heedful.read_table(folder)
heads = table.filter(pl.col("part") == "attention").select("step", "layer", "head", "entropy_share", "previous_mass")
print(heads.pivot(on="step", index=["layer", "head"], values="entropy_share").with_columns(pl.col(pl.Float32).round(2)))

# %% [markdown]
# ## The figure

# %%
import altair as alt

chart = (
    alt.Chart(heads.with_columns(name=pl.format("L{}H{}", "layer", "head")))
    .mark_line()
    .encode(x="step:Q", y=alt.Y("entropy_share:Q", scale=alt.Scale(domain=[0, 1])), color="name:N")
    .properties(width=420, height=220, title="Entropy of each head, as a share of its maximum")
)
chart.save("training_run.png", scale_factor=2)

# %% [markdown]
# ![A line for each head: some fall, others stay near one](training_run.png)
#
# ## Did it learn the task by attention?
#
# Replace the learned weights by equal ones and look at the loss of the second half.

# %%
ids = batch(64, generator)
labels = ids.clone()
labels[:, :17] = -100
model.eval()
with torch.no_grad():
    learned = float(model(ids, labels=labels).loss)
    for layer in range(2):
        with heedful.replace(model, "uniform", layers=[layer]):
            print(
                f"layer {layer} with equal weights: {float(model(ids, labels=labels).loss) - learned:+.2f} nats per token"
            )
print(f"loss of the second half: {learned:.2f}; guessing costs {torch.tensor(32.0).log():.2f}")

# %% [markdown]
# With transformers' Trainer, the tracker is a callback: `Trainer(..., callbacks=[AttentionTracker(out="run", every=50)])`.
# See [how to watch a training run](../how-to/training-callback.md).
