"""A trained run as its results folder has it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.errors import ReportError
from nnuda.files import read_json
from nnuda.plan_key import SHOWN_OF_CONFIGURATIONS, configuration_of, read_key, read_plans, target_folder
from nnuda.results import (
    AS_LEFT,
    CHECKPOINTS,
    LOGGED,
    PLANS,
    PLANS_SOURCE,
    find_checkpoint,
    folds_in,
    load_checkpoint,
    read_dataset_json,
    read_fingerprint,
    require_nnuda,
    split_fold,
)
from nnuda.selection.history import FILE as SELECTION
from nnuda.settings import check_known, defaults, load_preset
from nnuda.trainer_files import BASE
from nnuda.training.loss_terms import loss_terms

_NUMBER, _TEXTS = {"type": ["number", "nan", "null"]}, {"type": "array", "items": {"type": "string"}}
_RECORD = {
    "type": "object",
    "required": [
        "epoch",
        "entropy",
        "class_prior",
        "agreement",
        "density",
        "source_dice",
        "agreement_kind",
        "class_shares",
        "vetoed",
        "alarm",
    ],
    "properties": {
        "epoch": {"type": "integer", "minimum": 0},
        **dict.fromkeys(("entropy", "class_prior", "agreement", "density", "source_dice"), _NUMBER),
        "agreement_kind": {"enum": ["teacher", "flip", None]},
        "class_shares": {"type": "array", "items": _NUMBER},
        "vetoed": _TEXTS,
        "alarm": _TEXTS,
    },
}
SELECTION_SCHEMA = {
    "type": "object",
    "required": ["rule", "epochs", "selected_epoch"],
    "properties": {
        "rule": {
            "type": "object",
            "required": ["scores", "classes", "source_dice", "class_share", "source_shares", "watched"],
            "properties": {
                "scores": _TEXTS,
                "classes": _TEXTS,
                "source_dice": {"type": "number"},
                "class_share": {"type": "number"},
                "source_shares": {"type": "array", "items": {"type": "number"}},
                "watched": {"type": "array", "items": {"type": "boolean"}},
            },
        },
        "epochs": {"type": "array", "items": _RECORD},
        "selected_epoch": {"type": ["integer", "null"]},
    },
}
_LOGGED_BY_NNUNET = (
    "train_losses",
    "val_losses",
    "lrs",
    "mean_fg_dice",
    "dice_per_class_or_region",
    "epoch_start_timestamps",
    "epoch_end_timestamps",
)


@dataclass(frozen=True)
class Run:
    """A fold folder and the files around it.

    Attributes:
        folder: the fold folder, <nnUNet_results>/<dataset>/<trainer>__<plans>__<configuration>/fold_x.
        plans: the frozen plan, with the normalisation of the target.
        plans_source: the same with the source's.
        dataset_json: the source's.
        checkpoint_name: the file that was read: final, else latest, else best.
        checkpoint: its content, weights left out.
        selection: content of selection.json, if it is there.
    """

    folder: str
    plans: dict
    plans_source: dict
    dataset_json: dict
    checkpoint_name: str
    checkpoint: dict
    selection: dict | None

    @property
    def key(self) -> dict:
        """The plan's `domain_adaptation`."""
        return read_key(self.plans)

    @property
    def settings(self) -> dict[str, Any]:
        """What it was trained with; what an earlier version did not have is off, as under the papers' recipe."""
        return {**defaults(load_preset(BASE), "paper"), **self.key["effective_settings"]}

    @property
    def source(self) -> str:
        """Name of the labelled dataset."""
        return self.plans["dataset_name"]

    @property
    def target(self) -> str:
        """Name of the unlabelled domain."""
        return self.key["target"]["name"]

    @property
    def trainer(self) -> str:
        """Class name of the trainer."""
        return self.checkpoint["trainer_name"]

    @property
    def configuration(self) -> str:
        """Name of the plan's configuration."""
        return self.checkpoint["init_args"]["configuration"]

    @property
    def logged(self) -> dict[str, list]:
        """nnU-Net's log: a value per epoch by name."""
        return self.checkpoint["logging"]

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        return self.checkpoint["current_epoch"]

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.checkpoint_name == CHECKPOINTS[0]

    @property
    def state(self) -> dict[str, Any]:
        """nnuda's part of the checkpoint."""
        return self.checkpoint.get("nnuda", {})

    @property
    def terms(self) -> dict[str, list[float]]:
        """Loss terms and what else a method logs, by name, without the source's loss."""
        found = {name.removeprefix(LOGGED): values for name, values in self.logged.items() if name.startswith(LOGGED)}
        return {name: values for name, values in found.items() if name != "source"}

    @property
    def weights(self) -> dict[str, float]:
        """Full weight of each loss term that is on, by name."""
        return {name: term.weight for name, term in loss_terms(self.settings).items() if name in self.terms}

    @property
    def classes(self) -> list[str]:
        """The foreground classes or regions, in the network's order."""
        return self.key["foreground_classes"]

    @cached_property
    def fingerprints(self) -> dict[str, dict | None]:
        """ "source" and "target": content of the fingerprints, None where one cannot be found."""
        files = {"source": join(os.path.dirname(self.folder), "dataset_fingerprint.json"), "target": None}
        if nnUNet_preprocessed.is_set():
            files["target"] = join(target_folder(self.key), "fingerprint.json")
        remedy = "Make it again with nnUDA_extract_fingerprint --clean, or move it away to do without it."
        return {
            domain: read_fingerprint(file, remedy) if file and isfile(file) else None for domain, file in files.items()
        }

    @cached_property
    def debug(self) -> dict[str, str]:
        """What nnU-Net noted of the machine: device, GPU, versions."""
        file = join(self.folder, "debug.json")
        return read_json(file, "nnU-Net's notes", remedy="Move it away to do without it.") if isfile(file) else {}


