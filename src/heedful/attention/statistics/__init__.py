"""The statistics, one per file. Each maps row moments to one number per query; every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
