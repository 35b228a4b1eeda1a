"""Each network's predictions of target and source, once: what is there and fresh is used again."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tqdm import tqdm

from nnuda.choosing.candidates import FINAL, member_name
from nnuda.datasets import Domain, spread
from nnuda.evaluation.quality import SOURCE_CASES, held_out, read_model
from nnuda.evaluation.shifted_source import predict_shifted
from nnuda.files import folder_aside, into_place, read_json, write_json
from nnuda.results import is_of_nnuda, plans_of_source
from nnuda.selftraining.members import Member, predictor_of

MADE_FROM = "made_from.json"
TARGET, SOURCE, SHIFTED = "target", "source", "source_shifted"
WORDS = {TARGET: "target", SOURCE: "source", SHIFTED: "source, shifted"}


@dataclass(frozen=True)
class How:
    """How images are predicted: as nnUNetv2_predict does."""

    device: str
    mirroring: bool = True
    step_size: float = 0.5

    def described(self) -> dict[str, Any]:
        """What predictions depend on."""
        return {"mirroring": self.mirroring, "step_size": self.step_size}


def target_folder(output: str, member: Member) -> str:
    """Of a member's predictions of the target."""
    return join(output, "members", member_name(member), TARGET)


def predict_target(member: Member, images: Mapping[str, Sequence[str]], output: str, how: How) -> None:
    """What is left of the target's images.

    Args:
        member: a network.
        images: case -> its files.
        output: the folder of all that is written.
        how: to predict.
    """
    _predict(member, images, target_folder(output, member), how, TARGET)


def predict_source(member: Member, source: Domain, output: str, how: How) -> dict[str, str]:
    """Labelled cases for the calibration, with probabilities: those of the training's own validation, else predicted
    here, as source images are normalised.

    Returns:
        case -> folder of its prediction.
    """
    validation = validation_folder(member)
    validated = _cases(validation, source.file_ending)
    if member.checkpoint == FINAL and validated and validated == _cases(validation, ".npz"):
        return dict.fromkeys(sorted(validated), validation)
    images = _held_out_images(member, source)
    folder = join(output, "members", member_name(member), SOURCE)
    _predict(member, images, folder, how, SOURCE)
    return dict.fromkeys(images, folder)


def predict_source_shifted(member: Member, source: Domain, folder: str, how: How) -> dict[str, str]:
    """Some of the cases that the training did not learn from, or of all where it learnt from each, with shifted images.

    Returns:
        case -> folder of its prediction, which is `folder`.
    """
    images = _held_out_images(member, source)
    _predict(member, images, folder, how, SHIFTED)
    return dict.fromkeys(images, folder)


def validation_folder(member: Member) -> str:
    """Where its training has left the predictions of its validation cases."""
    return join(member.folder, f"fold_{member.fold}", "validation")


def shifted_folder(output: str, member: Member) -> str:
    """Of a member's predictions of shifted source images."""
    return join(output, "members", member_name(member), SHIFTED)


def _held_out_images(member: Member, source: Domain) -> dict[str, Sequence[str]]:
    cases = held_out(member.folder, member.fold) & source.images.keys()
    model = read_model(member.folder)
    drawn = [case for case in sorted(cases or source.images) if model.can_calibrate(case)]
    return {case: source.images[case] for case in spread(drawn, SOURCE_CASES)}


def _cases(folder: str, ending: str) -> set[str]:
    names = os.listdir(folder) if isdir(folder) else []
    return {name.removesuffix(ending) for name in names if name.endswith(ending)}


def _predict(member: Member, images: Mapping[str, Sequence[str]], folder: str, how: How, what: str) -> None:
    sizes = {case: sum(os.path.getsize(file) for file in files) for case, files in images.items()}
    left = _left(member, sizes, folder, how)
    print(f"{member.name}, {WORDS[what]}: {len(images) - len(left)} of {len(images)} cases are there", flush=True)
    if not left:
        return
    predictor = predictor_of(member, torch.device(how.device), how.mirroring, how.step_size)
    if what != TARGET and is_of_nnuda(member.folder):
        _normalise_as_source(predictor, member)
    for case in tqdm(left, desc=f"Predict the {WORDS[what]}", unit="case"):
        with folder_aside(join(folder, case)) as aside:
            with contextlib.redirect_stdout(io.StringIO()):
                if what == SHIFTED:
                    predict_shifted(predictor, images[case], join(aside, case))
                else:
                    predictor.predict_from_files_sequential([list(images[case])], [join(aside, case)], True)
            for ending in (".npz", ".pkl", predictor.dataset_json["file_ending"]):  # the labels last: then it is whole
                into_place(join(aside, case + ending), join(folder, case + ending))


def _normalise_as_source(predictor: nnUNetPredictor, member: Member) -> None:
    plans = read_json(plans_of_source(member.folder), "a plan of nnU-Net's")
    predictor.plans_manager = PlansManager(plans)
    configuration = os.path.basename(member.folder).split("__")[2]
    predictor.configuration_manager = predictor.plans_manager.get_configuration(configuration)


def _left(member: Member, sizes: Mapping[str, int], folder: str, how: How) -> list[str]:
    """Cases to predict. Predictions of another network, or made in another way, are removed."""
    noted = join(folder, MADE_FROM)
    before = read_json(noted, "what nnUDA_find_best_configuration writes") if isfile(noted) else {}
    said = {"sha256": member.sha256, **how.described()}
    if before.get("by") != said:
        shutil.rmtree(folder, ignore_errors=True)
        before = {}
    known = before.get("bytes", {})
    ending = read_json(join(member.folder, "dataset.json"), "what training leaves there")["file_ending"]
    left = [case for case in sizes if known.get(case) != sizes[case] or not isfile(join(folder, case + ending))]
    for case in left:  # of another image of this name
        with contextlib.suppress(FileNotFoundError):
            os.remove(join(folder, case + ending))
    write_json({"by": said, "bytes": {**known, **sizes}}, noted)
    return left
