"""What the cases of a domain say together: what forbids a training, and what a person may have meant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from nnuda.case_files import FOLDS
from nnuda.dataset_json import overpainted_regions
from nnuda.datasets import Domain, first_of, label_files, labels_without_image, passed_over
from nnuda.labels import PSEUDO_LABELLED
from nnuda.planning.body_mask import BODY_THRESHOLD_HU
from nnuda.planning.normalization import CT, RGB, normalization_schemes
from nnuda.planning.raw_cases import raise_all

ABSURD, ODD = 999, 10  # times the median spacing: another unit; worth a word


def check_cases(
    which: str, domain: Domain, notes: dict[str, dict], other_spacing: np.ndarray | None = None
) -> list[str]:
    """Check what was noted of all cases of a domain.

    Args:
        which: "source" or "target".
        domain: its images; dataset.json says what has to be in them.
        notes: from `nnuda.planning.raw_cases`.
        other_spacing: median spacing of the other domain, mm, which one of another unit does not fit either.

    Returns:
        Cautions, a text each.

    Raises:
        DatasetError: cases with which training would be wrong.
    """
    first = {case: files[0] for case, files in domain.images.items()}
    raise_all(
        [
            *_channel_complaints(domain, notes, first),
            *_blank_complaints(domain, notes, first),
            *_colour_complaints(domain, notes),
            *_spacing_complaints(notes, first, other_spacing),
            *(_label_complaints(domain, notes) if which == "source" else []),
        ],
        which,
        domain,
    )
    texts = [*_constant_cautions(domain, notes), *_repeated(notes), *_spacing_cautions(notes), *_litter(domain)]
    if which == "source":
        texts += _label_cautions(domain, notes)
    cautions = list(chain(*(note["cautions"] for note in notes.values())))
    if cautions:
        more = f" ({len(cautions) - 1} more of the kind)" if len(cautions) > 1 else ""
        texts.append(f"{cautions[0]}{more}. nnU-Net does not use it: look whether images and labels lie on each other.")
    return [f"{which.capitalize()} {domain.name}: {text}" for text in texts]


def twins(source_notes: dict[str, dict], target_notes: dict[str, dict]) -> list[str]:
    """A caution where images of the target are images of the source under another name, unless they are there with
    pseudo-labels."""
    cases = {note["images"]: case for case, note in source_notes.items()}
    pairs = [(case, cases[note["images"]]) for case, note in target_notes.items() if note["images"] in cases]
    same = [f"{case} (= {twin})" for case, twin in pairs if twin != PSEUDO_LABELLED + case]
    return [f"{len(same)} target images are images of the source, byte for byte: {first_of(same)}."] if same else []


def say(texts: list[str]) -> None:
    """Print cautions so that they are not passed over."""
    for text in texts:
        print(f"\nWARNING: {text}\n", flush=True)


# ---- what forbids a training ----------------------------------------------------------------------------------------


def _channel_complaints(domain: Domain, notes: dict, first: dict) -> list[str]:
    expected = len(domain.channel_names)
    return [
        f"{first[case]}: expected {expected} channels as named in channel_names "
        f"({', '.join(domain.channel_names.values())}), got {note['channels']}. Correct the image or channel_names."
        for case, note in notes.items()
        if note["channels"] != expected
    ]


def _blank_complaints(domain: Domain, notes: dict, first: dict) -> list[str]:
    zeros = [case for case, note in notes.items() if not np.any(note["range"])]
    empty = [case for case, note in notes.items() if _holds_nothing(domain, note)]
    if len(empty) == len(notes):
        zeros = empty
    return [blank_complaint(first[case], *notes[case]["range"][0]) for case in zeros]


def blank_complaint(file: str, low: float, high: float) -> str:
    """What is wrong with an image in which there is nothing, by its lowest and highest value."""
    empty = f"it is {low:g} everywhere"
    what = empty if low == high else f"it holds no body: a CT whose highest value is {high:g} HU"
    return f"{file}: expected an image; {what}. Export it again, or take the case out."


def _holds_nothing(domain: Domain, note: dict) -> bool:
    schemes = normalization_schemes(domain.channel_names)
    return all(
        low == high or (scheme == CT and high <= BODY_THRESHOLD_HU)
        for (low, high), scheme in zip(note["range"], schemes)
    )


def _colour_complaints(domain: Domain, notes: dict) -> list[str]:
    texts = (colour_complaint(domain.images[c], domain.channel_names, note["range"]) for c, note in notes.items())
    return list(filter(None, texts))


def colour_complaint(files: Sequence[str], channel_names: dict[str, str], ranges: Sequence[Sequence[float]]) -> str:
    """What is wrong with channels that are named as colours, which nnU-Net divides by 255; empty where nothing is.

    Args:
        files: of a case, one a channel, or one that holds them all.
        channel_names: of its domain.
        ranges: lowest and highest value a channel.
    """
    named = zip(channel_names.values(), normalization_schemes(channel_names), ranges)
    for c, (name, scheme, (low, high)) in enumerate(named):
        if scheme == RGB and not 0 <= low <= high <= 255:
            return (
                f"{files[min(c, len(files) - 1)]}: expected values from 0 to 255, since the channel is named {name}; got "
                f"{low:g} to {high:g}. Name the channel in dataset.json by its modality, or correct the image."
            )
    return ""


def _spacing_ratios(notes: dict, median: np.ndarray) -> dict[str, float]:
    """How far each case is from a median spacing: the largest ratio of an axis, at least 1."""
    ratios = {case: np.asarray(note["spacing"], float) / median for case, note in notes.items()}
    return {case: float(np.maximum(ratio, 1 / ratio).max()) for case, ratio in ratios.items()}


def _median(notes: dict) -> np.ndarray:
    return np.median([note["spacing"] for note in notes.values()], axis=0)


def _spacing_complaints(notes: dict, first: dict, other: np.ndarray | None) -> list[str]:
    texts = []
    for median, of in ((_median(notes), "its domain"), (other, "the other domain")):
        for case, ratio in _spacing_ratios(notes, median).items() if median is not None else ():
            if ratio >= ABSURD and not any(text.startswith(first[case]) for text in texts):
                texts.append(
                    f"{first[case]}: expected a spacing in mm; {_mm(notes[case]['spacing'])} is {ratio:.4g} times off the "
                    f"median of {of} ({_mm(median)}). Correct the unit in its header."
                )
    return texts


def _label_complaints(domain: Domain, notes: dict) -> list[str]:
    files = label_files(domain)
    allowed = {0}.union(*_class_values(domain).values())
    texts = [
        f"{files[case]}: expected the labels {sorted(allowed)} of dataset.json; the file also holds "
        f"{sorted(set(note['labels']) - allowed)[:5]}. Correct the label, or name the class in dataset.json."
        for case, note in notes.items()
        if set(note["labels"]) - allowed
    ]
    used = set(chain(*(note["labels"] for note in notes.values())))
    if not texts and not used - {0, domain.dataset_json["labels"].get("ignore")}:
        texts.append(f"{domain.folder}: no label file holds anything but background. Put the right labels in place.")
    return texts


def _class_values(domain: Domain) -> dict[str, set[int]]:
    labels = domain.dataset_json["labels"]
    return {name: set(value) if isinstance(value, list) else {value} for name, value in labels.items()}


# ---- what a person may have meant -----------------------------------------------------------------------------------


def _constant_cautions(domain: Domain, notes: dict) -> list[str]:
    empty = [case for case, note in notes.items() if _holds_nothing(domain, note)]
    channels = [c for c, note in notes.items() if c not in empty and any(low == high for low, high in note["range"])]
    texts = [f"nothing is in the image of {first_of(empty)}: one value everywhere, or a CT without a body."] * bool(
        empty
    )
    return texts + [f"a channel has one value everywhere in {first_of(channels)}."] * bool(channels)


def _repeated(notes: dict) -> list[str]:
    """One image as several cases: it counts as often, and in a cross-validation it is trained on and validated with."""
    cases: dict[str, list[str]] = {}
    for case, note in notes.items():
        cases.setdefault(note["images"], []).append(case)
    same = [" = ".join(names) for names in cases.values() if len(names) > 1]
    return [f"cases with one and the same image, byte for byte: {first_of(same)}. Keep one of each."] * bool(same)


def _spacing_cautions(notes: dict) -> list[str]:
    median = _median(notes)
    odd = [f"{c} ({_mm(notes[c]['spacing'])})" for c, ratio in _spacing_ratios(notes, median).items() if ratio >= ODD]
    return [f"spacing far from the median {_mm(median)}: {first_of(odd)}. Is it right?"] if odd else []


def _litter(domain: Domain) -> list[str]:
    left = [path.rsplit("/", 1)[-1] for path in passed_over(domain)]
    return [f"no images, and left out: {first_of(left)}."] if left else []


def _label_cautions(domain: Domain, notes: dict) -> list[str]:
    used = set(chain(*(note["labels"] for note in notes.values())))
    never = [name for name, values in _class_values(domain).items() if name != "ignore" and not values & used]
    texts = [f"no label holds the class {first_of(never)}. Training cannot learn it."] if never else []
    texts += [
        f"regions are painted in the order of dataset.json, and {text}: name the larger one first."
        for text in overpainted_regions(domain.dataset_json)
    ]
    if len(notes) < FOLDS:
        texts.append(f"{len(notes)} cases are too few for nnU-Net's {FOLDS} folds: train with fold all.")
    stated = domain.dataset_json.get("numTraining", len(notes))
    if stated != len(notes):
        texts.append(
            f"dataset.json says numTraining {stated}, {len(notes)} cases are there. Correct it: nnU-Net sizes batches by it."
        )
    alone = labels_without_image(domain)
    return texts + [f"labels without an image, which are not used: {first_of(alone)}."] * bool(alone)


def _mm(spacing: np.ndarray | list[float]) -> str:
    return " x ".join(f"{float(s):.4g}" for s in spacing) + " mm"
