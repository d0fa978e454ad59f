"""The checks, one per file. Each takes a study and returns findings; every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
