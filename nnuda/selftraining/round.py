"""A round: from a source, a target and trained models to a plain nnU-Net dataset, with its provenance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain
from nnuda.errors import NnudaError
from nnuda.files import folder_aside, read_json, write_json
from nnuda.images import read_case
from nnuda.labels import class_names
from nnuda.processes import run_cases
from nnuda.selftraining.dataset import (
    add_images,
    add_source,
    channel_names,
    dataset_json_of,
    place_of,
    target_cases,
)
from nnuda.selftraining.keeping import (
    ClassPrior,
    Kept,
    Rules,
    class_threshold,
    confidence_histogram,
    keep,
)
from nnuda.selftraining.members import Member
from nnuda.selftraining.predict import predict_target, predictions_folder, read_vote
from nnuda.selftraining.shares import summary
from nnuda.selftraining.source_anatomy import class_values, ignore_value, measure_source, priors_of, voxel_volume

PROVENANCE = "provenance.json"
_SCHEMA = {
    "type": "object",
    "required": ["request", "classes"],
    "properties": {"request": {"type": "object"}},
}
WORKERS = ("nnuda.selftraining.round",)  # torch comes with it: imported once for all worker processes


class RoundError(NnudaError, ValueError):
    """A round that cannot be made, or whose place is taken."""


@dataclass(frozen=True)
class Options:
    """What the user chooses.

    Attributes:
        confidence: class name -> threshold; None: of all others.
        agreement: share of the members that must agree.
        keep_share: share of each class that is kept at least, by a lower threshold.
        components: keep the largest component where the source shows a class in one piece.
        size_spread: robust standard deviations of the size range; 0: no rule on size.
        channel_names: of the new dataset; None: from both domains.
        copy: copy images instead of linking them.
        mirroring, step_size: of nnU-Net's prediction.
    """

    confidence: Mapping[str | None, float]
    agreement: float = 1.0
    keep_share: float = 0.0
    components: bool = True
    size_spread: float = 3.0
    channel_names: list[str] | None = None
    copy: bool = False
    mirroring: bool = True
    step_size: float = 0.5


def make_round(
    source: Domain,
    target: Domain,
    members: list[Member],
    name: str,
    options: Options,
    device: torch.device,
    num_processes: int,
) -> dict:
    """Predict, keep, and write the dataset.

    Args:
        source: labelled; or without images, a model's (source_free.py): then the target's cases are alone, and
            nothing is known of a class's size and shape.
        target: its images alone are read.
        members: trained networks.
        name: of the new dataset, which `output_name` checked.
        options: of the user.
        device: to predict on.
        num_processes: for the work beside the prediction.

    Returns:
        What stands in provenance.json.

    Raises:
        RoundError: a dataset of that name is there that was made from something else; no case is kept.
    """
    request, (folder, aside) = request_of(source, target, members, options), place_of(name)
    if os.path.isdir(folder):
        return _same_round(folder, request)
    names = target_cases(source, target)
    channels, warnings = channel_names(source, target, options.channel_names)
    limits = class_confidences(options.confidence, source.dataset_json)
    priors = (
        measure_source(source, num_processes, options.size_spread)
        if source.images
        else priors_of([], class_values(source.dataset_json), spread=0)
    )
    predictions = predictions_folder(target, members, options.mirroring, options.step_size)
    files = predict_target(target, members, predictions, device, options.mirroring, options.step_size)
    limits = _with_share(limits, options.keep_share, files, target.sizes(), num_processes)
    rules = Rules(limits, options.agreement, options.components)
    with folder_aside(aside) as made:
        results = _keep_cases(source, target, files, names, made, priors, rules, num_processes)
        cases = _add_cases(source, target, {names[case]: case for case in names}, results, made, options.copy)
        write_json(dataset_json_of(source, channels, cases), os.path.join(made, "dataset.json"))
        provenance = {
            "made_by": f"nnuda {metadata.version('nnuda')}, nnunetv2 {metadata.version('nnunetv2')}",
            "request": request,
            "predictions": predictions,
            "channel_names": channels,
            "classes": _classes(source.dataset_json, priors, rules),
            **summary(results, _names(source.dataset_json), priors),
        }
        provenance["warnings"] = warnings + provenance["warnings"]
        write_json(provenance, os.path.join(made, PROVENANCE))
        os.rename(made, folder)
    return provenance


def _keep_cases(
    source: Domain,
    target: Domain,
    files: dict[str, str],
    names: dict[str, str],
    folder: str,
    priors: Mapping[int, ClassPrior],
    rules: Rules,
    num_processes: int,
) -> dict[str, Kept]:
    """Label files of the target's cases, and what was kept of each, by its new name."""
    labels = os.path.join(folder, "labelsTr")
    os.makedirs(labels)
    reader, sizes, ignore = target.reader_class(), target.sizes(), ignore_value(source.dataset_json)
    work = [
        (
            *(files[case], sizes[case], reader, images, priors, rules, ignore),
            os.path.join(labels, names[case] + source.file_ending),
        )
        for case, images in target.images.items()
    ]
    return dict(
        zip(names.values(), run_cases(_keep_case, work, num_processes, "Keep what is certain", preload=WORKERS))
    )


