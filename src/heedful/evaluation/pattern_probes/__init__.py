"""Probes of attention patterns named in the literature, one per file: offsets, sinks, values, largest logits."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
