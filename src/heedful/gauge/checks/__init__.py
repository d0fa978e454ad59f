"""Checks of gauge models, one claim per file. Every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
