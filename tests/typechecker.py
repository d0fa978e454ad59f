"""Run-time type checks of what the tests import: beartype, with the usual reading that an int is good for a float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
