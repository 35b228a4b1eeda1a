"""What has to hold before any long work: each thing that does not is one PlanningError with the way out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.paths import nnUNet_raw

from nnuda.datasets import Domain, label_files, same_images
from nnuda.errors import DatasetError, PlanningError
from nnuda.images import check_whole, read_case
from nnuda.labels import PSEUDO_LABELS_ONLY
from nnuda.planning.geometry import low_resolution_axis, spacings
from nnuda.planning.raw_cases import raise_all


def check_domains(source: Domain, target: Domain, reader_class: type[BaseReaderWriter]) -> None:
    """Check that the target's images can go where the source's go. The ends of all files, and one image, are read.

    Args:
        source: the labelled dataset; without images where a trained model stands in for it.
        target: the unlabelled images.
        reader_class: the source's reader, which prediction uses too.

    Raises:
        PlanningError: the first thing that does not fit.
        DatasetError: files that are missing, cut off or no images.
    """
    _check_not_the_source(source, target)
    _check_numbers(source, target)
    _check_files(source, "source", label_files(source))
    _check_files(target, "target", {})
    _check_format(source, target, reader_class)
    _check_channels(source, target, reader_class)
    _check_labels(source.dataset_json.get("labels", {}), target.dataset_json.get("labels", {}), target.name)
    if source.images:
        _check_low_resolution_axis(source, target, reader_class)


def check_to_predict(images: Mapping[str, Sequence[str]], folder: str, source: Domain) -> None:
    """Check images that a model is going to label. The ends of all files are read.

    Args:
        images: case -> its files, one a channel.
        folder: where they lie, for the message.
        source: the dataset that the model is trained on.

    Raises:
        PlanningError: a case lacks a channel.
        DatasetError: files that are missing, cut off or no images.
    """
    _check_files(Domain(folder, folder, {}, dict(images)), "images in", {})
    usual = _usual_files(source.images or images)
    for case, files in images.items():
        _check_channel_files(case, files, f"the images in {folder}", usual, False)


def _check_not_the_source(source: Domain, target: Domain) -> None:
    if source.dataset_json.get(PSEUDO_LABELS_ONLY) and target.name != source.name:
        return  # without source data the target's images are the labelled ones, too
    if same_images(target, source):
        raise PlanningError(
            f"Target {target.name} is the source {source.name} itself. Give the other domain's images with -t."
        )


def _check_numbers(source: Domain, target: Domain) -> None:
    """nnU-Net looks for a dataset by its number."""
    datasets = [domain.name for domain in (source, target) if domain.folder == join(nnUNet_raw, domain.name)]
    numbers = [match[1] for match in map(re.compile(r"Dataset(\d+)_").match, datasets) if match]
    if len(numbers) == 2 and numbers[0] == numbers[1]:
        raise PlanningError(
            f"Expected source and target to have numbers of their own; {source.name} and {target.name} have the same, "
            f"{numbers[0]}, by which nnU-Net would find neither. Rename the target's folder with another number."
        )


def _check_files(domain: Domain, which: str, labels: dict[str, str]) -> None:
    complaints = []
    for case, files in domain.images.items():
        if case in labels and not os.path.lexists(labels[case]):
            complaints.append(
                f"Case {case} of the {which} {domain.name} has no label: expected {labels[case]}. Put it in place, or "
                "take the image out."
            )
            continue
        try:
            for file in [*files, *([labels[case]] if labels else [])]:
                check_whole(file)
        except DatasetError as error:
            complaints.append(str(error))
    raise_all(complaints, which, domain)


def _check_format(source: Domain, target: Domain, reader_class: type[BaseReaderWriter]) -> None:
    if target.file_ending != source.file_ending:
        raise PlanningError(
            f"File ending: source {source.name} has {source.file_ending}, target {target.name} "
            f"{target.file_ending}. nnU-Net predicts files of the source's ending only: convert the "
            f"target's images to {source.file_ending}."
        )
    reader = target.reader_class()
    if reader is reader_class:
        return
    try:
        read_case(reader_class, next(iter(target.images.values()))[:1])
        remedy = f'Set "overwrite_image_reader_writer": "{reader_class.__name__}" in the target\'s dataset.json.'
    except DatasetError as error:
        remedy = f"{reader_class.__name__} fails: {error}"
    raise PlanningError(
        f"Reader: the source's plan reads with {reader_class.__name__}, target {target.name} with {reader.__name__}. "
        f"{remedy}"
    )


def _check_channels(source: Domain, target: Domain, reader_class: type[BaseReaderWriter]) -> None:
    expected, got = len(source.channel_names), len(target.channel_names)
    if expected != got:
        raise PlanningError(
            f"Channels: source {source.name} has {expected} "
            f"({', '.join(source.channel_names.values())}), target {target.name} {got} "
            f"({', '.join(target.channel_names.values())}). Both need the same number, in matching "
            "order: take the channels that the other lacks out of a copy of that dataset, and train a model on the rest."
        )
    usual = _usual_files(source.images or target.images)
    for which, domain in (("source", source), ("target", target)):
        for case, files in domain.images.items():
            _check_channel_files(case, files, f"{which} {domain.name}", usual, "dataset" in domain.dataset_json)
    files = next(iter(target.images.values()))
    found = len(read_case(reader_class, files)[0])
    if found != expected:
        raise PlanningError(
            f"{files[0]}: expected {expected} channels ({', '.join(target.channel_names.values())}), got {found}. "
            "Correct channel_names in the dataset.json, or the file."
        )


def _usual_files(images: Mapping[str, Sequence[str]]) -> int:
    return Counter(map(len, images.values())).most_common(1)[0][0]


def _check_channel_files(case: str, files: Sequence[str], which: str, usual: int, listed: bool) -> None:
    names = [os.path.basename(file) for file in files]
    numbered = listed or all(re.search(rf"_{i:04d}\.", name) for i, name in enumerate(names))
    if len(files) == usual and numbered:
        return
    if len(files) == usual:
        raise PlanningError(
            f"Case {case} of {which}: expected its channels to be numbered _0000, _0001, ... without a gap; got "
            f"{', '.join(names)}. Rename or complete them."
        )
    raise PlanningError(
        f"Case {case} of {which} has {len(files)} image files ({', '.join(names)}), the source's cases have {usual}"
        f"{'' if usual == 1 else f', _0000 to _{usual - 1:04d}'}. Complete or remove it."
    )


def _check_labels(source: dict, target: dict, target_name: str) -> None:
    """A target's dataset.json may name labels; they are not used, but must not mean something else."""
    for name, value in target.items():
        if name in source and source[name] != value:
            raise PlanningError(
                f"Labels clash: {name!r} is {source[name]} in the source's dataset.json and {value} in "
                f'the target\'s ({target_name}). Make them agree, or take "labels" out of the '
                "target's."
            )
    names = {str(value): name for name, value in source.items()}
    for name, value in target.items():
        if names.get(str(value), name) != name:
            raise PlanningError(
                f"Labels clash: {value} is {names[str(value)]!r} in the source's dataset.json and "
                f'{name!r} in the target\'s ({target_name}). Make them agree, or take "labels" out of '
                "the target's."
            )


def _check_low_resolution_axis(source: Domain, target: Domain, reader_class: type[BaseReaderWriter]) -> None:
    of_source, of_target = (np.median(spacings(domain, reader_class), axis=0) for domain in (source, target))
    axis_s, axis_t = low_resolution_axis(of_source), low_resolution_axis(of_target)
    if None not in (axis_s, axis_t) and axis_s != axis_t:
        raise PlanningError(
            f"Low-resolution axis: array axis {axis_s} in the source (median spacing "
            f"{_mm(of_source)}), {axis_t} in the target ({_mm(of_target)}). nnU-Net slices both along "
            "the source's: reorient the target's images so that slices lie alike."
        )


def _mm(spacing: np.ndarray) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing) + " mm"


def check_dimension(configurations: list[str], plans: dict, target_fingerprint: dict) -> None:
    """3D configurations need volumes in the target too.

    Raises:
        PlanningError: the target's images are 2D.
    """
    is_3d = [c for c in configurations if "3d" in c]
    if is_3d and all(shape[0] == 1 for shape in target_fingerprint["shapes_after_crop"]):
        raise PlanningError(
            f"The target's images are 2D, configuration {is_3d[0]} of plan {plans['plans_name']} is 3D. Use -c 2d."
        )
