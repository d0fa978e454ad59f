# %% [markdown]
# # A head with equal weights: is it broken?
#
# Not by itself. A head may average on purpose, and an untrained head looks the same. Three questions tell.

# %%
import heedful
from heedful import Verdict

loaded = heedful.load_model()
sequences = heedful.make_sequences(heedful.load_documents(), loaded.tokenizer, sequences=32)
with heedful.capture(loaded.model) as session:
    loaded.model(input_ids=sequences.input_ids)
flattest = session.heads().sort("concentration").row(0, named=True)
print(
    f"{flattest['label']}: {flattest['concentration']:.3f} nats from uniform, {flattest['effective_keys']:.1f} effective keys"
)

# %% [markdown]
# **Is the interval below the margin?** A head is DIFFUSE only where the whole interval over documents lies within 0.05
# nats of uniform, and SELECTIVE where it lies above 0.5.

# %%
report = heedful.validate(loaded.model, sequences, settings=heedful.Settings(preset="quick", null_models=0))
row = next(row for row in report.heads if (row.layer, row.head) == (flattest["layer"], flattest["head"]))
print(row.verdict, "-", row.reason)

# %% [markdown]
# **Does the model need what it does?** Its pattern replaced by exactly equal weights, and its output removed: if the
# first costs nothing and the second does, the head averages, and that average is used.

# %%
import torch


def loss() -> float:
    with torch.no_grad():
        return float(loaded.model(input_ids=sequences.input_ids, labels=sequences.input_ids).loss)


learned = loss()
for pattern in ("uniform", "zero"):
    with heedful.replace(loaded.model, pattern, layers=[flattest["layer"]], heads=[flattest["head"]]):
        print(f"{pattern}: {loss() - learned:+.4f} nats per token")

# %% [markdown]
# **Does anything of the whole model depend on it?** If the output of all attention could go, the report would fail; one
# diffuse head alone never does.

# %%
found = {f.claim: f for s in report.sections for f in s.findings if f.layer is None and f.head is None}
print(found["attention_output_matters"].verdict, found["attention_output_matters"].reason)
print("report fails:", report.verdict is Verdict.FAIL)
