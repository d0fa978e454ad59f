"""One statistic a file: row moments in, a number per query row out. One line here registers each."""

from heedful.statistics.concentration import concentration
from heedful.statistics.effective_keys import effective_keys
from heedful.statistics.local_mass import local_mass
from heedful.statistics.max_weight import max_weight
from heedful.statistics.previous_mass import previous_mass
from heedful.statistics.row_entropy import row_entropy
from heedful.statistics.row_std_seed import row_std_seed
from heedful.statistics.self_mass import self_mass
from heedful.statistics.sink_mass import sink_mass
from heedful.statistics.visible_share import visible_share

__all__ = [
    "concentration",
    "effective_keys",
    "local_mass",
    "max_weight",
    "previous_mass",
    "row_entropy",
    "row_std_seed",
    "self_mass",
    "sink_mass",
    "visible_share",
]
