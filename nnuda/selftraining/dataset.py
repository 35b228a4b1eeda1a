"""The dataset of a round: source cases with their labels, target cases with the labels that were kept."""

from __future__ import annotations

import os
import re
import shutil

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

from nnuda.datasets import LONGEST_NAME, DatasetError, Domain, label_files
from nnuda.errors import short
from nnuda.labels import PSEUDO_LABELLED, PSEUDO_LABELS, PSEUDO_LABELS_ONLY
from nnuda.planning.normalization import normalization_schemes
from nnuda.selftraining.source_anatomy import ignore_value

Z_SCORE = "zscore"


def output_name(given: str, source: str, target: str) -> str:
    """The name behind -o: a name as nnU-Net has them, or a number.

    Raises:
        DatasetError: neither, or the number belongs to another dataset.
    """
    if re.fullmatch(r"[0-9]{1,3}", given) and int(given) > 0:
        name = f"Dataset{int(given):03d}_{_short(source)}_pseudo_{_short(target)}"
    elif re.fullmatch(r"Dataset[0-9]{3}_[A-Za-z0-9_.-]+", given) and "__" not in given and len(given) <= LONGEST_NAME:
        name = given
    else:
        raise DatasetError(
            f"-o: expected a number from 1 to 999, or a name such as Dataset601_Round1 of at most {LONGEST_NAME} characters; "
            f"got {short(given)!r}."
        )
    others = [str(other) for other in find_candidate_datasets(int(name[7:10])) if other != name]
    if others:
        raise DatasetError(
            f"-o {given}: the number {int(name[7:10])} belongs to {others[0]} already. Name a free number, or this "
            "dataset by its whole name."
        )
    return name


def _short(name: str) -> str:
    return re.sub(r"_{2,}", "_", re.sub(r"^Dataset\d{3}_", "", name))


def channel_names(source: Domain, target: Domain, given: list[str] | None) -> tuple[dict[str, str], list[str]]:
    """The names of the new dataset's channels, by which nnU-Net normalises, and what to warn of.

    One dataset has one normalisation a channel. Where both domains have the same, it stays; where they differ (CT and
    MR), the channel becomes a z-score, image by image, which is right for either.

    Raises:
        DatasetError: not one name a channel.
    """
    names = list(source.channel_names.values())
    if given is not None:
        if len(given) != len(names):
            raise DatasetError(f"--channel-names: expected {len(names)} names ({', '.join(names)}); got {len(given)}.")
        return {str(i): name for i, name in enumerate(given)}, []
    pairs = list(zip(names, target.channel_names.values()))
    schemes = zip(normalization_schemes(source.channel_names), normalization_schemes(target.channel_names))
    chosen, warnings = {}, []
    for i, ((of_source, of_target), (scheme_s, scheme_t)) in enumerate(zip(pairs, schemes)):
        chosen[str(i)] = of_source if scheme_s == scheme_t else Z_SCORE
        if scheme_s != scheme_t:
            warnings.append(
                f"channel {i} is {of_source!r} in the source ({scheme_s}) and {of_target!r} in the target ({scheme_t}). "
                f"One dataset has one normalisation: the channel is called {Z_SCORE!r}, normalised image by image. "
                "Another one: --channel-names."
            )
    return chosen, warnings


def dataset_json_of(source: Domain, channels: dict[str, str], cases: int) -> dict:
    """The new dataset's dataset.json: the source's, with the ignore label."""
    kept = ("regions_class_order", "overwrite_image_reader_writer")
    return {
        "channel_names": channels,
        "labels": {**source.dataset_json["labels"], "ignore": ignore_value(source.dataset_json)},
        **{key: source.dataset_json[key] for key in kept if key in source.dataset_json},
        "numTraining": cases,
        "file_ending": source.file_ending,
        PSEUDO_LABELS: PSEUDO_LABELLED,
        **({} if source.images else {PSEUDO_LABELS_ONLY: True}),
    }


def target_cases(source: Domain, target: Domain) -> dict[str, str]:
    """The target's cases -> their names in the new dataset.

    Raises:
        DatasetError: the source has a case of that name.
    """
    names = {case: PSEUDO_LABELLED + case for case in target.images}
    clash = sorted(set(names.values()) & set(source.images))
    if clash:
        raise DatasetError(
            f"-d {source.name} has a case {clash[0]}, as the target's {clash[0].removeprefix(PSEUDO_LABELLED)} is to be called: "
            "it holds pseudo-labels of an earlier round. Name the labelled source with -d in every round."
        )
    return names


def add_images(folder: str, name: str, files: list[str], ending: str, copy: bool) -> None:
    """A case's images in imagesTr under nnU-Net's names; with the spacing that a TIFF has beside it."""
    images = join(folder, "imagesTr")
    os.makedirs(images, exist_ok=True)
    for i, file in enumerate(files):
        _place(file, join(images, f"{name}_{i:04d}{ending}"), copy)
    spacing = re.sub(r"_\d{4}$", "", files[0].removesuffix(ending)) + ".json"
    if os.path.isfile(spacing):
        _place(spacing, join(images, f"{name}.json"), copy)


def _place(file: str, goal: str, copy: bool) -> None:
    if not copy:
        try:
            return os.symlink(os.path.realpath(file), goal)
        except OSError:  # file systems and accounts without links
            pass
    shutil.copyfile(file, goal)


def add_source(folder: str, source: Domain, copy: bool) -> None:
    """All source cases: images linked or copied, labels copied."""
    os.makedirs(join(folder, "labelsTr"), exist_ok=True)
    ending = source.file_ending
    for case, file in label_files(source).items():
        add_images(folder, case, source.images[case], ending, copy)
        shutil.copyfile(file, join(folder, "labelsTr", case + ending))
        spacing = file.removesuffix(ending) + ".json"
        if os.path.isfile(spacing):
            shutil.copyfile(spacing, join(folder, "labelsTr", f"{case}.json"))


def place_of(name: str) -> tuple[str, str]:
    """The dataset's folder, and where it is made: nnU-Net takes every folder that begins with the number for it."""
    return join(nnUNet_raw, name), join(nnUNet_raw, f"nnUDA_pseudo_label_{name}")
