"""Probes of patterns that have names in the literature, one a file: offsets, sinks, values, largest logits."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
