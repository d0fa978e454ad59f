"""Load the model and tokenizer that the user names, the first step of every run.

``--parallel tensor``: shard a model over processes by transformers' tensor-parallel plan for its class.

Locate a Hugging Face hub model in the cache, or download it, with safetensors weights only.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.resources import as_file
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading.assembly import assemble
from heedful.loading.config_file import read_config
from heedful.loading.device import AUTO, fits_on, main_device, resolve_device, resolve_dtype, spread
from heedful.loading.embedded_model import EMBEDDED_NAME, embedded_folder
from heedful.loading.foreign_checkpoints import ForeignCheckpoint, foreign_checkpoint
from heedful.loading.gguf import load_gguf
from heedful.loading.model_config import ModelPlan, headless_plan, plan_model
from heedful.loading.positions import embedded_tokens, learned_positions, trained_positions
from heedful.loading.regular_file import kind_of
from heedful.loading.run_files import WHOLE, verify_checkpoint
from heedful.loading.skeleton import build_skeleton
from heedful.loading.tokenizer_files import load_tokenizer
from heedful.loading.torch_archive import check_globals
from heedful.loading.weights import CheckpointFormat, checkpoint_format, read_folder_weights, read_weights
from heedful.loading.wording import escaped, reason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_MODEL_FILES = (
    "config.json",
    "model",
    "pytorch_model",
    "tokenizer",
    "vocab",
    "merges",
    "special_tokens",
    "added_tokens",
)
"""Beginnings of the names of what a model is loaded from; they are compared with the mark of a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A loaded model with its tokenizer and name, ready to run.

    Attributes:
        model: The model, in eval mode, on the device and in the dtype asked for.
        tokenizer: Its tokenizer, or None where none was found; the notes say so.
        name: What the user called it.
        source: ``embedded``, ``folder``, ``hub``, ``checkpoint``, ``gguf`` or ``factory``.
        notes: What was renamed, ignored or left out on the way.
        build: Builds the model again with the random weights of a seed; None where its config says how.
    """

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    source: str
    notes: tuple[str, ...] = ()
    build: Callable[[int], torch.nn.Module] | None = None

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that learned positions allow; None if unlimited."""
        return learned_positions(self.model)

    @property
    def trained_positions(self) -> int | None:
        """Longest sequence that the config states; None if it states none."""
        return trained_positions(self.model)

    @property
    def vocab_size(self) -> int | None:
        """Number of token ids in the model's embedding; None if it has no embedding."""
        return embedded_tokens(self.model)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The user's words, checked."""

    name: str
    config: Path | None
    tokenizer: Path | None
    device: torch.device
    counts_on: torch.device
    dtype: str
    allow_globals: tuple[str, ...]
    processes: int = 1


