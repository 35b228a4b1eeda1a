"""What the source's labels say of each class: in one piece or not, always there or not, how large."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain, label_files
from nnuda.errors import NnudaError
from nnuda.images import read_label
from nnuda.labels import foreground_names
from nnuda.processes import run_cases
from nnuda.selftraining.keeping import ALWAYS_CASES, ClassPrior, in_one_piece, is_cut, largest_share, plausible_volumes

Measured = dict[int, tuple[float, float, bool]]  # label value -> volume, share of the largest component, is it cut


class LabelError(NnudaError, ValueError):
    """Labels of the source that pseudo-labels cannot join."""


def class_values(dataset_json: dict) -> dict[int, str]:
    """Label value -> name of each foreground class. Regions have the value that nnU-Net paints them with.

    Raises:
        LabelError: labels that nnU-Net does not train with an ignore label.
    """
    names, labels = foreground_names(dataset_json), dataset_json["labels"]
    order = dataset_json.get("regions_class_order")
    if order is None and any(np.size(labels[name]) > 1 for name in names):
        raise LabelError('dataset.json has regions and no "regions_class_order". Add it, as nnU-Net asks.')
    regions = any(np.size(labels[name]) > 1 for name in names)
    values = order if regions else [int(np.ravel(labels[name])[0]) for name in names]
    # what nnU-Net checks only after the prediction and the writing of all cases
    all_values = sorted({int(v) for name, given in labels.items() if name != "ignore" for v in np.ravel(given)})
    if all_values != list(range(len(all_values))):
        raise LabelError(
            f"Labels of the source: expected 0, 1, 2, ... without a gap, as nnU-Net asks; got {all_values}. "
            "Renumber them."
        )
    return {int(value): name for value, name in zip(values, names)}


def ignore_value(dataset_json: dict) -> int:
    """The source's own ignore label, else the first free value."""
    labels = dataset_json["labels"]
    if "ignore" in labels:
        return int(labels["ignore"])
    return 1 + max(int(value) for given in labels.values() for value in np.ravel(given))


def voxel_volume(properties: dict) -> float:
    """In mm^3; without a spacing in the format nnU-Net's readers give 1 (times a constant in 2D)."""
    return float(np.prod(properties["spacing"]))


def measure_case(reader: type[BaseReaderWriter], file: str, values: list[int]) -> Measured:
    """The classes that a label file shows."""
    labels, properties = read_label(reader, file)
    found: Measured = {}
    for value in values:
        mask = labels[0] == value
        if mask.any():
            found[value] = (float(mask.sum()) * voxel_volume(properties), largest_share(mask), is_cut(mask))
    return found


def priors_of(cases: list[Measured], names: Mapping[int, str], spread: float) -> dict[int, ClassPrior]:
    """From the measured cases to what the rules ask.

    Args:
        cases: one entry a case of the source.
        names: label value -> name.
        spread: of `plausible_volumes`; 0: no class has to be there either.
    """
    priors = {}
    for value, name in names.items():
        shown = [case[value] for case in cases if value in case]
        priors[value] = ClassPrior(
            name,
            in_one_piece([share for _, share, _ in shown]),
            spread > 0 and len(shown) >= ALWAYS_CASES * len(cases),
            plausible_volumes([volume for volume, _, cut in shown if not cut], spread),
        )
    return priors


def measure_source(source: Domain, num_processes: int, spread: float) -> dict[int, ClassPrior]:
    """What the labels of all source cases say.

    Raises:
        LabelError: a label file is missing.
    """
    names, files, reader = class_values(source.dataset_json), label_files(source), source.reader_class()
    missing = sorted(file for file in files.values() if not os.path.isfile(file))
    if missing:
        raise LabelError(
            f"-d {source.name}: expected a label file for each image; {len(missing)} are missing, such as {missing[0]}. "
            "The source is the labelled dataset, the target goes to -t."
        )
    work = [(reader, files[case], list(names)) for case in source.images]
    cases = run_cases(measure_case, work, num_processes, "Measure the source's labels", preload=(__name__,))
    return priors_of(cases, names, spread)
