"""Raw datasets: names, channels, image files. Of the target no label file is even listed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, load_json
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnuda.errors import NnudaError


class DatasetError(NnudaError, ValueError):
    """Images or a dataset that are not where, or not named as, they should be."""


@dataclass(frozen=True)
class Domain:
    """One domain's images.

    Attributes:
        name: dataset name, for a folder of images the name given by the user.
        folder: where its images lie (the dataset's folder in nnUNet_raw, or the folder given by the user).
        dataset_json: the dataset.json; for a folder of images one made from what the user gave, without labels.
        images: case identifier -> one file per channel (or a single file that holds them all).
    """

    name: str
    folder: str
    dataset_json: dict
    images: dict[str, list[str]]

    @property
    def channel_names(self) -> dict[str, str]:
        return self.dataset_json.get("channel_names", self.dataset_json.get("modality"))

    @property
    def file_ending(self) -> str:
        return self.dataset_json["file_ending"]

    def sizes(self) -> dict[str, int]:
        """Bytes of each case's files: tells images that were replaced under their old names."""
        return {case: sum(os.path.getsize(path) for path in files) for case, files in self.images.items()}

    def reader_class(self) -> type[BaseReaderWriter]:
        """nnU-Net's choice of reader for this domain's first image."""
        first = next(iter(self.images.values()))[0]
        return determine_reader_writer_from_dataset_json(self.dataset_json, first, verbose=False)


def dataset_name(dataset: str | int) -> str:
    """The name behind a dataset's number.

    Raises:
        DatasetError: no such dataset, or more than one.
    """
    try:
        return str(maybe_convert_to_dataset_name(dataset))
    except (RuntimeError, ValueError) as error:
        raise DatasetError(
            f"No dataset {dataset}: give the number of one dataset in nnUNet_raw={nnUNet_raw.get()}. {error}"
        ) from error


def check_name(name: str, option: str) -> None:
    """Plans' and targets' names become parts of folder names, which nnU-Net takes apart at double underscores.

    Raises:
        DatasetError: another character, or a double underscore.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or "__" in name:
        raise DatasetError(f"{option}: expected letters, digits, _ . and -, no double underscore; got {name!r}.")


def load_dataset(dataset: str | int) -> Domain:
    """A dataset in nnUNet_raw by number or name. Its labels are not looked at.

    Raises:
        DatasetError: no such dataset, no dataset.json, no images.
    """
    name = dataset_name(dataset)
    folder = join(nnUNet_raw, name)
    if not isfile(join(folder, "dataset.json")):
        raise DatasetError(
            f"Expected {join(folder, 'dataset.json')}, which is not there. Put the dataset's raw "
            f"images in place, or correct nnUNet_raw={nnUNet_raw.get()}."
        )
    dataset_json = load_json(join(folder, "dataset.json"))
    return Domain(name, folder, dataset_json, _images_of_dataset(folder, dataset_json))


def load_folder(folder: str, name: str, channel_names: list[str], source: Domain) -> Domain:
    """A plain folder of images named as nnU-Net names them (CASE_0000.nii.gz).

    Args:
        folder: where the images lie.
        name: what the target is to be called.
        channel_names: one a channel; they decide the normalisation, as in a dataset.json.
        source: gives file ending and reader.
    """
    check_name(name, "--target-name")
    dataset_json = {
        key: source.dataset_json[key]
        for key in ("file_ending", "overwrite_image_reader_writer")
        if key in source.dataset_json
    }
    dataset_json["channel_names"] = {str(i): channel_name for i, channel_name in enumerate(channel_names)}
    return Domain(name, os.path.abspath(folder), dataset_json, find_images(folder, source.file_ending))


def find_images(folder: str, file_ending: str) -> dict[str, list[str]]:
    """Cases of a folder: CASE_0000<ending>, CASE_0001<ending>, ... grouped by CASE and sorted.

    Raises:
        DatasetError: no folder, or no file of that form in it.
    """
    if not isdir(folder):
        raise DatasetError(f"No folder {folder}: expected images named CASE_0000{file_ending} in it.")
    pattern = re.compile(r"(.+)_(\d{4})" + re.escape(file_ending))
    cases: dict[str, list[str]] = {}
    names = sorted(os.listdir(folder))
    for match in filter(None, map(pattern.fullmatch, names)):
        cases.setdefault(match[1], []).append(join(folder, match[0]))
    if not cases:
        seen = f"It holds {len(names)} other files, such as {names[0]}." if names else "It is empty."
        raise DatasetError(
            f"No images in {folder}: expected files named CASE_0000{file_ending} (four digits are the channel). {seen}"
        )
    return cases


def _images_of_dataset(folder: str, dataset_json: dict) -> dict[str, list[str]]:
    if "dataset" not in dataset_json:
        return find_images(join(folder, "imagesTr"), dataset_json["file_ending"])
    cases = {
        case: [_expand(folder, path) for path in entry["images"]] for case, entry in dataset_json["dataset"].items()
    }
    gone = [path for paths in cases.values() for path in paths if not isfile(path)]
    if gone or not cases:
        raise DatasetError(
            f"{join(folder, 'dataset.json')} lists {len(cases)} cases, {len(gone)} image files of them "
            f'are missing{", such as " + gone[0] if gone else ""}. Correct the list under "dataset".'
        )
    return cases


def _expand(folder: str, path: str) -> str:
    return os.path.abspath(join(folder, os.path.expandvars(path)))


def label_files(source: Domain) -> dict[str, str]:
    """Where the labels of the source's cases lie. For the source only.

    Returns:
        case identifier -> label file.
    """
    if "dataset" in source.dataset_json:
        return {case: _expand(source.folder, entry["label"]) for case, entry in source.dataset_json["dataset"].items()}
    return {case: join(source.folder, "labelsTr", case + source.file_ending) for case in source.images}


def read_case(reader_class: type[BaseReaderWriter], files: list[str]) -> tuple[np.ndarray, dict]:
    """Read one case's channels.

    Returns:
        images (channels, *S) and nnU-Net's properties (spacing in mm, array order).
    """
    return reader_class().read_images(files)