def load_model(
    model: str | Path | None = None,
    *,
    config: Path | None = None,
    tokenizer: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    allow_globals: Sequence[str] = (),
    processes: int = 1,
) -> LoadedModel:
    """Load a model from a folder, file, hub name or the package, without executing code that comes with it.

    Args:
        model: None for the embedded default, a folder, a checkpoint file, a GGUF file or a name on the hub.
        config: The config of a bare checkpoint: JSON, TOML, YAML or Python literals.
        tokenizer: A folder or ``tokenizer.json``, or a name on the hub, to use instead of the model's own.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, ``xpu``, or ``auto``: a GPU if torch sees one, all of
            them, by accelerate, for a model that is too large for one, else the CPU.
        dtype: ``auto`` (float32 on a CPU, the checkpoint's own elsewhere), or a name of ``DTYPES``.
        allow_globals: Harmless record types that a torch archive may hold, out of ``ALLOWABLE_GLOBALS``.
        processes: Processes of one group that divide the model's tensors by its own plan, each calling this alike; 1
            keeps it whole.

    Returns:
        The model with its tokenizer.

    Raises:
        UsageError: A path is missing, or an argument does not go with the others.
        InputRejected: A file is malformed, unknown, or would have to be run.
        ResourceLimit: The model would not fit in memory.

    Example:
        >>> load_model().name
        'embedded default'
    """
    if not isinstance(model, str | Path | None):
        got = "a module, which is loaded already" if isinstance(model, torch.nn.Module) else type(model).__name__
        raise UsageError(f"model: expected a path, a hub name or None, got {got}")
    everywhere = device == AUTO and main_device().type != "cpu"
    if device == AUTO and not everywhere:
        device = "cpu"
    place = torch.device("cpu") if everywhere else resolve_device(device)
    counts_on = main_device() if everywhere else place
    resolve_dtype(dtype, counts_on)
    check_globals(allow_globals)
    request = _Request(
        name=EMBEDDED_NAME if model is None else str(model),
        config=None if config is None else Path(config),
        tokenizer=None if tokenizer is None else tokenizer_place(tokenizer),
        device=place,
        counts_on=counts_on,
        dtype=dtype,
        allow_globals=tuple(allow_globals),
        processes=processes,
    )
    with ExitStack() as stack:
        if model is None:
            if config is not None:
                raise UsageError(f"--config {escaped(config)}: expected a checkpoint to go with it, found no MODEL")
            loaded = _from_folder(stack.enter_context(as_file(embedded_folder())), request, "embedded")
        elif is_hub_name(str(model)) and not _exists(Path(model)):
            loaded = _from_folder(hub_folder(str(model)), request, "hub")
        else:
            loaded = _from_path(Path(model).expanduser(), request)
    if not everywhere:
        return loaded if processes > 1 else placed(loaded, place)
    if fits_on(loaded.model, counts_on):
        return placed(loaded, counts_on)
    laid_out, message = spread(loaded.model, loaded.name)
    return replace(loaded, model=laid_out, notes=(*loaded.notes, *message))


def _from_path(path: Path, request: _Request) -> LoadedModel:
    if kind_of(path) == "a directory":
        return _from_folder(path, request, "folder")
    if checkpoint_format(path) is not CheckpointFormat.GGUF:
        return _from_checkpoint(path, request)
    if request.config is not None:
        raise UsageError(f"--config {escaped(request.config)}: a GGUF file brings its own config (leave it out)")
    if request.processes > 1:
        raise UsageError(f"{escaped(path)}: a GGUF file is not divided over processes (give its safetensors)")
    dtype = resolve_dtype(request.dtype, request.counts_on)
    model, tokenizer, notes = load_gguf(path, dtype, str(request.device))
    if request.tokenizer is None:
        return LoadedModel(model=model, tokenizer=tokenizer, name=request.name, source="gguf", notes=notes)
    other, more = load_tokenizer(request.tokenizer)
    return LoadedModel(model=model, tokenizer=other, name=request.name, source="gguf", notes=notes + more)


def _from_folder(folder: Path, request: _Request, source: str) -> LoadedModel:
    config = request.config or folder / "config.json"
    if request.config is None and not _exists(config):
        raise InputRejected(escaped(folder), "expected a model folder, found no config.json", "name the model's folder")
    notes = verify_checkpoint(folder, only=_MODEL_FILES) if (folder / WHOLE).is_file() else ()
    loaded = _build(config, folder, request, source)
    return replace(loaded, notes=(*loaded.notes, *notes))


def _from_checkpoint(path: Path, request: _Request) -> LoadedModel:
    config = request.config or path.parent / "config.json"
    if request.config is None and not _exists(config):
        message = "a bare checkpoint does not say what model it is of"
        raise UsageError(
            f"{escaped(path)}: {message} (give --config FILE, or put its config.json into the same folder)"
        )
    loaded = _build(config, path, request, "checkpoint")
    if request.config is not None:
        return loaded
    return replace(loaded, notes=("config.json from the checkpoint's folder was read", *loaded.notes))


