"""What was adapted to what: both fingerprints side by side, and intensities before and after normalisation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tqdm import tqdm

from nnuda.datasets import Domain, load_dataset, spread
from nnuda.errors import NnudaError, short
from nnuda.histograms import common_area, shown_limits
from nnuda.images import read_case
from nnuda.plan_key import target_folder
from nnuda.report.figures import histograms
from nnuda.report.page import Picture, Pictures, Section, Table, Text
from nnuda.report.run import ReportError, Run, number

VOXELS_PER_CASE = 50_000
Intensities = list[np.ndarray]  # one array a channel


def _range(values: Sequence[Sequence[float]], axes: int) -> str:
    """Median, then smallest to largest, a value per axis."""
    array = np.array(values, dtype=float)[:, -axes:]
    median, low, high = np.median(array, 0), array.min(0), array.max(0)
    alike = np.allclose(low, high, rtol=1e-3)
    return _times(median) if alike else f"{_times(median)}; from {_times(low)} to {_times(high)}"


def _times(values: Sequence[float]) -> str:
    return " × ".join(number(value) for value in values)


def _geometry(run: Run, domain: str, fingerprint: dict | None) -> dict[str, str]:
    facts = run.key["geometry"][domain]
    flat = facts["median_shape"][0] == 1
    axes = 2 if flat else 3
    if fingerprint is None:
        spacing, shape = (_times(facts[name][-axes:]) for name in ("median_spacing", "median_shape"))
    else:
        spacing, shape = (_range(fingerprint[name], axes) for name in ("spacings", "shapes_after_crop"))
    cases = len(fingerprint["spacings"]) if fingerprint else "-"
    return {
        "cases": str(run.key["target"]["num_cases"] if domain == "target" else cases),
        "voxel spacing, mm (median)": spacing,
        "shape after crop, voxels (median)": shape,
        "orientation of the arrays": facts.get("orientation") or "-",
    }


def _channels(run: Run, domain: str) -> list[str]:
    if domain == "target":
        names = run.key["target"]["channel_names"]
    else:
        names = run.dataset_json.get("channel_names", run.dataset_json.get("modality"))
    return [names[index] for index in sorted(names, key=int)]


def _intensities(run: Run, domain: str, fingerprint: dict | None) -> dict[str, str]:
    plans = run.plans if domain == "target" else run.plans_source
    schemes = PlansManager(plans).get_configuration(run.configuration).normalization_schemes
    rows = {}
    for index, (name, scheme) in enumerate(zip(_channels(run, domain), schemes)):
        of = "" if len(schemes) == 1 else f", channel {index}"
        known = (fingerprint or {}).get("foreground_intensity_properties_per_channel", {}).get(str(index))
        if known:
            percentiles = [known[key] for key in ("percentile_00_5", "median", "percentile_99_5")]
            rows[f"intensities{of}: 0.5 % / 50 % / 99.5 %"] = " / ".join(number(value, 4) for value in percentiles)
            mean, std = (number(known[key], 4) for key in ("mean", "std"))
            rows[f"intensities{of}: mean ± standard deviation"] = f"{mean} ± {std}"
        rows = {f"channel{of or ''}": name, **rows, f"normalisation{of}": scheme}
    return rows


def fingerprint_table(run: Run) -> Table:
    """Both domains side by side."""
    columns = {}
    for domain in ("source", "target"):
        fingerprint = run.fingerprints[domain]
        columns[domain] = {
            "dataset": run.source if domain == "source" else run.target,
            "labels": ", ".join(run.classes) if domain == "source" else "never opened by training",
            **_geometry(run, domain, fingerprint),
            **_intensities(run, domain, fingerprint),
        }
    names = list(dict.fromkeys([*columns["source"], *columns["target"]]))
    rows = [
        ["", "source (labelled)", "target (unlabelled)"],
        *([name, *(columns[domain].get(name, "-") for domain in columns)] for name in names),
    ]
    return Table(rows, words=frozenset({1, 2}))


def _raw_case(domain: Domain, case: str) -> Intensities:
    """Voxels of nnU-Net's non-zero mask."""
    images, _ = read_case(domain.reader_class(), domain.images[case])
    cropped, outside, _ = crop_to_nonzero(images)
    return [_thin(channel[outside[0] >= 0]) for channel in cropped]


def _preprocessed_case(dataset: object, case: str) -> Intensities:
    data, labels, *_ = dataset.load_case(case)
    inside = np.asarray(labels)[0] >= 0
    return [_thin(channel[inside]) for channel in np.asarray(data)]


