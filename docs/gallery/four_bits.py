# %% [markdown]
# # What four bits do to heads
#
# Keys in four bits take a quarter of the room of keys in sixteen. What does it cost, and which heads pay? heedful rounds
# the keys inside the running model, measures each head, and compares with noise of the same size.

# %%
import heedful

loaded = heedful.load_model()
documents = heedful.load_documents()
sequences = heedful.make_sequences(documents, loaded.tokenizer, sequences=32)
result = heedful.quantize(loaded.model, sequences, bits=[8, 4, 3], group=["token", "channel"])
print(result)

# %% [markdown]
# ## The model's loss
#
# The increase in loss with its 95 % interval over documents. *within*: less than .01 nats per token both ways.

# %%
for trial in result.trials:
    if "clip" in trial.name:
        continue  # clipping alone, and before rounding, is tried too
    loss = trial.quantized.loss
    print(f"{trial.name:<18} {loss.estimate:+.4f} [{loss.low:+.4f}, {loss.high:+.4f}] {trial.verdict}")

# %% [markdown]
# Two ways to group: `token` gives each key of a head a scale of its own, `channel` gives each component one over the whole
# sequence. Which one is better depends on where the large components are.
#
# ## Which heads pay?
#
# KL(weights, weights with rounded keys) of each head, in nats. The loss hides this: a head that matters little may be
# damaged much.

# %%
four = next(trial for trial in result.trials if "4" in trial.name and "token" in trial.name)
worst = sorted(four.heads, key=lambda head: -head.divergence.estimate)[:5]
for head in worst:
    print(f"L{head.layer}H{head.head}: {head.divergence.estimate:.5f} nats")
print(f"median of all heads: {sorted(head.divergence.estimate for head in four.heads)[len(four.heads) // 2]:.5f} nats")

# %% [markdown]
# ## Sharp heads or flat heads?
#
# Compare the damage with what the head does.

# %%
with heedful.capture(loaded.model) as session:
    loaded.model(input_ids=sequences.input_ids)
known = {(row["layer"], row["head"]): row for row in session.heads().iter_rows(named=True)}
for head in worst:
    row = known[head.layer, head.head]
    print(
        f"L{head.layer}H{head.head}: {row['effective_keys']:.1f} effective keys, largest weight {row['max_weight']:.2f}"
    )

# %% [markdown]
# ## The page
#
# `result.save("quantized.html")` writes the page with its figures; `heedful compress quantize ./my-checkpoint --bits 4` does the
# same for your model. See [what compression costs](../compression.md).
