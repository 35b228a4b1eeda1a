"""`training.init_from`: start from the weights of a plain nnU-Net."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser

from torch import nn

from nnuda.errors import NnudaError, runs_nnunet
from nnuda.results import ResultsError, find_checkpoint, load_checkpoint
from nnuda.settings import INIT_FROM
from nnuda.training.checkpoint import unwrapped

NNUNETS_OPTION = "-pretrained_weights"


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
    checkpoint = find_checkpoint(path, option=INIT_FROM)
    try:
        given = unwrapped(load_checkpoint(checkpoint)["network_weights"])
    except ResultsError as error:
        raise InitFromError(f"{INIT_FROM}: {error}") from error
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


def check_pretrained_weights(network: nn.Module) -> None:
    """Where nnUNetv2_train was given -pretrained_weights: what nnU-Net will refuse, said with the way out, and the file
    looked at before nnU-Net runs what code is in it.

    Args:
        network: neither compiled nor wrapped for DDP.

    Raises:
        ResultsError: the file is damaged, no checkpoint, or holds more than values.
        InitFromError: there is no file, or a weight other than the segmentation heads' is missing or of another shape.
    """
    path = _pretrained_weights() if runs_nnunet() else None
    if path is None:
        return
    if not os.path.isfile(path):
        is_folder = "is a folder" if os.path.isdir(path) else "is not there"
        raise InitFromError(f"{NNUNETS_OPTION}: expected a checkpoint, a file; {path} {is_folder}. Correct the path.")
    given, own = unwrapped(load_checkpoint(path)["network_weights"]), network.state_dict()
    wrong = [
        name
        for name, value in own.items()
        if ".seg_layers." not in name and (name not in given or given[name].shape != value.shape)
    ]
    if wrong:
        raise InitFromError(
            f"{NNUNETS_OPTION}: expected all weights of this network but the segmentation heads'; {len(wrong)} of "
            f"{len(own)} are not in {path}, or of another shape: {_short(wrong)}. To take what fits, use "
            f"nnUDA_configure --set {INIT_FROM}={path}"
        )


def _pretrained_weights() -> str | None:
    """What nnUNetv2_train was given, however it was written."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("-p")  # else it would be read as the beginning of the other
    parser.add_argument(NNUNETS_OPTION, dest="file")
    return parser.parse_known_args(sys.argv[1:])[0].file


def _short(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
