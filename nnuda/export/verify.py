"""The same image through the model as it was and as it was exported, by stock nnU-Net's predictor."""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import isdir, isfile
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_raw

from nnuda.datasets import DatasetError, find_images, load_dataset
from nnuda.errors import short
from nnuda.export.trained_model import ExportError, TrainedModel
from nnuda.images import read_case

Cases = dict[str, list[str]]  # case -> one file per channel


@dataclass(frozen=True)
class LabelCheck:
    """Labels of one case before and after.

    Attributes:
        files: the image, one file per channel.
        voxels: of the image.
        foreground: voxels that are not background before.
        differing: voxels whose label is another after.
    """

    files: list[str]
    voxels: int
    foreground: int
    differing: int


def find_cases(model: TrainedModel, given: str | None) -> Cases:
    """The images to compare on.

    Args:
        model: its file ending counts.
        given: an image, or a folder of images named CASE_0000<ending>, all of which are taken. None: the first image
            of the target or, where the target's raw images are not at hand, of the source.

    Raises:
        ExportError, DatasetError: no image.
    """
    if given is None:
        return _first_case(model)
    ending = model.dataset_json["file_ending"]
    return find_images(given, ending) if isdir(given) else _case_of_file(given, ending)


def _first_case(model: TrainedModel) -> Cases:
    for name in (model.target, model.dataset):
        with contextlib.suppress(DatasetError):
            if nnUNet_raw.is_set():
                return dict(list(load_dataset(name).images.items())[:1])
    raise ExportError(
        f"No image to compare on: neither {model.target} nor {model.dataset} has images in "
        f"nnUNet_raw={nnUNet_raw.get()}. Name one with -i: a file, or a folder."
    )


def _case_of_file(file: str, ending: str) -> Cases:
    if not isfile(file) or not file.endswith(ending):
        raise ExportError(
            f"-i: expected an image that ends with {ending}, or a folder of them; {file} is "
            f"{'another file' if isfile(file) else 'not there'}."
        )
    match = re.fullmatch(r"(.+)_\d{4}", os.path.basename(file)[: -len(ending)])
    if not match:
        return {os.path.basename(file): [file]}
    return {match[1]: find_images(os.path.dirname(os.path.abspath(file)), ending)[match[1]]}


def compare(before: nnUNetPredictor, after: nnUNetPredictor, files: list[str]) -> LabelCheck:
    """Predict one case with both."""
    labels, exported = predict(before, files), predict(after, files)
    differing = labels.size if labels.shape != exported.shape else np.count_nonzero(labels != exported)
    return LabelCheck(files, labels.size, int(np.count_nonzero(labels)), int(differing))


def predict(predictor: nnUNetPredictor, files: list[str]) -> np.ndarray:
    """Labels of one case, (*S) as the reader has them."""
    try:
        image, properties = read_case(predictor.plans_manager.image_reader_writer_class, files)
    except DatasetError as error:
        raise ExportError(
            f"{' '.join(files)}: expected an image to compare on; it cannot be read ({short(str(error))}). Name another "
            "with -i."
        ) from error
    # nnU-Net lets cuDNN choose its kernels by stopwatch: two predictions of one model could round differently
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        with contextlib.redirect_stdout(io.StringIO()):
            return predictor.predict_single_npy_array(image, properties)
