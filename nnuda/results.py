"""A results folder of nnU-Net's: its folds and checkpoints, and whether a trainer of nnuda made it."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Sequence
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join

from nnuda.errors import NnudaError
from nnuda.files import read_json

PLANS, PLANS_SOURCE = "plans.json", "plans_source.json"  # normalises as the target needs it, and as the source
# nnU-Net's own order, in which it looks for what to continue with
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
FOLD = "fold_"
POSTPROCESSING = "postprocessing.json"  # that nnUDA_postprocess leaves last
ADAPTED = "nnuda_adapt.json"  # what nnUDA_adapt knows of its folder, and knows it by
ESTIMATE = "nnuda_estimate.json"  # beside the predictions that nnUDA_estimate judged
_LABEL = {"type": "integer", "minimum": 0}
DATASET_SCHEMA = {
    "type": "object",
    "required": ["labels", "file_ending"],
    "properties": {
        "labels": {
            "type": "object",
            "required": ["background"],
            "minProperties": 2,
            "additionalProperties": {"anyOf": [_LABEL, {"type": "array", "items": _LABEL, "minItems": 1}]},
        },
        "file_ending": {"type": "string", "pattern": "^[.]"},
        "channel_names": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
        "modality": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
        "regions_class_order": {"type": "array", "items": {"type": "integer"}},
        "overwrite_image_reader_writer": {"type": "string"},
    },
}
_EXTENTS = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 3, "maxItems": 3}
_INTENSITIES = ("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5")
FINGERPRINT_SCHEMA = {
    "type": "object",
    "required": ["spacings", "shapes_after_crop", "foreground_intensity_properties_per_channel"],
    "properties": {
        "spacings": {"type": "array", "minItems": 1, "items": _EXTENTS},
        "shapes_after_crop": {"type": "array", "minItems": 1, "items": _EXTENTS},
        "foreground_intensity_properties_per_channel": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": list(_INTENSITIES),
                "properties": dict.fromkeys(_INTENSITIES, {"type": ["number", "nan"]}),
            },
        },
        "median_relative_size_after_cropping": {"type": "number"},
    },
}
_NUMBER = {"type": ["number", "nan", "null"]}
_EXPECTED = {
    "type": "object",
    "required": ["value", "low", "high"],
    "properties": dict.fromkeys(("value", "low", "high", "soft_dice", "atc", "agreement", "dice_on_source"), _NUMBER),
}
ESTIMATE_SCHEMA = {
    "type": "object",
    "required": ["verdict", "reasons", "caution", "mean", "per_class", "per_case"],
    "properties": {
        "verdict": {"type": "string"},
        "caution": {"type": "string"},
        **dict.fromkeys(("reasons", "notes"), {"type": "array", "items": {"type": "string"}}),
        "mean": _EXPECTED,
        "per_class": {"type": "object", "minProperties": 1, "additionalProperties": _EXPECTED},
        "per_case": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "object"}},
    },
}
AS_LEFT = "Put back what training left there."  # the remedy for files of a results folder
LOGGED = "nnUDA/"  # how the names of loss terms begin in nnU-Net's log


class ResultsError(NnudaError, FileNotFoundError):
    """A results folder that lacks what is asked of it."""


class DamagedCheckpoint(ResultsError):
    """A checkpoint that was cut off, or another kind of file."""


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


def read_dataset_json(path: str, remedy: str = "", channels: bool = False) -> dict[str, Any]:
    """The dataset.json of a results folder, of predictions or of preprocessed data, which nnU-Net has copied there.

    Args:
        path: of the file.
        remedy: what to do where it is not as it should be.
        channels: whether it must name the channels, which scoring can do without.

    Raises:
        FileError: not there, damaged, or without what nnU-Net reads of it.
    """
    named = {"anyOf": [{"required": ["channel_names"]}, {"required": ["modality"]}]} if channels else {}
    return read_json(path, "a dataset.json of nnU-Net's", {**DATASET_SCHEMA, **named}, remedy)


def read_fingerprint(
    path: str, remedy: str, schema: dict = FINGERPRINT_SCHEMA, channels: int | None = None
) -> dict[str, Any]:
    """A dataset's fingerprint, of nnU-Net's or nnuda's.

    Args:
        path: of the file.
        remedy: what to do where it is not as it should be.
        schema: what more it has to have.
        channels: of the dataset that is planned by it, each of which it must speak of; None: it is only looked at.

    Raises:
        FileError: not there, damaged, or no fingerprint.
    """
    if channels is not None:
        names = [str(channel) for channel in range(channels)]
        of_each = {
            "foreground_intensity_properties_per_channel": {"required": names, "maxProperties": channels},
            "intensities_from": {"minItems": channels, "maxItems": channels},
        }
        planned_by = {"required": ["median_relative_size_after_cropping"], "properties": of_each}
        schema = {"allOf": [schema, planned_by]}
    return read_json(path, "a dataset's fingerprint", schema, remedy)


def read_estimate(file: str) -> dict[str, Any]:
    """Dice expected without labels, as nnUDA_estimate writes it.

    Raises:
        FileError: not there, damaged, or no estimate.
    """
    remedy = "Make it again with nnUDA_estimate, or move it away."
    return read_json(file, "what nnUDA_estimate writes", ESTIMATE_SCHEMA, remedy)


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


def load_checkpoint(path: str, device: str = "cpu", needed: Sequence[str] = (), mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net's without running any code that is in it: tensors, plain Python values and NumPy's
    numbers and arrays are all that nnU-Net and nnuda store.

    Args:
        path: of the checkpoint.
        device: to put the tensors on.
        needed: entries that it must have besides network_weights.
        mapped: tensors stay in the file until they are used; for a look at the rest of a file that nobody changes.

    Returns:
        nnU-Net's entries (network_weights, init_args, trainer_name, ...).

    Raises:
        ResultsError: damaged, not a checkpoint of nnU-Net's, or holding anything else.
    """
    import numpy as np
    import torch
    from numpy._core.multiarray import _reconstruct, scalar

    plain = [scalar, _reconstruct, np.dtype, np.ndarray, *(getattr(np.dtypes, name) for name in np.dtypes.__all__)]
    try:
        with torch.serialization.safe_globals(plain):
            content = torch.load(path, map_location=device, weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "Unsupported operand" not in str(error) and ("Unsupported" in str(error) or "GLOBAL" in str(error)):
            raise ResultsError(
                f"{path}: expected tensors and plain values alone; it holds other Python objects, which run code when "
                "they are read. Use a checkpoint of nnU-Net's from someone you trust, as it was written."
            ) from error
        raise _damaged(path, error) from error
    except FileNotFoundError as error:
        raise ResultsError(f"Expected a checkpoint {path}, which is not there.") from error
    except (PermissionError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # bytes of another kind of file end in anything
        raise _damaged(path, error) from error
    missing = [name for name in ("network_weights", *needed) if not isinstance(content, dict) or name not in content]
    if not missing and not _are_weights(content["network_weights"]):
        missing = ["network_weights"]
    if missing:
        raise ResultsError(
            f"{path}: expected a checkpoint of nnU-Net's; it has no {', '.join(missing)}. Name a checkpoint_*.pth of a "
            "results folder."
        )
    return content


def _are_weights(content: Any) -> bool:
    import torch

    return isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values())


def is_cut_off(path: str) -> bool:
    """Whether a checkpoint is there and cannot be read: nnU-Net writes its own in place."""
    try:
        return isfile(path) and not load_checkpoint(path, mapped=True)
    except DamagedCheckpoint:
        return True
    except ResultsError:  # whole, whatever it holds
        return False


def _damaged(path: str, error: Exception) -> DamagedCheckpoint:
    size = os.path.getsize(path) if isfile(path) else 0
    # errors of files and archives say something; torch's advice to programmers, or the number of a KeyError, does not
    says = str(error).strip() if isinstance(error, OSError | RuntimeError) else ""
    return DamagedCheckpoint(
        f"{path}: expected a checkpoint of nnU-Net's; its {size} bytes cannot be read as one. It was cut off while being "
        f"copied or written, or is another kind of file: copy it again, or take another checkpoint."
        f"{f' ({says.splitlines()[0]})' if says else ''}"
    )
