"""Load plugins of heedful and other packages: statistics, checks, probes, model types, recipes, records, commands.

A package adds something by an entry point of the group ``heedful.plugins``. Its name is ``KIND.LABEL``, its value is
the module to import; while it is imported, the module registers what it adds:

    [project.entry-points."heedful.plugins"]
    "statistics.mine" = "my_package.statistics"

Entry points are read from installed site directories and from heedful's own, never from the current folder. A plugin is
imported without the current folder on the path. A module that fails to import is reported in one line and adds nothing.
"""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from weakref import WeakSet

GROUP = "heedful.plugins"
KINDS = ("statistics", "checks", "probes", "tracker", "models", "recipes", "records", "commands")
"""First words of the names of entry points."""

Item = TypeVar("Item")
_log = logging.getLogger(__name__)
_lock = RLock()
_failed: set[str] = set()
"""Modules that failed to import: each is reported once, whatever it would have added."""


class Found(NamedTuple):
    """An entry point, and whether it belongs to heedful itself."""

    own: bool
    entry: EntryPoint


class Registry(MutableMapping[str, Item], Generic[Item]):
    """Mapping of named items of one kind; the first read imports the plugins that add items.

    Args:
        plural: First word of the entry points' names, such as ``statistics``.
        singular: What one item is called in messages.

    Example:
        >>> shapes = Registry("shapes", "shape")
        >>> shapes.add("square", 4)
        >>> dict(shapes)
        {'square': 4}
    """

    every: ClassVar[WeakSet[Registry[Any]]] = WeakSet()

    def __init__(self, plural: str, singular: str) -> None:
        self.plural, self.singular = plural, singular
        self._items: dict[str, Item] = {}
        self._loaded = self._loading = False
        Registry.every.add(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def add(self, name: str, item: Item) -> None:
        """Register an item under a name.

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
        if self._loaded:
            return self._items
        # One thread imports, the others wait; modules that are being imported may read what is registered so far.
        with _lock:
            if not self._loaded and not self._loading:
                self._loading = True
                try:
                    for found in entries(self.plural):
                        _load(found)
                    self._loaded = True
                finally:
                    self._loading = False
        return self._items


def entries(plural: str) -> list[Found]:
    """Return the entry points of one kind, heedful's own first, then by package and name.

    Raises:
        RuntimeError: heedful's own entry points were not found: it runs without being installed.
    """
    every = _every_entry()
    if not any(found.own for found in every):
        raise RuntimeError("heedful's own entry points were not found: install heedful (in a clone: pip install -e .)")
    return [found for found in every if found.entry.name.partition(".")[0] == plural]


def import_folder(package: str, folder: Iterable[str]) -> None:
    """Import every module of a package, so that a new file registers itself.

    Args:
        package: Its ``__name__``.
        folder: Its ``__path__``.
    """
    for module in sorted(pkgutil.iter_modules(folder), key=lambda module: module.name):
        importlib.import_module(f"{package}.{module.name}")


def _load(found: Found) -> None:
    """Import the module of an entry point; a failure of heedful's own is an error, of another package a warning."""
    if found.own:
        importlib.import_module(found.entry.module)
        return
    if found.entry.module in _failed:
        return
    before = [(registry, dict(registry._items)) for registry in Registry.every]
    try:
        with _without_current_folder():
            importlib.import_module(found.entry.module)
    except (Exception, SystemExit) as error:  # whatever another package raises must not stop heedful
        _failed.add(found.entry.module)
        for registry, items in before:
            registry._items.clear()
            registry._items.update(items)
        _warn(f"plugin {found.entry.name} ({found.entry.value})", error)


def _warn(what: str, error: BaseException) -> None:
    reason = (str(error).strip().splitlines() or [""])[0]
    _log.warning("%s was left out: %s: %s", what, type(error).__name__, reason)


@contextmanager
def _without_current_folder() -> Iterator[None]:
    before, here = list(sys.path), os.getcwd()
    allowed = set(site_directories())
    sys.path[:] = [one for one in before if one in allowed or (one and os.path.abspath(one) != here)]
    try:
        yield
    finally:
        sys.path[:] = before


@cache
def _every_entry() -> tuple[Found, ...]:
    found: dict[tuple[bool, str, str, str], Found] = {}
    for distribution in _installed():
        try:
            # Metadata may lack a name: the folder then stands for it, so that two such packages are told apart.
            facts = distribution.metadata
            folder = Path(str(getattr(distribution, "_path", ""))).stem
            name = (facts["Name"] if "Name" in facts else "") or folder  # noqa: SIM401 (PackageMetadata has no get)
            declared = [entry for entry in distribution.entry_points if entry.group == GROUP]
        except Exception as error:  # metadata of any installed package may be damaged
            _warn(f"metadata of {getattr(distribution, '_path', 'a package')}", error)
            continue
        own = name == "heedful"
        for entry in declared:
            if entry.name.partition(".")[0] in KINDS:
                found.setdefault((not own, name, entry.name, entry.value), Found(own, entry))
            else:
                _log.warning("plugin %s was left out: its name begins with none of %s", entry.name, ", ".join(KINDS))
    return tuple(found[key] for key in sorted(found))


def _installed() -> Iterator[Distribution]:
    yield from distributions(path=site_directories())
    # A copy that was installed into a folder of its own (pip's --target) has its facts beside the package.
    yield from distributions(name="heedful", path=[str(Path(__file__).parent.parent)])


def site_directories() -> list[str]:
    """Return the directories of installed packages: of the interpreter, the environment and the user.

    A relative path, or the current folder unless it is one of these, is never among them.
    """
    paths = sysconfig.get_paths()
    every = [paths["purelib"], paths["platlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        every.append(site.getusersitepackages())
    on_path = {str(Path(entry).absolute()) for entry in sys.path if entry}
    return [entry for entry in dict.fromkeys(str(Path(entry).absolute()) for entry in every) if entry in on_path]
