"""Load a GGUF file as model and tokenizer, dequantised by transformers.

Check the header of a GGUF file before any library reads it.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from heedful.errors import HeedfulError, InputRejected, ResourceLimit
from heedful.loading.memory import ensure_fits
from heedful.loading.model_config import ModelPlan
from heedful.loading.quiet import quiet_transformers
from heedful.loading.regular_file import open_regular
from heedful.loading.skeleton import build_skeleton
from heedful.loading.wording import escaped, listed, reason

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_ALONE = "model.gguf"


def load_gguf(
    path: Path, dtype: torch.dtype, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[str, ...]]:
    """Load model and tokenizer from a GGUF file; also return notes, such as the dtype that the weights were
    dequantised to.

    Args:
        path: The file.
        dtype: The dtype of the parameters.
        device: Where the model will stand; the memory of that place is checked.

    Returns:
        The model on the CPU in eval mode, its tokenizer, and notes.

    Raises:
        InputRejected: The file is malformed, its architecture unknown, or a parameter is not in it.
    """
    subject = escaped(path)
    header = read_gguf_header(path)
    what = f"{subject}: {header.elements:,} dequantised parameters"
    ensure_fits(2 * header.elements * dtype.itemsize, what, device=device, hint="take a smaller model or dtype")
    _require("gguf", subject)
    _require("accelerate", subject)
    try:
        with quiet_transformers(), redirect_stderr(StringIO()), _alone(path) as folder:
            model, outcome, tokenizer = _read(folder, dtype, device, subject)
    except HeedfulError:
        raise
    except Exception as error:  # the readers of transformers and gguf raise whatever a damaged file leads to
        known = f"architecture {escaped(header.architecture, 40)!r}"
        raise InputRejected(subject, f"a GGUF file ({known}) that transformers cannot read: {reason(error)}") from error
    missing = sorted(outcome["missing_keys"])
    if missing:
        raise InputRejected(subject, f"{len(missing)} parameters are missing: {listed(missing)}", "convert it again")
    return model.eval(), tokenizer, (f"dequantised from GGUF to {str(dtype).removeprefix('torch.')}",)


def _read(folder: str, dtype: torch.dtype, device: str, subject: str) -> tuple[Any, Any, Any]:
    """Model, loading report and tokenizer, once the config that the file leads to is known to fit."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(folder, gguf_file=_ALONE, local_files_only=True)
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    plan = ModelPlan(config=config, model_class=model_class, declared_dtype=None, notes=())
    build_skeleton(plan, subject).ensure_fits(dtype, device, subject)
    model, outcome = model_class.from_pretrained(
        folder,
        gguf_file=_ALONE,
        config=config,
        dtype=dtype,
        local_files_only=True,
        output_loading_info=True,
        **_dequantised(),
    )
    return model, outcome, AutoTokenizer.from_pretrained(folder, gguf_file=_ALONE, local_files_only=True)


@contextmanager
def _alone(path: Path) -> Iterator[str]:
    """A folder that holds the file and nothing beside it, for loaders that look around."""
    with TemporaryDirectory(prefix="heedful-") as folder:
        (Path(folder) / _ALONE).symlink_to(path.resolve())
        yield folder


