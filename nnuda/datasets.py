"""Raw datasets: names, channels, image files. Of the target no label file is even listed."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.paths import nnUNet_raw

from nnuda.dataset_json import check_case_name, read_dataset_json
from nnuda.errors import DatasetError, harmless, short
from nnuda.images import check_whole

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

# Files and folders of nnU-Net's beside the plans: a plan so named would take their place
NAMES_OF_NNUNET = {"dataset", "dataset_fingerprint", "splits_final", "gt_segmentations"}
LONGEST_NAME = 100  # characters; a results folder's name holds trainer, plans and configuration, a file's at most 255


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
        """Bytes of each case's files."""
        return {case: sum(os.path.getsize(path) for path in files) for case, files in self.images.items()}

    def reader_class(self) -> type[BaseReaderWriter]:
        """nnU-Net's choice of reader for this domain's first image.

        Raises:
            DatasetError: none of nnU-Net's readers can read it.
        """
        from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

        first = next(iter(self.images.values()))[0]
        check_whole(first)
        try:
            with redirect_stderr(io.StringIO()):  # it prints a traceback for each reader that fails
                return determine_reader_writer_from_dataset_json(self.dataset_json, first, verbose=False)
        except RuntimeError as error:
            raise DatasetError(
                f"{first}: expected an image that nnU-Net can read; none of its readers for {self.file_ending} can. "
                "Copy or export the file again, or take the case out."
            ) from error


def same_images(one: Domain, other: Domain) -> bool:
    """Whether one domain's images are all of another's, by the name of the dataset or by the files."""
    files = {os.path.realpath(path) for paths in other.images.values() for path in paths}
    return one.name == other.name or all(
        os.path.realpath(path) in files for paths in one.images.values() for path in paths
    )


def dataset_name(dataset: str | int) -> str:
    """The name behind a dataset's number.

    Raises:
        DatasetError: no such dataset, or more than one.
    """
    from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

    name = str(dataset)
    found = [name]
    if not name.startswith("Dataset"):
        found = list(map(str, find_candidate_datasets(int(name)))) if re.fullmatch(r"\d{1,9}", name) else []
    reason = _datasets_there()
    if len(found) == 1:
        if os.path.basename(found[0]) == found[0]:
            return found[0]
        reason = f"{found[0]} is a path."
    elif found:
        reason = f"In nnU-Net's three folders {' and '.join(found)} have this number: rename all but one."
    raise _no_dataset(name, reason)


def _no_dataset(name: str, reason: str) -> DatasetError:
    return DatasetError(
        f"No dataset {harmless(short(name))}: give the number or name of one dataset in "
        f"nnUNet_raw={nnUNet_raw.get()}. {reason}"
    )


def _datasets_there() -> str:
    folder = nnUNet_raw.get()
    names = sorted(os.listdir(folder)) if folder and isdir(folder) else []
    there = [name for name in names if re.match(r"Dataset\d{3}_", name)]
    return f"There are: {first_of(there or ['none'], 10)}."


