"""Checks of gauge models, one claim per file; importing this package registers every check."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
