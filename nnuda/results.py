"""A results folder of nnU-Net's: its folds and checkpoints, and whether a trainer of nnuda made it."""

from __future__ import annotations

import os

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join

from nnuda.errors import NnudaError

PLANS, PLANS_SOURCE = "plans.json", "plans_source.json"  # normalises as the target needs it, and as the source
# nnU-Net's own order, in which it looks for what to continue with
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
FOLD = "fold_"
LOGGED = "nnUDA/"  # how the names of loss terms begin in nnU-Net's log


class ResultsError(NnudaError, FileNotFoundError):
    """A results folder that lacks what is asked of it."""


def is_of_nnuda(folder: str) -> bool:
    """Whether <trainer>__<plans>__<configuration> was trained by a trainer of nnuda."""
    return isfile(join(folder, PLANS_SOURCE))


def require_nnuda(folder: str) -> None:
    """Stop where a results folder is not nnuda's.

    Raises:
        ResultsError: it was trained by another trainer.
    """
    if not is_of_nnuda(folder):
        raise ResultsError(f"Expected a model trained by a trainer of nnuda; {folder} has no {PLANS_SOURCE}.")


def plans_of_source(folder: str) -> str:
    """The file with the plan that normalises source images: nnuda's own, else the only one there is."""
    return join(folder, PLANS_SOURCE if is_of_nnuda(folder) else PLANS)


def folds_in(folder: str) -> list[str]:
    """Folds of a results folder: numbers, or "all"."""
    names = sorted(os.listdir(folder)) if isdir(folder) else []
    return [name.removeprefix(FOLD) for name in names if name.startswith(FOLD)]


def split_fold(fold_folder: str) -> tuple[str, str]:
    """.../fold_x becomes the results folder and the fold."""
    folder, name = os.path.split(os.path.abspath(fold_folder))
    return folder, name.removeprefix(FOLD)


def find_fold(folder: str, fold: str, option: str = "-f") -> str:
    """A fold's folder.

    Args:
        folder: results folder <trainer>__<plans>__<configuration>.
        fold: number, or "all".
        option: what the user names the fold with.

    Raises:
        ResultsError: there is none; lists those there are.
    """
    found = folds_in(folder)
    if fold not in found:
        raise ResultsError(
            f"{option}: expected fold {fold} in {folder}, a results folder "
            f"<trainer>__<plans>__<configuration>; there are: "
            f"{', '.join(FOLD + name for name in found) or 'none'}."
        )
    return join(folder, FOLD + fold)


def find_checkpoint(path: str, name: str | None = None, option: str = "-chk") -> str:
    """A checkpoint.

    Args:
        path: a fold's folder, or a checkpoint.
        name: the file wanted of a folder; None: the first of CHECKPOINTS.
        option: what the user names it with.

    Raises:
        ResultsError: there is none; lists those there are.
    """
    wanted = CHECKPOINTS if name is None else (name,)
    for file in [join(path, one) for one in wanted] if isdir(path) else [path]:
        if isfile(file):
            return file
    if not isdir(path):
        raise ResultsError(
            f"{option}: expected a checkpoint, or a fold's folder fold_x with one of "
            f"{', '.join(wanted)}; {path} is not there."
        )
    found = sorted(file for file in os.listdir(path) if file.endswith(".pth"))
    raise ResultsError(
        f"{option}: expected {' or '.join(wanted)} in {path}; there are: {', '.join(found) or 'none'}. "
        "The first one comes with the end of the first epoch, checkpoint_final.pth with that of the "
        "training."
    )
