"""`training.init_from`: start from the weights of a plain nnU-Net."""

from __future__ import annotations

import torch
from torch import nn

from nnuda.results import find_checkpoint

SETTING = "training.init_from"


def init_from(network: nn.Module, path: str) -> str:
    """Take over every weight whose name and shape agree, segmentation heads included.

    Args:
        network: neither compiled nor wrapped for DDP.
        path: a checkpoint, or a fold's results folder (fold_0, fold_all, ...).

    Returns:
        What was taken and what was not, for the log.

    Raises:
        ResultsError: no file.
        ValueError: no checkpoint of nnU-Net's, or nothing agrees.
    """
    checkpoint = find_checkpoint(path, option=SETTING)
    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    if not isinstance(content, dict) or "network_weights" not in content:
        raise ValueError(
            f"training.init_from: {checkpoint} is no nnU-Net checkpoint (it has no network_weights). "
            "Expected a checkpoint_*.pth of a plain nnU-Net."
        )
    given = content["network_weights"]
    own = network.state_dict()
    taken = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise ValueError(
            f"training.init_from: none of the {len(given)} weights in {checkpoint} fits this network. "
            "Expected a plain nnU-Net trained with the same plan and configuration."
        )
    network.load_state_dict({**own, **taken})
    missing = [name for name in own if name not in taken]
    unused = [name for name in given if name not in taken]
    report = f"training.init_from: took {len(taken)} of {len(own)} weights from {checkpoint}."
    report += f" Not in it, or of another shape: {_short(missing)}." if missing else ""
    return report + (f" Left over: {_short(unused)}." if unused else "")


def _short(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
