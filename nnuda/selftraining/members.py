"""The members of an ensemble: each a fold of a results folder and a checkpoint in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnuda.datasets import Domain
from nnuda.errors import NnudaError
from nnuda.files import sha256
from nnuda.plan_key import read_plans
from nnuda.predictor import load_predictor
from nnuda.results import (
    AS_LEFT,
    PLANS,
    find_checkpoint,
    find_fold,
    folds_in,
    load_checkpoint,
    read_dataset_json,
)


class MemberError(NnudaError, ValueError):
    """A model that cannot label the target for this source."""


@dataclass(frozen=True)
class Member:
    """A trained network.

    Attributes:
        folder: results folder <trainer>__<plans>__<configuration>.
        fold: number, or "all".
        checkpoint: file name.
        sha256: of the checkpoint.
    """

    folder: str
    fold: str
    checkpoint: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{os.path.basename(self.folder)}/fold_{self.fold}/{self.checkpoint}"

    def described(self) -> dict[str, str]:
        """For provenance.json."""
        return asdict(self)


def find_members(
    folders: Sequence[str],
    folds: Sequence[str] | None,
    checkpoints: Sequence[str],
    source: Domain,
    reader: type[BaseReaderWriter],
    option: str = "-m",
) -> list[Member]:
    """Every fold and checkpoint of every folder.

    Args:
        folders: results folders.
        folds: None: all that a folder has.
        checkpoints: file names.
        source: whose labels and channels the models must have.
        reader: of its images.
        option: what the user names a model with.

    Raises:
        MemberError, ResultsError: one is missing, or does not fit the source.
    """
    members = []
    for folder in dict.fromkeys(os.path.abspath(folder) for folder in folders):
        wanted = list(dict.fromkeys(folds or folds_in(folder)))
        if not wanted:
            raise MemberError(
                f"{option}: expected a results folder <trainer>__<plans>__<configuration> with fold_x in it; got {folder}."
            )
        _check_fits(folder, source, reader.__name__, option)
        for fold in wanted:
            for name in dict.fromkeys(checkpoints):
                file = find_checkpoint(find_fold(folder, fold), name)
                load_checkpoint(file, mapped=True)  # nnU-Net's predictor would run any code that is in it
                members.append(Member(folder, fold, name, sha256(file)))
    return members


def _check_fits(folder: str, source: Domain, reader_of_source: str, option: str) -> None:
    trained = read_dataset_json(os.path.join(folder, "dataset.json"), AS_LEFT, channels=True)
    for what, got, expected in (
        ("labels", _labels(trained), _labels(source.dataset_json)),
        (
            "number of channels",
            len(trained.get("channel_names", trained.get("modality", {}))),
            len(source.channel_names),
        ),
        ("file ending", trained["file_ending"], source.file_ending),
    ):
        if got != expected:
            raise MemberError(
                f"{option} {folder}: expected the {what} of the source {source.name}, {expected}; the model has {got}. "
                "Name a model that was trained on these classes, or its source with -d."
            )
    reader = read_plans(os.path.join(folder, PLANS), AS_LEFT)["image_reader_writer"]
    if reader != reader_of_source:
        raise MemberError(
            f"{option} {folder}: reads images with {reader}, the source {source.name} with {reader_of_source}. "
            f'Set "overwrite_image_reader_writer": "{reader}" in the source\'s dataset.json.'
        )


def _labels(dataset_json: dict) -> dict:
    """Without the ignore label, which the first round brings and the network has no channel for."""
    labels = {name: value for name, value in dataset_json["labels"].items() if name != "ignore"}
    return {**labels, "order of regions": dataset_json.get("regions_class_order")}


def predictor_of(member: Member, device: torch.device, mirroring: bool, step_size: float) -> nnUNetPredictor:
    """Stock nnU-Net's predictor of one member.

    Raises:
        MemberError: it is the second stage of a cascade.
    """
    predictor = load_predictor(member.folder, [member.fold], member.checkpoint, device, mirroring, step_size)
    if predictor.configuration_manager.previous_stage_name is not None:
        raise MemberError(
            f"{member.name}: expected a configuration that predicts from the image alone; it is the second stage of a "
            "cascade. Use 2d, 3d_lowres or 3d_fullres."
        )
    return predictor
