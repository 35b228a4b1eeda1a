"""Both domains as a planning would find them, from all headers and a few images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme
from tqdm import tqdm

from nnuda.datasets import Domain, label_files, spread
from nnuda.errors import DatasetError
from nnuda.images import image_complaint, read_case, read_label
from nnuda.planning.body_mask import body_mask
from nnuda.planning.geometry import low_resolution_axis, orientations, spacings
from nnuda.planning.normalization import CT, normalization_schemes
from nnuda.planning.raw_checks import blank_complaint, colour_complaint
from nnuda.planning.told_apart import describe

KEPT = 8  # cases of each domain whose intensities are compared
VOXELS_PER_CASE = 20_000
VOXELS_LOOKED_AT = 4_000_000  # of a case: of a larger one every n-th slice, whole in its plane
CROPPED = 3 / 4  # below this share nnU-Net normalises within its non-zero mask


@dataclass
class Side:
    """One domain.

    Attributes:
        name: of the dataset.
        cases: number of its cases.
        read: number of cases whose images were read.
        channels, schemes: names, and nnU-Net's normalisation for them.
        spacings: (cases, 3), mm, in array order; a 2D image has a huge one along the axis that it lacks.
        shapes: (read, 3), voxels after nnU-Net's crop.
        fields: (read, 3), mm of the whole image.
        orientations: code -> cases; empty for formats without one.
        described: (read, F), what each image looks like, from `nnuda.planning.told_apart.describe`.
        raw, normalised: a channel: sampled intensities within nnU-Net's mask, of at most KEPT cases.
    """

    name: str
    cases: int
    read: int
    channels: list[str]
    schemes: list[str]
    spacings: np.ndarray
    shapes: np.ndarray
    fields: np.ndarray
    orientations: dict[str, int]
    described: np.ndarray
    raw: list[np.ndarray] = field(default_factory=list)
    normalised: list[np.ndarray] = field(default_factory=list)

    @property
    def median_spacing(self) -> np.ndarray:
        return np.median(self.spacings, axis=0)

    @property
    def flat(self) -> bool:
        """Whether its images are 2D."""
        return bool((self.shapes[:, 0] == 1).all())

    @property
    def geometry(self) -> dict[str, list[float]]:
        """As in a plan's key, of the cases that were read."""
        return {"median_spacing": self.median_spacing.tolist(), "median_shape": np.median(self.shapes, axis=0).tolist()}

    def facts(self) -> dict[str, Any]:
        """For the JSON file: everything but the intensities and the images' descriptions."""
        found = {key: value for key, value in asdict(self).items() if key not in ("raw", "normalised", "described")}
        found |= {name: np.asarray(found[name]).tolist() for name in ("spacings", "shapes", "fields")}
        percentiles = [np.percentile(values, (0.5, 50, 99.5)).tolist() for values in self.raw]
        return {**found, "low_resolution_axis": low_resolution_axis(self.median_spacing), "percentiles": percentiles}


@dataclass(frozen=True)
class _Read:
    """A case: raw voxels within the mask of each channel, its cropped images, its labels if it has some."""

    images: np.ndarray
    outside: np.ndarray
    foreground: np.ndarray | None


def measure_pair(source: Domain, target: Domain, reader: type[BaseReaderWriter], limit: int) -> tuple[Side, Side]:
    """Measure both domains, and normalise their samples as training would.

    Args:
        source, target: the domains. No label of the target is looked for.
        reader: the source's.
        limit: cases of each to read.

    Raises:
        DatasetError: an image has no spacing, or NaN or infinity in it.
    """
    side_s, properties = _measure(source, reader, limit, label_files(source), None)
    side_t, _ = _measure(target, reader, limit, None, properties)
    return side_s, side_t


