"""Read attention weights that a user gives as a tensor or a file, and judge whether the loss rises when they replace
the learned ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.ablation import losses_of
from heedful.evaluation.ablation_judging import given_finding, left_whole
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict
from heedful.interception.replace import replace
from heedful.loading.regular_file import open_regular
from heedful.loading.torch_archive import read_torch_archive
from heedful.loading.weights import CheckpointFormat, checkpoint_format, read_weights
from heedful.loading.wording import escaped, reason

CLAIM = "given_weights_matter"
"""Of no check in the registry, since it is made only of weights that somebody gives."""

SOURCE = "paired loss difference in vivo, documents as units; used above 0.01 nats a token, unused within -0.01 to 0.01"


def given_weights(given: str | Path | Tensor | np.ndarray) -> Tensor:
    """Read the user's attention weights, a tensor or a file, as a float tensor that broadcasts to ``(batch, head,
    query, key)``.

    Args:
        given: The tensor or array, or a file that holds one: ``.npy``, ``.pt`` or ``.safetensors``. No code in it runs.

    Returns:
        The weights on the CPU.

    Raises:
        UsageError: It has more than four axes or more than one sequence, or is no float tensor.
        InputRejected: The file holds something else.
    """
    named = escaped(given) if isinstance(given, str | Path) else "override"
    weights = _read(Path(given)) if isinstance(given, str | Path) else torch.as_tensor(given)
    if not weights.is_floating_point() or not 2 <= weights.dim() <= 4:
        got = f"{weights.dtype} {tuple(weights.shape)}"
        raise UsageError(
            f"override: {named}: expected a float tensor (batch, head, query, key) or one that broadcasts; got {got}"
        )
    if weights.dim() == 4 and weights.shape[0] != 1:
        message = f"expected one set of weights for all sequences, (1, head, query, key); got {tuple(weights.shape)}"
        raise UsageError(f"override: {named}: {message} (give heedful.replace weights of each sequence)")
    return weights.detach().cpu()


def _read(path: Path) -> Tensor:
    subject = escaped(path)
    if path.suffix == ".npy":
        try:
            with open_regular(path) as file:
                return torch.from_numpy(np.load(file, allow_pickle=False))
        except (ValueError, TypeError, OSError, EOFError) as error:
            raise InputRejected(
                subject, f"expected a numpy array of numbers: {reason(error)}", "save it again"
            ) from error
    found: Any = None
    if checkpoint_format(path) is CheckpointFormat.ZIP:
        found = read_torch_archive(path, ())
    if not isinstance(found, Tensor):
        tensors = read_weights(path)[0]
        if len(tensors) != 1:
            raise InputRejected(subject, f"expected one tensor of weights, found {len(tensors)}", "save it alone")
        found = next(iter(tensors.values()))
    return found


def findings_on_given_weights(study: Study, weights: Tensor | None) -> list[Finding]:
    """Judge whether the loss rises when the user's weights replace the learned ones in all layers; return an empty
    list if ``weights`` is None.

    They are used as they are, neither masked nor normalised: what they show of the future, the model sees.

    Args:
        study: The study.
        weights: What ``given_weights`` read.

    Raises:
        UsageError: They do not broadcast to the model's ``(batch, head, query, key)``.
    """
    if weights is None:
        return []
    skip = ""
    if study.objective.name == "none":
        skip = study.objective.reason
    elif not study.observed.replaceable:
        skip = left_whole(study)
    if skip:
        return [Finding(claim=CLAIM, verdict=Verdict.SKIP, reason=skip, source=SOURCE)]
    batches = study.whole_batches
    rows = torch.cat([batch.index for batch in batches]).numpy()
    values = np.full(rows.max() + 1, np.nan)
    with replace(study.model, weights, layers=study.observed.reached):
        values[rows] = losses_of(study.model, study.objective, batches) - study.loss[rows]
    return [given_finding(study, CLAIM, SOURCE, values)]
