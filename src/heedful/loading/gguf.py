"""Load a GGUF file as model and tokenizer, dequantised by transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from heedful.errors import HeedfulError, InputRejected
from heedful.loading.gguf_header import read_gguf_header
from heedful.loading.memory import ensure_fits
from heedful.loading.model_config import ModelPlan
from heedful.loading.quiet import quiet_transformers
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
