"""`training.init_from`: start from the weights of a plain nnU-Net."""

from __future__ import annotations

from torch import nn

from nnuda.errors import NnudaError
from nnuda.results import ResultsError, find_checkpoint, load_checkpoint
from nnuda.training.checkpoint import unwrapped

SETTING = "training.init_from"


class InitFromError(NnudaError, ValueError):
    """A checkpoint whose weights cannot be a start."""


def init_from(network: nn.Module, path: str) -> str:
    """Take over every weight whose name and shape agree, segmentation heads included.

    Args:
        network: neither compiled nor wrapped for DDP.
        path: a checkpoint, or a fold's results folder (fold_0, fold_all, ...).

    Returns:
        What was taken and what was not, for the log.

    Raises:
        ResultsError: no file.
        InitFromError: no checkpoint of nnU-Net's, or nothing agrees.
    """
    checkpoint = find_checkpoint(path, option=SETTING)
    try:
        given = unwrapped(load_checkpoint(checkpoint)["network_weights"])
    except ResultsError as error:
        raise InitFromError(f"{SETTING}: {error}") from error
    own = network.state_dict()
    taken = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise InitFromError(
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