def _measure(
    domain: Domain,
    reader: type[BaseReaderWriter],
    limit: int,
    labels: dict[str, str] | None,
    of_source: list[dict | None] | None,
) -> tuple[Side, list[dict | None]]:
    schemes = normalization_schemes(domain.channel_names)
    names = spread(list(domain.images), limit)
    kept = spread(names, KEPT)
    reads, shapes, fields, sizes, described = [], [], [], [], []
    for case in tqdm(names, desc=f"Looking at {domain.name}", unit="case"):
        images, properties = read_case(reader, domain.images[case])
        ranges = [(float(channel.min()), float(channel.max())) for channel in images]
        complaint = image_complaint(domain.images[case], images, properties)
        if complaint := complaint or colour_complaint(domain.images[case], domain.channel_names, ranges):
            raise DatasetError(complaint)
        if not images.any():
            raise DatasetError(blank_complaint(domain.images[case][0], 0, 0))
        spacing = np.array(properties["spacing"], dtype=float)
        cropped, outside, box = crop_to_nonzero(images)
        shapes.append(cropped.shape[1:])
        fields.append(spacing * images.shape[1:])
        sizes.append(np.prod(cropped.shape[1:]) / np.prod(images.shape[1:]))
        every = -(-cropped[0].size // VOXELS_LOOKED_AT)
        cropped, outside = cropped[:, ::every].copy(), outside[:, ::every].copy()
        described.append(_described(cropped, outside[0] >= 0, schemes))
        if case in kept:
            foreground = None
            if labels:
                segmentation = read_label(reader, labels[case])[0]
                foreground = segmentation[0][tuple(slice(low, high) for low, high in box)][::every] > 0
            reads.append(_Read(cropped, outside[0] < 0, foreground))
    side = Side(
        domain.name,
        len(domain.images),
        len(names),
        list(domain.channel_names.values()),
        schemes,
        spacings(domain, reader),
        np.array(shapes),
        np.array(fields),
        dict(orientations(domain, reader)),
        np.array(described),
    )
    statistics = [_ct_statistics(reads, c) if scheme == CT else None for c, scheme in enumerate(schemes)]
    if of_source is not None:  # as in planning: Hounsfield units in both domains share the source's
        statistics = [s if s is not None and own is not None else own for s, own in zip(of_source, statistics)]
    masked = float(np.median(sizes)) < CROPPED
    for c, name in enumerate(domain.channel_names.values()):
        normalise = _normaliser(name, masked, statistics[c])
        side.raw.append(np.concatenate([_thin(read.images[c][~read.outside]) for read in reads]))
        side.normalised.append(
            np.concatenate([_thin(normalise(read.images[c], read.outside)[~read.outside]) for read in reads])
        )
    return side, statistics


def _described(images: np.ndarray, inside: np.ndarray, schemes: Sequence[str]) -> np.ndarray:
    """All channels of a case, before it is known how training would normalise them: nnU-Net's z-scores inside the mask, or
    Hounsfield units."""
    z_scores = ZScoreNormalization(bool(inside.any()), {})
    mask = np.where(inside, 0, -1)
    copies = images.astype(np.float32)  # nnU-Net normalises in place
    looks = [image if scheme == CT else z_scores.run(image, mask) for image, scheme in zip(copies, schemes)]
    return np.concatenate([describe(look, inside) for look in looks])


def _ct_statistics(reads: Sequence[_Read], channel: int) -> dict[str, float]:
    """Of the labelled structures, or of the body where there are no labels."""
    drawn = []
    for read in reads:
        image = read.images[channel]
        inside = read.foreground if read.foreground is not None and read.foreground.any() else body_mask(image)
        drawn.append(_thin(image[inside]))
    values = np.concatenate(drawn)
    low, high = np.percentile(values, (0.5, 99.5))
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "percentile_00_5": float(low),
        "percentile_99_5": float(high),
    }


def _normaliser(channel_name: str, masked: bool, statistics: dict | None):
    """nnU-Net's own normalisation of a channel."""
    scheme = get_normalization_scheme(channel_name)
    mask = masked and scheme.leaves_pixels_outside_mask_at_zero_if_use_mask_for_norm_is_true
    run = scheme(mask, statistics or {}).run

    def normalise(image: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return run(np.array(image, dtype=np.float32), np.where(outside, -1, 0))

    return normalise


def _thin(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[:: max(1, values.size // VOXELS_PER_CASE)], dtype=np.float32)