def _dequantised() -> dict[str, Any]:
    """The argument that asks for plain weights, where this transformers has one; older ones always give them."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _require(package: str, subject: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise InputRejected(subject, f"a GGUF file needs the package {package}", "pip install 'heedful[gguf]'")


TENSORS = 100_000
"""Most tensors and most settings of one file."""

_BLOCK = re.compile(rb"blk\.(\d{1,6})\.")
_DEEPEST = 4
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_WIDTH = {kind: struct.calcsize(f"<{form}") for kind, form in _SCALARS.items()}
_TEXT, _ARRAY = 8, 9
_LIMITS = {"block_count": 2000, "expert_count": 10_000}
"""Counts that are walked in a loop while the model is built."""


@dataclass(frozen=True)
class GgufHeader:
    """Content of a GGUF header.

    Attributes:
        architecture: ``general.architecture``, or the empty string.
        elements: Numbers in all tensors together.
    """

    architecture: str
    elements: int


def read_gguf_header(path: Path) -> GgufHeader:
    """Read and check the header of a GGUF file.

    Args:
        path: The file.

    Returns:
        Its architecture and size.

    Raises:
        InputRejected: The header is malformed or the file is cut off.
        ResourceLimit: It names more tensors or settings than any model has.
    """
    subject = escaped(path)
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size < 24:
            raise InputRejected(subject, "a truncated GGUF file", "fetch it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            walk = _Walk(content, subject)
            try:
                return walk.header()
            except (struct.error, IndexError, UnicodeDecodeError) as error:
                raise InputRejected(subject, "a truncated or damaged GGUF file", "fetch it again") from error


class _Walk:
    """A place in the header that moves forward only."""

    def __init__(self, content: mmap.mmap, subject: str) -> None:
        self.content, self.subject, self.place = content, subject, 4
        self.blocks: float = 0

    def header(self) -> GgufHeader:
        version = self.number("<I")
        if version not in (2, 3):
            raise InputRejected(self.subject, f"GGUF version {version}, expected 2 or 3", "convert it again")
        tensors, settings = self.number("<Q"), self.number("<Q")
        if max(tensors, settings) > TENSORS:
            message = f"expected at most {TENSORS:,} tensors and settings, found {max(tensors, settings):,}"
            raise ResourceLimit(f"{self.subject}: {message}")
        architecture = ""
        for _ in range(settings):
            name, kind = self.text().decode("utf-8"), self.number("<I")
            if name == "general.architecture" and kind == _TEXT:
                architecture = self.text().decode("utf-8")
            elif kind in _SCALARS:
                self.check_count(name, self.number(f"<{_SCALARS[kind]}"))
            else:
                self.skip_value(kind, 0)
        return GgufHeader(architecture, self.all_tensors(tensors))

    def all_tensors(self, count: int) -> int:
        """Elements of all tensors, once their blocks are as many as the settings tell."""
        entries = [self.tensor() for _ in range(count)]
        blocks = {int(found[1]) for name, _ in entries if (found := _BLOCK.match(name))}
        if blocks and blocks != set(range(int(self.blocks))):
            message = f"its settings tell of {self.blocks} blocks, its tensors of {len(blocks)}, up to {max(blocks)}"
            raise InputRejected(self.subject, message, "fetch or convert it again")
        return sum(elements for _, elements in entries)

    def check_count(self, name: str, value: float) -> None:
        word = name.rpartition(".")[2]
        limit = _LIMITS.get(word)
        if limit is not None and value > limit:
            raise ResourceLimit(f"{self.subject}: {escaped(name, 60)} = {value}, expected at most {limit:,}")
        if word == "block_count":
            self.blocks = value

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self.content, self.place)[0]
        self.place += struct.calcsize(form)
        return value

    def text(self) -> bytes:
        length = self.number("<Q")
        self.move(length)
        return self.content[self.place - length : self.place]

    def move(self, length: int) -> None:
        self.place += length
        if self.place > len(self.content):
            raise IndexError(self.place)

    def skip_value(self, kind: int, depth: int) -> None:
        if kind == _TEXT:
            self.text()
        elif kind in _WIDTH:
            self.move(_WIDTH[kind])
        elif kind == _ARRAY and depth < _DEEPEST:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _WIDTH:
                self.move(count * _WIDTH[inner])
                return
            if count > len(self.content) // 8:
                raise IndexError(count)
            for _ in range(count):
                self.skip_value(inner, depth + 1)
        else:
            raise InputRejected(self.subject, f"a GGUF setting of unknown type {kind}", "convert it again")

    def tensor(self) -> tuple[bytes, int]:
        """Name and elements of one tensor's entry."""
        name = self.text()
        dimensions = self.number("<I")
        if dimensions > 8:
            raise InputRejected(self.subject, f"a GGUF tensor of {dimensions} dimensions", "convert it again")
        sizes = [self.number("<Q") for _ in range(dimensions)]
        self.number("<I")
        if self.number("<Q") > len(self.content):
            raise IndexError(self.place)
        return name, math.prod(sizes)
