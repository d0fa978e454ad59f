"""What features and other packages add to heedful: statistics, checks, probes, model types, recipes, records, commands.

A package adds something by an entry point of the group ``heedful.plugins``. Its name is ``KIND.LABEL``, its value is
the module to import; while it is imported, the module registers what it adds:

    [project.entry-points."heedful.plugins"]
    "statistics.mine" = "my_package.statistics"

Entry points are read from installed site directories and from heedful's own, never from the current folder. A module
that fails to import is reported in one line and adds nothing.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, MutableMapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Generic, TypeVar

GROUP = "heedful.plugins"
Item = TypeVar("Item")
_log = logging.getLogger(__name__)


class Registry(MutableMapping[str, Item], Generic[Item]):
    """Named items of one kind. The first read imports the plugins that add to it.

    Args:
        plural: First word of the entry points' names, such as ``statistics``.
        singular: What one item is called in messages.

    Example:
        >>> shapes = Registry("shapes", "shape")
        >>> shapes.add("square", 4)
        >>> dict(shapes)
        {'square': 4}
    """

    def __init__(self, plural: str, singular: str) -> None:
        self.plural, self.singular = plural, singular
        self._items: dict[str, Item] = {}
        self._loaded = False

    def add(self, name: str, item: Item) -> None:
        """Register an item.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._items:
            raise ValueError(f"{self.singular} {name!r} is registered twice")
        self._items[name] = item

    def __getitem__(self, name: str) -> Item:
        return self._read()[name]

    def __setitem__(self, name: str, item: Item) -> None:
        self._read()[name] = item

    def __delitem__(self, name: str) -> None:
        del self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, Item]:
        if not self._loaded:
            self._loaded = True  # before the imports, which may read what is registered so far
            for entry in entries(self.plural):
                self._load(entry)
        return self._items

    def _load(self, entry: EntryPoint) -> None:
        before = dict(self._items)
        try:
            importlib.import_module(entry.value)
        except Exception as error:  # whatever another package raises must not stop heedful
            self._items = before
            reason = str(error).strip().splitlines()[:1] or [""]
            _log.warning(
                "plugin %s (%s) was left out: %s: %s", entry.name, entry.value, type(error).__name__, reason[0]
            )


def entries(plural: str) -> list[EntryPoint]:
    """Entry points whose names begin with this word, heedful's own first, then by package and name."""
    return [entry for entry in _every_entry() if entry.name.partition(".")[0] == plural]


def import_folder(package: str, folder: Iterable[str]) -> None:
    """Import every module of a package, by name, so that a new file is registered without another line.

    Args:
        package: Its ``__name__``.
        folder: Its ``__path__``.
    """
    for module in sorted(pkgutil.iter_modules(folder), key=lambda module: module.name):
        importlib.import_module(f"{package}.{module.name}")


@cache
def _every_entry() -> tuple[EntryPoint, ...]:
    found: dict[tuple[bool, str, str], EntryPoint] = {}
    for distribution in _installed():
        name = distribution.metadata["Name"] or ""
        for entry in distribution.entry_points:
            if entry.group == GROUP:
                found.setdefault((name != "heedful", name, entry.name), entry)
    return tuple(found[key] for key in sorted(found))


def _installed() -> Iterator[Distribution]:
    yield from distributions(path=site_directories())
    # A copy that was installed into a folder of its own (pip's --target) has its facts beside the package.
    yield from distributions(name="heedful", path=[str(Path(__file__).parent.parent)])


def site_directories() -> list[str]:
    """Directories into which packages are installed: of the interpreter, of the environment, and of the user.

    A relative path, or the current folder unless it is one of these, is never among them.
    """
    paths = sysconfig.get_paths()
    every = [paths["purelib"], paths["platlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        every.append(site.getusersitepackages())
    on_path = {str(Path(entry).absolute()) for entry in sys.path if entry}
    return [entry for entry in dict.fromkeys(str(Path(entry).absolute()) for entry in every) if entry in on_path]