def _thin(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[:: max(1, values.size // VOXELS_PER_CASE)], dtype=np.float32)


def _read(cases: Sequence[str], read: Callable[[str], Intensities], title: str) -> Intensities:
    drawn = []
    for case in tqdm(cases, desc=title, unit="case"):
        try:
            drawn.append(read(case))
        except NnudaError:
            raise
        except Exception as error:  # every library that reads images has kinds of its own
            raise ReportError(
                f"Case {case} ({title}): expected a whole image; it cannot be read ({short(str(error))}). Make it again, "
                "or leave the histograms out with --histogram-cases 0."
            ) from error
    return [np.concatenate(channel) for channel in zip(*drawn)]


def _preprocessed(run: Run, domain: str, limit: int) -> tuple[list[str], Intensities] | None:
    if not nnUNet_preprocessed.is_set():
        return None
    base = target_folder(run.key) if domain == "target" else join(nnUNet_preprocessed, run.source)
    folder = join(base, PlansManager(run.plans).get_configuration(run.configuration).data_identifier)
    if not os.path.isdir(folder) or not os.listdir(folder):
        return None
    dataset = infer_dataset_class(folder)(folder)
    cases = spread(dataset.identifiers, limit)
    return cases, _read(cases, lambda case: _preprocessed_case(dataset, case), f"{domain}, normalised")


def _raw(run: Run, domain: str, limit: int) -> Intensities | None:
    if not nnUNet_raw.is_set():
        return None
    try:
        found = load_dataset(run.source if domain == "source" else run.target)
    except NnudaError:
        return None  # a target that was a folder of images, or data that lie elsewhere by now
    return _read(spread(list(found.images), limit), lambda case: _raw_case(found, case), f"{domain}, raw")


def histogram_pictures(run: Run, limit: int) -> tuple[list[Picture], list[str]]:
    """Histograms of each channel, before and after normalisation; and sentences on what could not be drawn.

    Args:
        run: the run.
        limit: cases per domain.
    """
    drawn: dict[str, dict[str, Intensities]] = {"before normalisation": {}, "after normalisation": {}}
    missing = []
    for domain in ("source", "target"):
        raw, preprocessed = _raw(run, domain, limit), _preprocessed(run, domain, limit)
        if raw is None:
            missing.append(f"Raw images of the {domain} were not found in nnUNet_raw: no histogram of them.")
        else:
            drawn["before normalisation"][domain] = raw
        if preprocessed is None:
            missing.append(
                f"Preprocessed cases of the {domain} were not found in nnUNet_preprocessed: no histogram of them."
            )
        else:
            drawn["after normalisation"][domain] = preprocessed[1]
    ct = any(
        "CTNormalization" in PlansManager(plans).get_configuration(run.configuration).normalization_schemes
        for plans in (run.plans, run.plans_source)
    )
    pictures = []
    for title, domains in drawn.items():
        for channel in range(min(map(len, domains.values()), default=0)):
            values = {domain: channels[channel] for domain, channels in domains.items()}
            limits = shown_limits(values)
            name = title if len(_channels(run, "source")) == 1 else f"channel {channel}, {title}"
            shared = f"common area {common_area(values, limits):.2f}" if len(values) == 2 else ""
            pictures.append(Picture(histograms(name, values, limits, ct), f"histogram of intensities {name}", shared))
    return pictures, missing


def domains_section(run: Run, limit: int) -> Section:
    """Fingerprints and histograms.

    Args:
        run: the run.
        limit: cases per domain for the histograms; 0 leaves them out.
    """
    blocks: list = [fingerprint_table(run)]
    measured = run.key["target"]["normalization"]["statistics_from"].removeprefix("target images, ")
    notes = [
        f"The source's intensities are those of the labelled structures, the target's those of {measured}: "
        "without labels there are no others."
    ]
    if run.fingerprints["target"] is None:
        notes.append("The target's fingerprint was not found in nnUNet_preprocessed: medians are those of the plan.")
    if limit:
        pictures, missing = histogram_pictures(run, limit)
        blocks += [Pictures(pictures)] if pictures else []
        notes += [
            *missing,
            f"Histograms: at most {limit} cases per domain, voxels within nnU-Net's non-zero mask, from "
            "the 0.5th to the 99.5th percentile of both. The common area is 1 where both are alike.",
        ]
    return Section("Source and target", [*blocks, *map(Text, notes)])
