"""The checks, one claim a file. Each takes evidence and returns findings; every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