def _build(config: Path, weights: Path, request: _Request, source: str) -> LoadedModel:
    settings = read_config(config)
    if (foreign := foreign_checkpoint(settings)) is not None:
        return _converted(foreign, settings, weights, request, source)
    plan = plan_model(settings, escaped(config))
    dtype = resolve_dtype(request.dtype, request.counts_on, plan.declared_dtype)
    skeleton = build_skeleton(plan, escaped(config))
    skeleton.ensure_fits(dtype, str(request.device), escaped(config), request.processes)
    division = None
    if request.processes > 1:
        ensure_divisible(plan, request.processes, request.device, escaped(request.name))
        division = tensor_division(request.processes)
    # The tokenizer comes first: a wrong path to it should not cost the reading of the weights.
    tokenizer, remarks = load_tokenizer(request.tokenizer or (weights if weights.is_dir() else weights.parent))
    read = read_folder_weights if kind_of(weights) == "a directory" else read_weights
    tensors, notes = read(weights, request.allow_globals)
    try:
        model, more = assemble(plan, tensors, skeleton, dtype, escaped(request.name), division)
    except InputRejected as error:
        if (base := headless_plan(plan)) is None:
            raise
        try:
            outline = build_skeleton(base, escaped(config))
            model, more = assemble(base, tensors, outline, dtype, escaped(request.name), division)
        except InputRejected:
            raise error from None
        plan = base
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=request.name,
        source=source,
        notes=(*plan.notes, *notes, *more, *remarks, *agreement(tokenizer, model, request.name)),
    )


def _converted(
    foreign: ForeignCheckpoint, settings: dict[str, Any], weights: Path, request: _Request, source: str
) -> LoadedModel:
    """A model that a feature converts from a checkpoint of a kind that transformers doesn't know."""
    if request.processes > 1:
        raise UsageError(f"{escaped(weights)}: a converted model is not divided over processes")
    dtype = resolve_dtype(request.dtype, request.counts_on, None)
    tokenizer, remarks = load_tokenizer(request.tokenizer or (weights if weights.is_dir() else weights.parent))
    read = read_folder_weights if kind_of(weights) == "a directory" else read_weights
    tensors, notes = read(weights, request.allow_globals)
    model, more = foreign.convert(settings, tensors, escaped(request.name))
    return LoadedModel(
        model=model.to(dtype).eval(),
        tokenizer=tokenizer,
        name=request.name,
        source=source,
        notes=(*more, *notes, *remarks, *agreement(tokenizer, model, request.name)),
    )


def agreement(tokenizer: PreTrainedTokenizerBase | None, model: torch.nn.Module, name: str) -> tuple[str, ...]:
    """Raise an error if the tokenizer's base vocabulary exceeds the model's embedding; return a note if only its added
    tokens lie beyond it.
    """
    rows = embedded_tokens(model)
    if tokenizer is None or rows is None:
        return ()
    if tokenizer.vocab_size > rows:
        message = f"its tokenizer knows {tokenizer.vocab_size:,} tokens, the model embeds {rows:,}"
        raise InputRejected(escaped(name), message, "give the tokenizer that it was trained with")
    if len(tokenizer) > rows:
        return (f"the tokenizer adds {len(tokenizer) - rows} tokens that the model does not embed",)
    return ()


def placed(loaded: LoadedModel, device: torch.device) -> LoadedModel:
    """Move a loaded model to a device.

    Raises:
        ResourceLimit: The device does not take it.
    """
    try:
        return replace(loaded, model=loaded.model.to(device))
    except RuntimeError as error:
        raise ResourceLimit(f"{escaped(loaded.name)}: could not be moved to {device}: {reason(error)}") from error


def tokenizer_place(tokenizer: str | Path) -> Path:
    """Return the path of a tokenizer given by path or hub name."""
    path = Path(tokenizer).expanduser()
    return hub_folder(str(tokenizer)) if is_hub_name(str(tokenizer)) and not _exists(path) else path


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


_DIVIDED = "colwise"
_KEYS = ("k_proj", "qkv_proj", "query_key_value")
"""Projections that give keys; where one is divided by columns, every process has some heads of each layer."""