def _keep_case(
    file: str,
    size: int,
    reader: type[BaseReaderWriter],
    images: list[str],
    priors: Mapping[int, ClassPrior],
    rules: Rules,
    ignore: int,
    goal: str,
) -> Kept:
    """Apply the rules and write the label file; returns the counts, without the label."""
    properties = read_case(reader, images)[1]
    kept = keep(read_vote(file, size), priors, rules, voxel_volume(properties), ignore)
    if not kept.left_out:
        reader().write_seg(kept.label, goal, properties)
    return replace(kept, label=np.empty(0, np.uint8))


def _add_cases(
    source: Domain, target: Domain, cases: dict[str, str], results: Mapping[str, Kept], folder: str, copy: bool
) -> int:
    """The source's cases, and the images of the target's that are not left out; returns how many cases there are.

    Raises:
        RoundError: all of the target's are left out.
    """
    written = {new: case for new, case in cases.items() if not results[new].left_out}
    if not written:
        reasons = "; ".join(sorted({kept.left_out for kept in results.values()}))
        raise RoundError(
            f"Expected target cases with labels that can be kept; all {len(results)} are left out ({reasons}). Look at "
            "the predictions; --confidence, --agreement, --keep-share and --size-spread decide."
        )
    add_source(folder, source, copy)
    for new, case in written.items():
        add_images(folder, new, target.images[case], source.file_ending, copy)
    return len(source.images) + len(written)


def class_confidences(given: Mapping[str | None, float], dataset_json: dict) -> dict[int, float]:
    """Class names -> thresholds becomes label value -> threshold, background included.

    Raises:
        RoundError: no class of that name.
    """
    names = _names(dataset_json)
    unknown = sorted(name for name in given if name is not None and name not in names.values())
    if unknown:
        raise RoundError(f"--confidence {unknown[0]}=...: expected one of the classes {', '.join(names.values())}.")
    return {value: given.get(name, given[None]) for value, name in names.items()}


def _names(dataset_json: dict) -> dict[int, str]:
    """Label value -> class, background included."""
    return {0: class_names(dataset_json)[0], **class_values(dataset_json)}


def request_of(source: Domain, target: Domain, members: list[Member], options: Options) -> dict:
    """What a round is made of, as provenance.json has it."""
    asked = asdict(options)
    asked["confidence"] = {str(name or "all"): value for name, value in options.confidence.items()}
    return {
        "source": {"name": source.name, "folder": source.folder, "bytes": source.sizes()},
        "target": {"name": target.name, "folder": target.folder, "bytes": target.sizes()},
        "members": [member.described() for member in members],
        "options": asked,
    }


def made_otherwise(folder: str, request: dict) -> list[str] | None:
    """Parts of what a dataset was made of that differ from a request, wherever they lie; None: no round made it."""
    file = os.path.join(folder, PROVENANCE)
    if not os.path.isfile(file):
        return None
    found = read_json(file, "the provenance of a round", _SCHEMA)["request"]
    return sorted(part for part in request if _without_folders(found.get(part)) != _without_folders(request[part]))


def _without_folders(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_folders(one) for one in part]
    return {key: part[key] for key in part if key != "folder"} if isinstance(part, dict) else part


def _same_round(folder: str, request: dict) -> dict:
    """The provenance of a finished round that was asked for again.

    Raises:
        RoundError: it was made from something else.
    """
    differing = made_otherwise(folder, request)
    if differing is None:
        raise RoundError(f"{folder} is there and was not made by nnUDA_pseudo_label. Name a free number with -o.")
    if differing:
        raise RoundError(
            f"{folder} is there and was made with other {', '.join(differing)}. Name a free number with -o, or remove "
            "it (and what was preprocessed of it); predictions are used again."
        )
    print(f"{folder} is there, made from the same.", flush=True)
    return read_json(os.path.join(folder, PROVENANCE), "the provenance of a round", _SCHEMA)


def _histograms(file: str, size: int, values: list[int]) -> np.ndarray:
    said = read_vote(file, size)
    return np.stack([confidence_histogram(said, value) for value in values])


def _with_share(
    limits: dict[int, float], share: float, files: dict[str, str], sizes: dict[str, int], num_processes: int
) -> dict[int, float]:
    """Thresholds that keep at least that share of each class."""
    if share <= 0:
        return limits
    values = list(limits)
    work = [(file, sizes[case], values) for case, file in files.items()]
    total = sum(run_cases(_histograms, work, num_processes, "Class-wise thresholds", preload=WORKERS))
    return {value: class_threshold(total[i], limits[value], share) for i, value in enumerate(values)}


def _classes(dataset_json: dict, priors: Mapping[int, ClassPrior], rules: Rules) -> dict[str, dict]:
    """What was asked of each class, for provenance.json."""
    said = {}
    for value, name in _names(dataset_json).items():
        said[name] = {"label": value, "confidence": rules.confidence[value]}
        if value in priors:
            prior = priors[value]
            said[name] |= {
                "in_one_piece": prior.in_one_piece,
                "always_there": prior.always_there,
                "plausible_volumes": list(prior.volumes) if prior.volumes else None,
            }
    return said
