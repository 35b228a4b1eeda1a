"""Both domains' fingerprints: the source's by nnU-Net, the target's like it, but from images alone."""

from __future__ import annotations

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join, load_json
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme

from nnuda.datasets import Domain, label_files, read_case
from nnuda.errors import PlanningError
from nnuda.files import write_json
from nnuda.planning.body_mask import body_mask
from nnuda.processes import run_cases

NON_ZERO, BODY = "non-zero voxels", "body"
# nnU-Net draws 1e8 foreground voxels a dataset; a million a case already fixes every percentile to the third digit.
MAX_VOXELS, MAX_VOXELS_PER_CASE = 10**8, 10**6


def relative_target_folder(source_name: str, target_name: str) -> str:
    """Where everything derived from a target lies, relative to nnUNet_preprocessed, with "/" as separator."""
    return f"{source_name}/nnUDA_target_{target_name}"


def fingerprint_file(source_name: str, target_name: str) -> str:
    return join(nnUNet_preprocessed, *relative_target_folder(source_name, target_name).split("/"), "fingerprint.json")


def extract_source_fingerprint(source: Domain, num_processes: int = 1, overwrite: bool = False) -> dict:
    """The source's fingerprint: nnU-Net's own where it is there, else made with nnU-Net's own analysis of a case.

    Args:
        source: the labelled dataset.
        num_processes: worker processes; nnU-Net's extractor would start a pool for one, too.
        overwrite: make it again.

    Returns:
        the content of dataset_fingerprint.json.
    """
    file = join(nnUNet_preprocessed, source.name, "dataset_fingerprint.json")
    if isfile(file) and not overwrite:
        return load_json(file)
    labels, reader_class = label_files(source), source.reader_class()
    arguments = [
        (files, labels[case], reader_class, MAX_VOXELS // len(labels)) for case, files in source.images.items()
    ]
    results = run_cases(
        DatasetFingerprintExtractor.analyze_case, arguments, num_processes, f"Fingerprint of source {source.name}"
    )
    fingerprint = _summarise([(shape, spacing, intensities, size) for shape, spacing, intensities, _, size in results])
    write_json(fingerprint, file)
    return fingerprint


def extract_target_fingerprint(
    source_name: str, target: Domain, num_processes: int = 1, overwrite: bool = False
) -> dict:
    """Read or make the target's fingerprint.

    Args:
        source_name: the source's dataset name; the fingerprint lies under it.
        target: the target's images.
        num_processes: worker processes.
        overwrite: make it again even where it is there and of the same files.

    Returns:
        nnU-Net's keys (spacings, shapes_after_crop, foreground_intensity_properties_per_channel,
        median_relative_size_after_cropping), `intensities_from` (one entry a channel) and `cases` (bytes of each).
    """
    file = fingerprint_file(source_name, target.name)
    if isfile(file) and not overwrite:
        fingerprint = load_json(file)
        if fingerprint["cases"] == target.sizes():
            return fingerprint
    ct_channels = [
        get_normalization_scheme(name).__name__ == "CTNormalization" for name in target.channel_names.values()
    ]
    num_samples = min(MAX_VOXELS // len(target.images), MAX_VOXELS_PER_CASE)
    reader_class = target.reader_class()
    arguments = [(files, reader_class, ct_channels, num_samples) for files in target.images.values()]
    results = run_cases(analyze_target_case, arguments, num_processes, f"Fingerprint of target {target.name}")
    fingerprint = _summarise(results)
    fingerprint["intensities_from"] = [BODY if ct else NON_ZERO for ct in ct_channels]
    fingerprint["cases"] = target.sizes()
    write_json(fingerprint, file)
    return fingerprint


def analyze_target_case(
    files: list[str], reader_class: type[BaseReaderWriter], ct_channels: list[bool], num_samples: int
) -> tuple[tuple[int, ...], list[float], list[np.ndarray], float]:
    """One case's share of the fingerprint.

    Args:
        files: the case's image files.
        reader_class: nnU-Net's reader.
        ct_channels: for each channel, whether it holds HU.
        num_samples: intensities to draw a channel, with replacement as nnU-Net does, so that each case weighs the same.

    Returns:
        shape after crop, spacing (mm, array order), intensities a channel, size after crop / size before.

    Raises:
        PlanningError: another number of channels than dataset.json names, or NaN.
    """
    images, properties = read_case(reader_class, files)
    if len(images) != len(ct_channels):
        raise PlanningError(
            f"{files[0]}: expected {len(ct_channels)} channels as named in channel_names, got {len(images)}."
        )
    if np.isnan(images).any():
        raise PlanningError(f"{files[0]}: NaN in the image. Replace it with a value that makes sense in this modality.")
    cropped, outside, _ = crop_to_nonzero(images)
    rng = np.random.RandomState(1234)
    intensities = []
    for channel, is_ct in zip(cropped, ct_channels):
        voxels = channel[body_mask(channel) if is_ct else outside[0] >= 0]
        intensities.append(rng.choice(voxels, num_samples, replace=True))
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
