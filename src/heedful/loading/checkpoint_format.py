"""Detect the format of a checkpoint file from its first bytes, not its name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from heedful.errors import InputRejected
from heedful.loading.regular_file import open_regular
from heedful.loading.wording import escaped

_CONVERT = "save its state dict with safetensors.torch.save_file"
_SAVE_AGAIN = "where you trust its source, load it with what wrote it and save its state dict with torch.save"
_STREAM = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The pickle of torch's magic number 0x1950a86a20f9469cfc6c, with which torch before 1.6 began every file."""

_TAR_MAGIC = slice(257, 262)
_HEAD = 512
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class CheckpointFormat(StrEnum):
    """Checkpoint formats that can be read without executing their content."""

    SAFETENSORS = "safetensors"
    ZIP = "torch zip archive"
    STREAM = "torch stream of before 1.6"
    GGUF = "gguf"


def checkpoint_format(path: Path) -> CheckpointFormat:
    """Detect the format of a checkpoint file.

    Args:
        path: The file.

    Returns:
        The format.

    Raises:
        InputRejected: It is empty, or a plain pickle stream, a tar archive, compressed or unknown.
    """
    subject = escaped(path)
    with open_regular(path) as file:
        head = file.read(_HEAD)
    if not head:
        raise InputRejected(subject, "the file is empty: a truncated checkpoint", "fetch it again")
    if head.startswith(b"GGUF"):
        return CheckpointFormat.GGUF
    if head.startswith(b"PK\x03\x04"):
        return CheckpointFormat.ZIP
    if head.startswith(_STREAM):
        return CheckpointFormat.STREAM
    if head[0] == 0x80 and len(head) > 1 and 1 <= head[1] <= 5 and head[8:9] != b"{":
        raise InputRejected(subject, "a raw pickle stream, which is a program", _SAVE_AGAIN)
    if head[_TAR_MAGIC] == b"ustar" or _is_old_tar(head):
        raise InputRejected(subject, "a legacy tar checkpoint (torch before 0.2), which is a program", _SAVE_AGAIN)
    if head.startswith(_COMPRESSED):
        raise InputRejected(subject, "a compressed file, expected a checkpoint", "decompress it first")
    if len(head) < 9 or head[8:9] == b"{" or path.suffix == ".safetensors":
        return CheckpointFormat.SAFETENSORS
    raise InputRejected(subject, f"no checkpoint: it begins with {head[:8].hex(' ')}", _CONVERT)


def _is_old_tar(head: bytes) -> bool:
    """A tar header without magic: its first 512 bytes sum to the octal number that they hold themselves."""
    if len(head) < _HEAD:
        return False
    try:
        message = int(head[148:156].rstrip(b" \0"), 8)
    except ValueError:
        return False
    return message == sum(head[:148]) + 8 * ord(" ") + sum(head[156:])
