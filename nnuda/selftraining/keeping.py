"""Which voxels of a prediction are kept as labels: by voxel, by component, by case. Functions of arrays and numbers.

A voxel that is not kept becomes nnU-Net's ignore label: it is neither this class nor another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

ONE_PIECE_SHARE = 0.99  # of a class's volume, that its largest component holds ...
ONE_PIECE_CASES = 0.95  # ... in this share of the source's cases
ALWAYS_CASES = 0.95  # share of the source's cases from which on a class belongs to every case
MIN_CASES = 5  # whole classes of the source, below which nothing is said about their size
SMALLEST_SPREAD = math.log(2)  # half and twice the median are never out of range
BINS = int(np.float16(1).view(np.uint16)) + 1  # one for each number of half precision from 0 to 1


@dataclass(frozen=True)
class Vote:
    """What the members of an ensemble say of a case.

    Attributes:
        label: (*S) uint8, of the members' mean probability, as nnU-Net decides.
        confidence: (*S) float16, that mean probability; with regions the smallest over the regions of max(p, 1 - p).
        agreeing: (*S) uint8, members whose own label is this one.
        members: number of members.
    """

    label: np.ndarray
    confidence: np.ndarray
    agreeing: np.ndarray
    members: int


@dataclass(frozen=True)
class ClassPrior:
    """What the source's labels say of a class.

    Attributes:
        name: of the class.
        in_one_piece: whether only its largest component can be right.
        always_there: whether every case shows it.
        volumes: smallest and largest plausible volume in mm^3 (voxels where the format has no spacing); None: unknown.
    """

    name: str
    in_one_piece: bool
    always_there: bool
    volumes: tuple[float, float] | None


@dataclass(frozen=True)
class Rules:
    """What has to hold for a voxel to be kept.

    Attributes:
        confidence: label value -> smallest mean probability.
        agreement: smallest share of the members that agree.
        components: keep the largest component alone, where the source shows the class in one piece.
    """

    confidence: Mapping[int, float]
    agreement: float = 1.0
    components: bool = True


@dataclass
class Kept:
    """Labels of a case after all rules.

    Attributes:
        label: (*S) uint8, with the ignore label where nothing is kept.
        voxels: rule -> label value -> voxels that are left after it; "predicted" comes first, "kept" last.
        outside: label value -> why its size is not plausible.
        left_out: why the case is no training case; empty: it is one.
    """

    label: np.ndarray
    voxels: dict[str, dict[int, int]]
    outside: dict[int, str] = field(default_factory=dict)
    left_out: str = ""


# ---- by voxel -------------------------------------------------------------------------------------------------------


def confident(vote: Vote, rules: Rules) -> np.ndarray:
    """Voxels whose label is probable enough and shared by enough members, (*S) bool.

    Thresholds are rounded as the confidence is: 0.9 counts as 0.9.
    """
    limits = np.zeros(256, np.float16)
    for value, limit in rules.confidence.items():
        limits[value] = limit
    enough = math.ceil(rules.agreement * vote.members - 1e-9)
    return (vote.confidence >= limits[vote.label]) & (vote.agreeing >= enough)


def confidence_histogram(vote: Vote, value: int) -> np.ndarray:
    """How often each confidence occurs among the voxels of a class: (BINS,), exact."""
    return np.bincount(vote.confidence[vote.label == value].view(np.uint16), minlength=BINS)


def class_threshold(histogram: np.ndarray, confidence: float, share: float) -> float:
    """A class's threshold: `confidence`, or lower where it would keep less than `share` of the class's voxels.

    Class-balanced self-training (Zou et al., ECCV 2018) keeps the most confident share of each
    class, since one threshold for all of them takes rare and small ones away.
    Deviations: the fixed threshold stays where it keeps more.

    Args:
        histogram: (BINS,) from `confidence_histogram`, summed over the cases.
        confidence: threshold of all classes.
        share: 0 to 1; 0: `confidence` whatever it keeps.
    """
    above = np.cumsum(histogram[::-1])[::-1]  # voxels at least as confident
    if share <= 0 or not above[0]:
        return confidence
    bin_ = int(np.flatnonzero(above >= share * above[0])[-1])
    return min(confidence, float(np.uint16(bin_).view(np.float16)))


# ---- by component ---------------------------------------------------------------------------------------------------


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest of the components that touch by face, edge or corner; of an empty mask an empty one."""
    box = next(iter(ndimage.find_objects(mask.view(np.uint8))), None)  # most of a large volume is somewhere else
    if box is None:
        return mask
    components, count = ndimage.label(mask[box], np.ones([3] * mask.ndim))
    if count == 1:
        return mask
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest = np.zeros_like(mask)
    largest[box] = components == sizes.argmax()
    return largest


