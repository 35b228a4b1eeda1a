"""What may be right and may be a mistake: said loudly, with the way out."""

from __future__ import annotations

from collections import Counter

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain
from nnuda.planning.geometry import low_resolution_axis, orientations, spacings
from nnuda.planning.normalization import CT, normalization_schemes


def pair_warnings(
    source: Domain, target: Domain, reader_class: type[BaseReaderWriter], plans: dict | None = None
) -> list[str]:
    """Warnings about a pair that passed the checks.

    Args:
        source: the labelled dataset.
        target: the unlabelled images.
        reader_class: nnU-Net's reader of both.
        plans: an existing plan that is to be extended.

    Returns:
        one text a warning.
    """
    texts = _modalities(source, target) + _channel_order(source, target)
    texts += _orientations(orientations(source, reader_class), orientations(target, reader_class))
    return texts + (_slices(plans, np.median(spacings(target, reader_class), axis=0)) if plans else [])


def _slices(plans: dict, target_spacing: np.ndarray) -> list[str]:
    planned, axis = plans["transpose_forward"][0], low_resolution_axis(target_spacing)
    if axis in (None, planned):
        return []
    return [
        f"The target's slices are thick along array axis {axis} (median spacing "
        f"{' x '.join(f'{s:.3g}' for s in target_spacing)} mm), and the plan {plans['plans_name']} cuts 2D slices "
        f"along axis {planned}, across them. Make a fresh plan (-overwrite_plans_name NAME -pl nnUDAPlanner), "
        "which slices along the target's thick axis where the source has none."
    ]


def _modalities(source: Domain, target: Domain) -> list[str]:
    texts = []
    pairs = zip(source.channel_names.items(), target.channel_names.values())
    schemes = zip(normalization_schemes(source.channel_names), normalization_schemes(target.channel_names))
    for ((channel, name_s), name_t), (scheme_s, scheme_t) in zip(pairs, schemes):
        if (scheme_s == CT) != (scheme_t == CT):
            texts.append(
                f"Channel {channel}: the source's ({name_s}) is normalised with {scheme_s}, the target's "
                f"({name_t}) with {scheme_t}. That is right for CT against another modality. If both are CT, "
                "name the channel CT on both sides (channel_names in dataset.json, or "
                "--target-channel-names); if neither is, rename the one that says CT."
            )
    return texts


def _channel_order(source: Domain, target: Domain) -> list[str]:
    names_s, names_t = (list(domain.channel_names.values()) for domain in (source, target))
    if names_s == names_t or sorted(names_s) != sorted(names_t):
        return []
    return [
        f"The channels have the same names in another order: source {', '.join(names_s)}, target {', '.join(names_t)}. "
        "nnU-Net goes by the order: the first is paired with the first. Number the target's files, and write its "
        "channel_names, as the source's."
    ]


def _orientations(codes_s: Counter, codes_t: Counter) -> list[str]:
    if len({*codes_s, *codes_t}) <= 1:
        return []
    return [
        f"Orientation codes differ: source {_count(codes_s)}, target {_count(codes_t)}. nnU-Net ignores direction "
        "cosines, so left becomes right (or front becomes back) where they differ. Reorient all images and labels "
        'to one code, or set "overwrite_image_reader_writer": "NibabelIOWithReorient" in both dataset.json '
        "files and plan again (that reader turns NIfTI images to RAS, and predictions back)."
    ]


def _count(codes: Counter) -> str:
    return ", ".join(f"{code} ({count} cases)" for code, count in codes.most_common()) or "none"
