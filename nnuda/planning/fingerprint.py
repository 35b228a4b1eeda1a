"""Both domains' fingerprints: the source's by nnU-Net, the target's like it, but from images alone."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

from nnuda.datasets import Domain, first_of
from nnuda.files import write_json
from nnuda.plan_key import relative_target_folder
from nnuda.planning.body_mask import body_mask
from nnuda.planning.normalization import CT, normalization_schemes
from nnuda.planning.raw_cases import look_at_source, look_at_target, notes_file, read_notes
from nnuda.planning.raw_checks import check_cases, say, twins
from nnuda.results import FINGERPRINT_SCHEMA, read_fingerprint

NON_ZERO, BODY = "non-zero voxels", "body"
# nnU-Net draws 1e8 foreground voxels a dataset; a million a case already fixes every percentile to the third digit.
MAX_VOXELS, MAX_VOXELS_PER_CASE = 10**8, 10**6
# Of a few tiny images nnU-Net would draw each voxel thousands of times: 1.5 GB for eight of 32 kB. No case needs more
# than a million, or than ten times its voxels (a compressed byte is at most four).
VOXELS_PER_BYTE = 40
REMEDY = "Remove it: it is made again."
TARGET_SCHEMA = {
    **FINGERPRINT_SCHEMA,
    "required": [*FINGERPRINT_SCHEMA["required"], "intensities_from", "cases"],
    "properties": {
        **FINGERPRINT_SCHEMA["properties"],
        "intensities_from": {"type": "array", "items": {"type": "string"}},
        "cases": {"type": "object"},
    },
}


def fingerprint_file(source_name: str, target_name: str) -> str:
    return join(nnUNet_preprocessed, *relative_target_folder(source_name, target_name).split("/"), "fingerprint.json")


def extract_source_fingerprint(source: Domain, num_processes: int = 1, overwrite: bool = False) -> dict:
    """The source's fingerprint: nnU-Net's own where it is there, else made with nnU-Net's own analysis of a case.
    Every case is looked at, once; cautions are printed.

    Args:
        source: the labelled dataset.
        num_processes: worker processes; nnU-Net's extractor would start a pool for one, too.
        overwrite: make it again.

    Returns:
        the content of dataset_fingerprint.json; one made here has `cases` (hashes of each), too.

    Raises:
        DatasetError: cases that cannot be used.
    """
    file = join(nnUNet_preprocessed, source.name, "dataset_fingerprint.json")
    if isfile(file) and not overwrite:
        fingerprint = read_fingerprint(file, REMEDY, channels=len(source.channel_names))
        notes, _ = look_at_source(source, num_processes)
        made_of = fingerprint.get("cases")  # nnU-Net's own does not say
        if made_of in (None, _contents(notes)):
            say(check_cases("source", source, notes))
            if made_of is None and (len(fingerprint["spacings"]) != len(notes) or _is_older(file, source)):
                say(
                    [
                        f"Source {source.name}: nnU-Net's {file} is older than files in the raw folder, or of other cases. "
                        "Existing plans stay as they are; remove it before a fresh one."
                    ]
                )
            return fingerprint
        check_cases("source", source, notes)  # before all are read again
        print(f"Source {source.name}: fingerprint made again, for files in the raw folder have changed.")
    share = partial(source_share, num_samples=voxels_to_draw(source, MAX_VOXELS))
    notes, shares = look_at_source(source, num_processes, share)
    say(check_cases("source", source, notes))
    fingerprint = {**_summarise(shares), "cases": _contents(notes)}
    write_json(fingerprint, file)
    return fingerprint


def _contents(notes: dict[str, dict]) -> dict[str, list]:
    return {case: [note["images"], note["label"]] for case, note in notes.items()}


def _is_older(file: str, source: Domain) -> bool:
    made = os.path.getmtime(file)
    return any(os.path.getmtime(path) > made for files in source.images.values() for path in files)


def extract_target_fingerprint(
    source_name: str, target: Domain, num_processes: int = 1, overwrite: bool = False
) -> dict:
    """Read or make the target's fingerprint. Every case is looked at, once; cautions are printed.

    Args:
        source_name: the source's dataset name; the fingerprint lies under it.
        target: the target's images.
        num_processes: worker processes.
        overwrite: make it again even where it is there and of the same files.

    Returns:
        nnU-Net's keys (spacings, shapes_after_crop, foreground_intensity_properties_per_channel,
        median_relative_size_after_cropping), `intensities_from` (one entry a channel) and `cases` (hash of each).

    Raises:
        DatasetError: cases that cannot be used, or other images under the name of a target that is there.
    """
    file = fingerprint_file(source_name, target.name)
    if isfile(file) and not overwrite:
        fingerprint = read_fingerprint(file, REMEDY, TARGET_SCHEMA, len(target.channel_names))
        notes, _ = look_at_target(source_name, target, num_processes)
        if fingerprint["cases"] == {case: note["images"] for case, note in notes.items()}:
            _check_target(source_name, target, notes)
            return fingerprint
        check_cases("target", target, notes)  # before all are read again
        changed = [c for c, n in notes.items() if fingerprint["cases"].get(c) != n["images"]]
        gone = [case for case in fingerprint["cases"] if case not in notes]
        print(
            f"Target {target.name}: made again, for these cases are new, replaced or gone: {first_of(changed + gone)}"
        )
    ct_channels = [scheme == CT for scheme in normalization_schemes(target.channel_names)]
    drawn = voxels_to_draw(target, MAX_VOXELS, MAX_VOXELS_PER_CASE)
    share = partial(target_share, ct_channels=ct_channels, num_samples=drawn)
    notes, shares = look_at_target(source_name, target, num_processes, share)
    _check_target(source_name, target, notes)
    fingerprint = _summarise(shares)
    fingerprint["intensities_from"] = [BODY if ct else NON_ZERO for ct in ct_channels]
    fingerprint["cases"] = {case: note["images"] for case, note in notes.items()}
    write_json(fingerprint, file)
    return fingerprint


def _check_target(source_name: str, target: Domain, notes: dict[str, dict]) -> None:
    file = join(nnUNet_preprocessed, source_name, "dataset_fingerprint.json")
    median = np.median(read_fingerprint(file, REMEDY)["spacings"], axis=0) if isfile(file) else None
    texts = check_cases("target", target, notes, median)
    say(texts + twins(read_notes(notes_file(source_name))["cases"], notes))


def voxels_to_draw(domain: Domain, total: int, most: int | None = None) -> int:
    """Intensities to draw of each case and channel.

    Args:
        domain: its images.
        total: of the dataset.
        most: of a case; None: as many as nnU-Net draws, but for tiny images.
    """
    biggest = max(os.path.getsize(path) for files in domain.images.values() for path in files)
    return min(total // len(domain.images), most or max(MAX_VOXELS_PER_CASE, VOXELS_PER_BYTE * biggest))


def source_share(
    images: np.ndarray, segmentation: np.ndarray, properties: dict, num_samples: int
) -> tuple[tuple[int, ...], list[float], list[np.ndarray], float]:
    """One source case's share of the fingerprint: nnU-Net's own, under the labels.

    Args:
        images: (channels, *S).
        segmentation: (1, *S).
        properties: nnU-Net's.
        num_samples: intensities to draw a channel, with replacement, so that each case weighs the same.

    Returns:
        shape after crop, spacing (mm, array order), intensities a channel, size after crop / size before.
    """
    cropped, labels, _ = crop_to_nonzero(images, segmentation)
    intensities, _ = DatasetFingerprintExtractor.collect_foreground_intensities(
        labels, cropped, num_samples=num_samples
    )
    relative_size = float(np.prod(cropped.shape[1:]) / np.prod(images.shape[1:]))
    return cropped.shape[1:], [float(s) for s in properties["spacing"]], intensities, relative_size


def target_share(
    images: np.ndarray, segmentation: None, properties: dict, ct_channels: list[bool], num_samples: int
) -> tuple[tuple[int, ...], list[float], list[np.ndarray], float]:
    """One target case's share of the fingerprint, without labels.

    Args:
        images: (channels, *S).
        segmentation: None.
        properties: nnU-Net's.
        ct_channels: for each channel, whether it holds HU.
        num_samples: intensities to draw a channel, with replacement as nnU-Net does.

    Returns:
        As `source_share`.
    """
    cropped, outside, _ = crop_to_nonzero(images)
    rng = np.random.RandomState(1234)
    intensities = []
    for channel, is_ct in zip(cropped, ct_channels):
        voxels = channel[body_mask(channel) if is_ct else outside[0] >= 0]
        intensities.append(rng.choice(voxels, num_samples, replace=True) if voxels.size else voxels)
    relative_size = float(np.prod(cropped.shape[1:]) / np.prod(images.shape[1:]))
    return cropped.shape[1:], [float(s) for s in properties["spacing"]], intensities, relative_size


def _summarise(results: list[tuple]) -> dict:
    shapes, spacings, intensities, relative_sizes = zip(*results)
    per_channel = [np.concatenate(channel) for channel in zip(*intensities)]
    return {
        "spacings": [[float(s) for s in spacing] for spacing in spacings],
        "shapes_after_crop": [[int(n) for n in shape] for shape in shapes],
        "foreground_intensity_properties_per_channel": {str(c): _properties(v) for c, v in enumerate(per_channel)},
        "median_relative_size_after_cropping": float(np.median(relative_sizes)),
    }


def _properties(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(values, np.array((0.5, 50.0, 99.5)))
    return {
        "mean": float(values.mean()),
        "median": float(median),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "percentile_99_5": float(high),
        "percentile_00_5": float(low),
    }
