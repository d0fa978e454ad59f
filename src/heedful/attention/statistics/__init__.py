"""Statistics, one a file: row moments in, a number for each query row out. Every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
