"""A trained run as its results folder has it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join, load_json
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.errors import NnudaError
from nnuda.plan_key import read_key, target_folder
from nnuda.results import CHECKPOINTS, LOGGED, PLANS, PLANS_SOURCE, find_checkpoint, folds_in, require_nnuda, split_fold
from nnuda.selection.history import FILE as SELECTION
from nnuda.training.loss_terms import loss_terms


class ReportError(NnudaError, ValueError):
    """Something that forbids a report; the message says what was expected and what to do."""


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
        """What it was trained with."""
        return self.key["effective_settings"]

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
        return {domain: load_json(file) if file and isfile(file) else None for domain, file in files.items()}

    @cached_property
    def debug(self) -> dict[str, str]:
        """What nnU-Net noted of the machine: device, GPU, versions."""
        file = join(self.folder, "debug.json")
        return load_json(file) if isfile(file) else {}


def read_run(folder: str) -> Run:
    """Reads a fold folder.

    Raises:
        ReportError: it is none.
        ResultsError: it was not made by nnuda, or has no checkpoint yet.
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
    plans = load_json(join(above, PLANS))
    read_key(plans)
    checkpoint = torch.load(file, map_location="cpu", weights_only=False)
    parameters = sum(value.numel() for value in checkpoint.pop("network_weights").values())
    del checkpoint["optimizer_state"]
    checkpoint["parameters"] = parameters
    selection = join(folder, SELECTION)
    return Run(
        folder,
        plans,
        load_json(join(above, PLANS_SOURCE)),
        load_json(join(above, "dataset.json")),
        os.path.basename(file),
        checkpoint,
        load_selection(selection) if isfile(selection) else None,
    )


def load_selection(path: str) -> dict:
    """selection.json.

    Raises:
        ReportError: not what training writes.
    """
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    if not {"rule", "epochs", "selected_epoch"} <= set(content):
        raise ReportError(
            f"Expected {path} to hold rule, epochs and selected_epoch, as training writes it; got "
            f"{', '.join(content)}. Move it away to make the report without it."
        )
    return content


def number(value: float | None, digits: int = 3) -> str:
    """A number for a reader; "-" for none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"
