# %% [markdown]
# # Ten minutes with heedful
#
# On the model that ships with it: four layers of six heads, trained on the King James Bible, and verses it has not seen.
# Nothing is downloaded. Every number below was computed when this page was made (`make docs`).

# %%
import heedful

loaded = heedful.load_model()
model = loaded.model
documents = heedful.load_documents()
sequences = heedful.make_sequences(documents, loaded.tokenizer, sequences=32)
print(
    f"{len(sequences.input_ids)} sequences of {sequences.input_ids.shape[1]} tokens from {len(sequences.document_names)} documents"
)

# %% [markdown]
# ## Capture: run the model, read its heads
#
# The model is unchanged: same outputs, no hook left. `session.heads()` is a polars dataframe, one row a head.

# %%
import polars as pl

with heedful.capture(model) as session:
    model(input_ids=sequences.input_ids)

columns = ["label", "effective_keys", "max_weight", "previous_mass", "sink_mass", "verified"]
heads = session.heads().select(columns).sort("effective_keys").with_columns(pl.col(pl.Float64).round(3))
print(heads.head(6))

# %% [markdown]
# `effective_keys` is how many keys a query would read if all it reads weighed the same. `verified` says that the output
# recomputed from what was captured is the output of the module.

# %% [markdown]
# ## One head drawn
#
# The picture is exact: up to 256 tokens every cell is one weight; beyond, the mean weight of the pairs in it.

# %%
sharpest = session.heads().sort("effective_keys").row(0, named=True)
chart = session.pattern(sharpest["layer"], sharpest["head"])
chart.save("tour-head.png", scale_factor=2)
print(sharpest["label"], "in", sharpest["module"])

# %% [markdown]
# ![The weights of the sharpest head](tour-head.png)

# %% [markdown]
# ## Replace: what is a pattern worth?
#
# While the block runs, the heads of one layer weigh every key they see alike. The loss says whether the model minds.

# %%
import torch


def loss() -> float:
    with torch.no_grad():
        return float(model(input_ids=sequences.input_ids, labels=sequences.input_ids).loss)


learned = loss()
for layer in range(4):
    with heedful.replace(model, "uniform", layers=[layer]):
        print(f"layer {layer} with equal weights: {loss() - learned:+.3f} nats per token")

# %% [markdown]
# ## Measure: any attention, no model needed
#
# Statistics come from query and key alone, block by block; no (query, key) array is ever stored.

# %%
generator = torch.Generator().manual_seed(0)
query, key, value = (torch.randn(1, 2, 1024, 64, generator=generator) for _ in range(3))
rows = heedful.measure(query, key, value, visibility=heedful.causal()).rows
print("entropy of the last row:", rows.entropy[0, :, -1].tolist())
print("if all 1024 keys weighed the same:", float(torch.tensor(1024.0).log()))

# %% [markdown]
# ## Validate: claims with intervals
#
# Nine sections of claims that can be false. Preset `quick` here, without the comparison with untrained models; the
# command `heedful validate` does all of it.

# %%
settings = heedful.Settings(preset="quick", null_models=0)
report = heedful.validate(model, sequences, settings=settings, name=loaded.name)
for section in report.sections:
    for finding in section.findings:
        if finding.layer is None and finding.head is None and finding.interval is not None:
            low, high = finding.interval
            print(
                f"{finding.verdict:<8} {finding.claim:<32} {finding.estimate:7.3f} [{low:.3f}, {high:.3f}] {finding.unit}"
            )

# %% [markdown]
# In a notebook, `report` alone shows its whole page. The interval is over documents, which are the independent units.

# %%
print(report.summary["conclusion"])

# %% [markdown]
# ## Compare: what did a change do?
#
# Here the change is a fault: one layer's values are zero. Both reports read the same documents, so each claim is
# compared within documents, and p-values are adjusted for all that is compared.

# %%
import copy

broken = copy.deepcopy(model)
with torch.no_grad():
    for name, parameter in broken.named_parameters():
        if "layers.1" in name and "v_proj" in name:
            parameter.zero_()
after = heedful.validate(broken, sequences, settings=settings, name="layer 1 reads nothing")
comparison = heedful.compare(report, after, fail_on=["verdict", "effect"])
print("failed:", comparison.failed)
for told in comparison.regressions:
    print("-", told[:110])

# %% [markdown]
# On the command line: `heedful compare before.json after.json --fail-on effect`, exit code 1 on a regression.

# %% [markdown]
# ## Testing: the same claims in your own tests

# %%
import heedful.testing

print(heedful.testing.assert_causal(model, sequences).reason)
print(heedful.testing.assert_attention_used(model, sequences, replacement="uniform").reason)
try:
    heedful.testing.assert_attention_used(model, sequences.input_ids[:4])
except AssertionError as error:
    print("AssertionError:", error)

# %% [markdown]
# Next: [is a uniform head broken?](uniform_head.md), [long input](long_input.md), [your own model](own_model.md), and an
# [example repository](../example-repository/README.md) with its tests and its CI workflow.
