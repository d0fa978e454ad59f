"""Checks, one claim a file: evidence in, findings out. Every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