def read_run(folder: str) -> Run:
    """Reads a fold folder.

    Raises:
        ReportError: it is none, or lacks what training left there.
        ResultsError: it was not made by nnuda, has no checkpoint yet, or a damaged one.
        FileError, PlanKeyError, SettingsError: another file of it is damaged.
    """
    folder = os.path.abspath(folder)
    above, _ = split_fold(folder)
    if not os.path.isdir(folder):
        raise ReportError(f"Expected a fold folder of nnUNet_results; {folder} does not exist.")
    if folds_in(folder):
        raise ReportError(
            f"Expected a fold folder, such as {join(folder, 'fold_' + folds_in(folder)[0])}; got the folder above it."
        )
    require_nnuda(above)
    file = find_checkpoint(folder, option="fold_folder")
    plans = read_plans(join(above, PLANS), AS_LEFT)
    frozen = sorted({"effective_settings", "foreground_classes"} - read_key(plans).keys())
    if frozen:
        raise ReportError(f"{join(above, PLANS)}: expected the plan that training froze; it has no {frozen}. {AS_LEFT}")
    checkpoint = load_checkpoint(file, needed=("trainer_name", "init_args", "logging", "current_epoch"))
    parameters = sum(value.numel() for value in checkpoint.pop("network_weights").values())
    checkpoint.pop("optimizer_state", None)
    checkpoint["parameters"] = parameters
    logged = checkpoint["logging"]
    lacking = [name for name in _LOGGED_BY_NNUNET if not isinstance(logged, dict) or name not in logged]
    if lacking:
        raise ReportError(f"{file}: expected nnU-Net's log in it; it lacks {', '.join(lacking)}. {AS_LEFT}")
    odd = [name for name in _LOGGED_BY_NNUNET if not _are_numbers(logged[name])]
    if odd or not isinstance(checkpoint["current_epoch"], int):
        what = f"numbers as {', '.join(odd)}" if odd else "a whole number as current_epoch"
        raise ReportError(f"{file}: expected nnU-Net's log in it, with {what}; got something else. {AS_LEFT}")
    configuration_of(plans, checkpoint["init_args"]["configuration"], SHOWN_OF_CONFIGURATIONS)
    check_known(read_key(plans)["effective_settings"])
    selection = join(folder, SELECTION)
    return Run(
        folder,
        plans,
        read_plans(join(above, PLANS_SOURCE), AS_LEFT),
        read_dataset_json(join(above, "dataset.json"), AS_LEFT, channels=True),
        os.path.basename(file),
        checkpoint,
        load_selection(selection) if os.path.lexists(selection) else None,
    )


def _are_numbers(values: object) -> bool:
    """Whether these are the values of a curve; of a class each in some."""
    if isinstance(values, list | tuple):
        return all(map(_are_numbers, values))
    return values is None or isinstance(values, int | float | np.number | np.ndarray)


def load_selection(path: str) -> dict:
    """selection.json.

    Raises:
        FileError: damaged, or not what training writes.
    """
    remedy = "Move it away to make the report without it."
    content = read_json(path, "the scores that training writes", SELECTION_SCHEMA, remedy)
    rule, epochs = content["rule"], content["epochs"]
    classes = len(rule["classes"])
    if any(len(x) != classes for x in (rule["source_shares"], rule["watched"], *(e["class_shares"] for e in epochs))):
        raise ReportError(f"{path}: expected a share for each of {classes} classes everywhere. {remedy}")
    numbers = [epoch["epoch"] for epoch in epochs]
    if numbers != sorted(set(numbers)) or content["selected_epoch"] not in (None, *numbers):
        raise ReportError(
            f"{path}: expected epochs in their order, among them the selected one, {content['selected_epoch']}; it has "
            f"{numbers}. {remedy}"
        )
    return content


def number(value: float | None, digits: int = 3) -> str:
    """A number for a reader; "-" for none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"