def check_name(name: str, option: str) -> None:
    """Plans' and targets' names become parts of folder names, which nnU-Net takes apart at double underscores.

    Raises:
        DatasetError: another character, a double underscore, or too long for a file's name.
    """
    if len(name) > LONGEST_NAME:
        raise DatasetError(f"{option}: expected at most {LONGEST_NAME} characters; got {len(name)}, {short(name)!r}.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or "__" in name:
        raise DatasetError(f"{option}: expected letters, digits, _ . and -, no double underscore; got {name!r}.")


def check_plans_name(name: str, option: str) -> None:
    """The same for a new plan, which is a file beside others.

    Raises:
        DatasetError: as `check_name`, or a name that nnU-Net or nnuda gives another file there.
    """
    check_name(name, option)
    if name in NAMES_OF_NNUNET or name.startswith("nnUDA_") or name.endswith(".json"):
        raise DatasetError(
            f"{option} {name}: taken by a file of nnU-Net's or nnuda's beside the plans. Give the plan another name, "
            "without .json."
        )


def load_dataset(dataset: str | int, labelled: bool = False) -> Domain:
    """A dataset in nnUNet_raw by number or name. Its labels are not looked at.

    Args:
        dataset: number or name.
        labelled: it is to be the source: what dataset.json says of the labels has to hold.

    Raises:
        DatasetError: no such dataset, no dataset.json or one that cannot be, no images.
        FileError: a dataset.json that is damaged.
    """
    name = dataset_name(dataset)
    folder = join(nnUNet_raw, name)
    if not isdir(folder):
        raise _no_dataset(name, _datasets_there())
    if not isfile(join(folder, "dataset.json")):
        raise DatasetError(
            f"Expected {join(folder, 'dataset.json')}, which is not there. Put the dataset's raw "
            f"images in place, or correct nnUNet_raw={nnUNet_raw.get()}."
        )
    dataset_json = read_dataset_json(join(folder, "dataset.json"), labelled)
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
    if not all(channel.strip() for channel in channel_names):
        raise DatasetError(
            f"--target-channel-names: expected a name for each channel, such as CT or T1; got {channel_names}."
        )
    dataset_json = {
        key: source.dataset_json[key]
        for key in ("file_ending", "overwrite_image_reader_writer")
        if key in source.dataset_json
    }
    dataset_json["channel_names"] = {str(i): channel_name for i, channel_name in enumerate(channel_names)}
    return Domain(name, os.path.abspath(folder), dataset_json, find_images(folder, source.file_ending))


def find_images(folder: str, file_ending: str) -> dict[str, list[str]]:
    """Cases of a folder: CASE_0000<ending>, CASE_0001<ending>, ... grouped by CASE and sorted. Hidden files, such as the
    ._CASE_0000<ending> that a Mac leaves, are passed over.

    Raises:
        DatasetError: no folder, no file of that form in it, or a case whose name cannot be a file's.
    """
    if not isdir(folder):
        raise DatasetError(f"No folder {folder}: expected images named CASE_0000{file_ending} in it.")
    pattern = re.compile(r"(.*)_(\d{4})" + re.escape(file_ending), re.DOTALL)
    cases: dict[str, list[str]] = {}
    names = sorted(os.listdir(folder))
    for match in filter(None, (pattern.fullmatch(name) for name in names if not name.startswith("."))):
        check_case_name(match[1], folder)
        cases.setdefault(match[1], []).append(join(folder, match[0]))
    if not cases:
        seen = f"It holds {len(names)} other files, such as {harmless(names[0])}." if names else "It is empty."
        raise DatasetError(
            f"No images in {folder}: expected files named CASE_0000{file_ending} (four digits are the channel). {seen}"
        )
    return cases


def passed_over(domain: Domain) -> list[str]:
    """Files beside the images that are none of the domain's and were perhaps meant: with their ending and hidden, or
    without a channel's number; or with that and another ending. Where dataset.json lists the images there are none."""
    if "dataset" in domain.dataset_json:
        return []
    taken = {path for files in domain.images.values() for path in files}
    folders = sorted({os.path.dirname(path) for path in taken})
    found = (join(folder, name) for folder in folders for name in sorted(os.listdir(folder)))
    meant = re.compile(rf".*({re.escape(domain.file_ending)}|_[0-9]{{4}}\.[A-Za-z]+(\.gz)?)", re.IGNORECASE | re.DOTALL)
    return [path for path in found if path not in taken and meant.fullmatch(path)]


def first_of(names: Iterable[str], limit: int = 5) -> str:
    """Some names, and how many there are besides."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return harmless(", ".join(names[:limit])) + more


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


def labels_without_image(source: Domain) -> list[str]:
    """Names of label files beside those of the source's cases. Where dataset.json lists the cases there are none."""
    folder = join(source.folder, "labelsTr")
    if "dataset" in source.dataset_json or not isdir(folder):
        return []
    used = {os.path.basename(path) for path in label_files(source).values()}
    names = (name for name in sorted(os.listdir(folder)) if name.endswith(source.file_ending) and name[0] != ".")
    return [name for name in names if name not in used]


def spread(cases: Iterable[str], limit: int) -> list[str]:
    """At most so many, spread over all."""
    cases = sorted(cases)
    count = min(limit, len(cases))
    return [cases[round(i * (len(cases) - 1) / max(1, count - 1))] for i in range(count)]