def largest_share(mask: np.ndarray) -> float:
    """Share of a mask's voxels that its largest component holds."""
    return float(largest_component(mask).sum() / mask.sum())


def in_one_piece(shares: Sequence[float]) -> bool:
    """Whether a class is in one piece, from `largest_share` of each case that shows it."""
    return len(shares) > 0 and bool(np.mean(np.asarray(shares) >= ONE_PIECE_SHARE) >= ONE_PIECE_CASES)


# ---- by case --------------------------------------------------------------------------------------------------------


def is_cut(mask: np.ndarray) -> bool:
    """Whether a class touches the border of the image, so that some of it may lie outside the field of view."""
    faces = [np.take(mask, end, axis) for axis, size in enumerate(mask.shape) if size > 1 for end in (0, -1)]
    return any(face.any() for face in faces)


def plausible_volumes(whole: Sequence[float], spread: float) -> tuple[float, float] | None:
    """Robust range of a class's volume: exp(m -+ max(spread * 1.4826 * MAD, ln 2)), m and MAD of the logarithms.

    Args:
        whole: volumes of the class in the source's cases in which it does not touch the border of the image.
        spread: number of robust standard deviations; 0: no range.

    Returns:
        None where fewer than 5 are whole.
    """
    if spread <= 0 or len(whole) < MIN_CASES:
        return None
    logs = np.log(whole)
    middle = np.median(logs)
    half = max(spread * 1.4826 * np.median(np.abs(logs - middle)), SMALLEST_SPREAD)
    return float(np.exp(middle - half)), float(np.exp(middle + half))


def implausible(mask: np.ndarray, voxel_volume: float, prior: ClassPrior) -> str:
    """Why a class's size in a case cannot be right; empty: it can.

    A class that touches the border of the image may be cut off by the field of view: it is never too small.
    """
    volume = float(mask.sum()) * voxel_volume
    if not volume:
        return "missing" if prior.always_there else ""
    if prior.volumes is None:
        return ""
    low, high = prior.volumes
    if volume > high:
        return f"too large ({volume:.3g}, at most {high:.3g})"
    if volume < low and not is_cut(mask):
        return f"too small ({volume:.3g}, at least {low:.3g})"
    return ""


def keep(vote: Vote, priors: Mapping[int, ClassPrior], rules: Rules, voxel_volume: float, ignore: int) -> Kept:
    """All rules on one case.

    Args:
        vote: of the members.
        priors: label value of each foreground class -> what the source says of it.
        rules: thresholds.
        voxel_volume: in mm^3.
        ignore: value of the ignore label.
    """
    kept = confident(vote, rules)
    voxels = {"predicted": _count(vote.label), "voxel": _count(vote.label[kept])}
    shapes = {}
    for value, prior in priors.items():
        mask = vote.label == value
        shapes[value] = largest_component(mask) if rules.components and prior.in_one_piece else mask
        kept &= ~mask | shapes[value]
    voxels["component"] = _count(vote.label[kept])
    reasons = {value: implausible(shapes[value], voxel_volume, prior) for value, prior in priors.items()}
    outside = {value: reason for value, reason in reasons.items() if reason}
    kept &= ~np.isin(vote.label, list(outside))
    voxels["kept"] = _count(vote.label[kept])
    label = np.where(kept, vote.label, ignore).astype(np.uint8)
    return Kept(label, voxels, outside, _left_out(outside, len(priors), voxels))


def _count(labels: np.ndarray) -> dict[int, int]:
    counts = np.bincount(labels.ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _left_out(outside: Mapping[int, str], classes: int, voxels: Mapping[str, Mapping[int, int]]) -> str:
    if 2 * len(outside) > classes:
        return f"{len(outside)} of {classes} classes are missing or of implausible size"
    predicted, kept = (any(value > 0 for value in voxels[rule]) for rule in ("predicted", "kept"))
    return "nothing of any class is kept" if predicted and not kept else ""