def tensor_division(processes: int) -> dict[str, Any]:
    """Return the arguments that make transformers shard a model over this run's processes.

    Args:
        processes: Their number.

    Returns:
        Keyword arguments of ``from_pretrained``.

    Raises:
        UsageError: This transformers does not do it.
    """
    try:
        from transformers.distributed import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=processes)}
    except (ImportError, TypeError) as error:
        message = "needs transformers 5.20 or later, whose plans divide parameters as DTensors"
        raise UsageError(f"--parallel tensor: {message} (pip install --upgrade transformers)") from error


def ensure_divisible(plan: ModelPlan, processes: int, device: torch.device, subject: str) -> None:
    """Raise an error if the model cannot be sharded into whole heads over these processes.

    Args:
        plan: What will be built.
        processes: Number of processes.
        device: Where it will stand.
        subject: Its name in messages.

    Raises:
        InputRejected: Its class has no plan, or its heads do not divide evenly.
        UsageError: transformers would put it on another device than the one named.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    there = "cpu" if found is None else found.type
    if device.type != there:
        message = f"transformers divides a model over this machine's {there} devices, not {device}"
        raise UsageError(f"--parallel tensor: {message} (name --device {there})")
    config: Any = plan.config.get_text_config()
    rules = dict(getattr(config, "base_model_tp_plan", None) or {})
    if not rules:
        message = f"transformers has no plan to divide a {plan.model_class.__name__} over processes"
        raise InputRejected(subject, message, "leave --parallel tensor out, or spread it with --device auto")
    if not any(name.rsplit(".", 1)[-1] in _KEYS and style == _DIVIDED for name, style in rules.items()):
        return  # heads stay whole in every process
    heads = int(config.num_attention_heads)
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    most = math.gcd(heads, shared)
    if most % processes:
        fits = [str(count) for count in range(2, most + 1) if most % count == 0]
        message = f"{heads} query heads and {shared} key heads do not divide evenly over {processes} processes"
        fix = f"start {' or '.join(fits)} processes" if fits else "its heads divide over no number of processes"
        raise InputRejected(subject, escaped(message), fix)


HUB_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
)
"""What is fetched: data alone, neither pickles nor Python files."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
_FILE_SUFFIX = re.compile(r"\.(?:pth?|bin|ckpt|safetensors|gguf|jsonl?|toml|ya?ml|py|tar|zip|npz?)$", re.IGNORECASE)
_TRUE = ("1", "true", "yes", "on")


def is_hub_name(name: str) -> bool:
    """Return whether a string could name a hub model, such as ``gpt2`` or ``owner/model``.

    Args:
        name: What the user wrote.

    Returns:
        True where it has that form, and no suffix of a file.
    """
    fits = _NAME.fullmatch(name) is not None and ".." not in name and "--" not in name
    return fits and _FILE_SUFFIX.search(name) is None


def hub_folder(name: str) -> Path:
    """Return a hub model's folder in the local cache, downloading it if necessary.

    Args:
        name: ``owner/model``, or an old name without owner.

    Returns:
        The folder of its files.

    Raises:
        UsageError: It has not the form of a hub name.
        InputRejected: It is not in the cache and cannot be fetched.
    """
    shown = escaped(name)
    if not is_hub_name(name):
        raise UsageError(f"{shown}: expected a folder, a checkpoint or a hub name, found none (check the path)")
    from huggingface_hub import snapshot_download

    offline = _says_yes("HF_HUB_OFFLINE") or _says_yes("TRANSFORMERS_OFFLINE")
    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES), local_files_only=offline))
    except Exception as error:  # the hub's client raises its own errors, its transport's, and OSError
        why = "not in the cache, and offline" if offline else f"not in the cache, not fetched: {type(error).__name__}"
        fix = "check the name, fetch it while online, or name a local folder"
        raise InputRejected(shown, f"no local folder, and as a hub name {why}", fix) from error


def _says_yes(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in _TRUE
