"""The statistics, one a file. Each maps row moments to one number a query row; every file here is registered."""

from heedful.plugins import import_folder

import_folder(__name__, __path__)
