"""Predictions of all members on the target, one file a case: what the rules ask, not the probabilities themselves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from tqdm import tqdm

from nnuda.datasets import Domain
from nnuda.files import replacing, write_json
from nnuda.images import read_case
from nnuda.selftraining.keeping import Vote
from nnuda.selftraining.members import Member, predictor_of


def vote(probabilities: Iterable[np.ndarray], manager: LabelManager) -> Vote:
    """What the members say of a case.

    Args:
        probabilities: of each member, (C, *S) of classes or (R, *S) of regions.
        manager: nnU-Net's.
    """
    total, labels = None, []
    for member in probabilities:
        labels.append(manager.convert_probabilities_to_segmentation(member).astype(np.uint8))
        total = member.astype(np.float32) if total is None else total + member
    mean = total / len(labels)
    label = manager.convert_probabilities_to_segmentation(mean).astype(np.uint8)
    confidence = np.maximum(mean, 1 - mean).min(0) if manager.has_regions else mean.max(0)
    agreeing = np.sum([one == label for one in labels], 0, dtype=np.uint8)
    return Vote(label, confidence.astype(np.float16), agreeing, len(labels))


def predictions_folder(target: Domain, members: list[Member], mirroring: bool, step_size: float) -> str:
    """Where predictions lie: the same members, predicting in the same way, use the same ones again."""
    said = [sorted(member.sha256 for member in members), mirroring, step_size]
    key = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
    return os.path.join(str(nnUNet_preprocessed), "nnUDA_pseudo_labels", f"{target.name}_{key}")


def read_vote(file: str, size: int) -> Vote | None:
    """A finished prediction; None: there is none, it is damaged, or the image's files had another size in bytes."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if int(stored["bytes"]) != size:
                return None
            return Vote(stored["label"], stored["confidence"], stored["agreeing"], int(stored["members"]))
    except (FileNotFoundError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError):
        return None


def write_vote(said: Vote, file: str, size: int) -> None:
    """As `read_vote` reads it."""
    with replacing(file, ".npz") as aside:
        np.savez_compressed(
            aside,
            label=said.label,
            confidence=said.confidence,
            agreeing=said.agreeing,
            members=said.members,
            bytes=size,
        )


def predict_target(
    target: Domain, members: list[Member], folder: str, device: torch.device, mirroring: bool, step_size: float
) -> dict[str, str]:
    """Predict what is not there yet.

    Args:
        target: its images.
        members: of the ensemble.
        folder: for the predictions.
        device: to predict on.
        mirroring: nnU-Net's test-time augmentation.
        step_size: nnU-Net's.

    Returns:
        case -> its file, to be read with `read_vote`.
    """
    files = {case: os.path.join(folder, f"{case}.npz") for case in target.images}
    sizes = target.sizes()
    missing = [case for case, file in files.items() if read_vote(file, sizes[case]) is None]
    print(f"Predictions: {len(files) - len(missing)} of {len(files)} are there ({folder})", flush=True)
    if not missing:
        return files
    write_json({"members": [member.described() for member in members]}, os.path.join(folder, "members.json"))
    predictors = [predictor_of(member, device, mirroring, step_size) for member in members]
    reader = target.reader_class()
    for case in tqdm(missing, desc="Predict the target", unit="case"):
        write_vote(_predict_case(predictors, reader, target.images[case]), files[case], sizes[case])
    return files


def _predict_case(predictors: list[nnUNetPredictor], reader: type[BaseReaderWriter], files: list[str]) -> Vote:
    image, properties = read_case(reader, files)
    return vote((_probabilities(one, image, properties) for one in predictors), predictors[0].label_manager)


def _probabilities(predictor: nnUNetPredictor, image: np.ndarray, properties: dict) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        return predictor.predict_single_npy_array(image, dict(properties), save_or_return_probabilities=True)[1]
