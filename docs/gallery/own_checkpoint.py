# %% [markdown]
# # Your own checkpoint
#
# From a folder on disk to a page with verdicts. This notebook saves the model that ships with heedful as a checkpoint, and
# then treats it as yours. Put your own folder in its place: anything that transformers can load.

# %%
import tempfile
from pathlib import Path

import heedful

shipped = heedful.load_model()
folder = Path(tempfile.mkdtemp()) / "my-checkpoint"
shipped.model.save_pretrained(folder)
shipped.tokenizer.save_pretrained(folder)
print(sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# ## Load it
#
# heedful reads weights and config as data and executes nothing that came with the checkpoint.

# %%
loaded = heedful.load_model(folder)
print(loaded.model.config.model_type, f"{sum(p.numel() for p in loaded.model.parameters()):,} parameters")

# %% [markdown]
# ## Bring text
#
# Give documents that the model hasn't seen, at least 16 of them. The document is the independent unit of every interval.

# %%
documents = heedful.load_documents()  # or heedful.load_documents("held_out.jsonl"), or a list of strings
sequences = heedful.make_sequences(documents, loaded.tokenizer, sequences=32)
print(f"{len(sequences.input_ids)} sequences from {len(sequences.document_names)} documents")

# %% [markdown]
# ## Check: does each query see the keys that it should?
#
# Before any statistics: mask, scale, grouping and rotation, compared with the config. Each promise has two proofs.

# %%
contract = heedful.check(loaded.model, sequences.input_ids[:2])
print(contract)

# %% [markdown]
# A checkpoint with a fault looks like this. Here the config claims another rotary base than the model was trained with, as
# a bad conversion would leave it.

# %%
wrong = heedful.check(loaded.model, sequences.input_ids[:2], contract=heedful.Contract(theta=500_000.0))
print("held:", wrong.held)
print("broken:", wrong.broken[0].promise, "-", wrong.broken[0].found)

# %% [markdown]
# ## Heads: what does each one do?

# %%
with heedful.capture(loaded.model) as session:
    loaded.model(input_ids=sequences.input_ids)
heads = session.heads()
for name in ("previous_mass", "sink_mass", "self_mass"):
    top = heads.sort(name, descending=True, nulls_last=True).row(0, named=True)
    print(f"most {name:<14} {top['label']:<5} {top[name]:.2f}")

# %% [markdown]
# ## Validate: claims with intervals

# %%
report = heedful.validate(loaded.model, sequences, settings=heedful.Settings(preset="quick"), name="my checkpoint")
print(report.verdict)
print(report.summary["conclusion"])

# %%
for name, answer in report.summary["decision"].items():
    print(f"{name:<18} {answer}")

# %% [markdown]
# ## Keep it
#
# The page is one file that opens without a network. The JSON is what `heedful compare` reads.

# %%
for name in ("report.html", "report.json"):
    print(name, report.save(folder.parent / name).stat().st_size > 10_000)

# %% [markdown]
# On the command line, all of this is `heedful check ./my-checkpoint` and
# `heedful validate ./my-checkpoint --text held_out.jsonl --html report.html --json report.json`.
