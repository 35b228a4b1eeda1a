"""What can be known to be wrong before a road is begun, though a late stage would stop with it."""

from __future__ import annotations

import os

from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.case_files import check_fold
from nnuda.datasets import find_images
from nnuda.errors import AdaptError
from nnuda.planning.checks import check_to_predict
from nnuda.selection.history import CHECKPOINT as SELECTED
from nnuda.stages.road import BEST, FINAL, Road

LEFT_BY_TRAINING = (FINAL, BEST, SELECTED)


def check_later_stages(road: Road) -> None:
    """The fold, the checkpoint and the images to predict.

    Raises:
        PlanningError: no such fold, or a case without all channels.
        AdaptError: a checkpoint that training does not leave.
        DatasetError: images that are missing or cut off.
    """
    splits = join(nnUNet_preprocessed, road.source.name, "splits_final.json")
    check_fold(road.fold, len(road.source.images), splits, "-f")
    _check_checkpoint(road)
    check_to_predict(find_images(road.images, road.target.file_ending), road.images, road.source)


def _check_checkpoint(road: Road) -> None:
    name = road.checkpoint
    if name is None or name in LEFT_BY_TRAINING:
        return
    if os.path.basename(name) != name or not isfile(join(road.fold_folder, name)):
        raise AdaptError(
            f"-chk: expected a file that training leaves, {', '.join(LEFT_BY_TRAINING)}, or one that is in "
            f"{road.fold_folder}; got {name}."
        )
