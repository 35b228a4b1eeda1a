"""How the target is normalised: by the scheme of its own channel names, with statistics of its own images."""

from __future__ import annotations

from copy import deepcopy

from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

SOURCE_FOREGROUND = "source foreground (CT and CT)"
CT = "CTNormalization"
RGB = "RGBTo01Normalization"


def normalization_schemes(channel_names: dict[str, str]) -> list[str]:
    """Names of nnU-Net's normalisation classes, one per channel."""
    return [get_normalization_scheme(name).__name__ for name in channel_names.values()]


def plan_schemes(plans: dict) -> list[str]:
    """The schemes that the plan itself normalises with, one per channel: plans are edited by hand."""
    return PlansManager(plans).get_configuration(next(iter(plans["configurations"]))).normalization_schemes


def target_normalization(plans: dict, target_channels: dict[str, str], fingerprint: dict) -> dict:
    """The key's `target.normalization`.

    Where a channel holds HU in both domains, the source's foreground statistics serve both: HU is an absolute scale,
    and the foreground is what a label-free body mask only approximates.

    Args:
        plans: the source's plan.
        target_channels: the target's channel names.
        fingerprint: the target's fingerprint.
    """
    schemes = normalization_schemes(target_channels)
    source_schemes = plan_schemes(plans)
    source_properties = PlansManager(plans).foreground_intensity_properties_per_channel
    properties, origins = {}, []
    for c, (scheme, source_scheme) in enumerate(zip(schemes, source_schemes)):
        both_ct = scheme == CT and source_scheme == CT
        per_channel = source_properties if both_ct else fingerprint["foreground_intensity_properties_per_channel"]
        properties[str(c)] = deepcopy(per_channel[str(c)])
        origins.append(SOURCE_FOREGROUND if both_ct else f"target images, {fingerprint['intensities_from'][c]}")
    return {
        "normalization_schemes": schemes,
        "use_mask_for_norm": _use_mask(target_channels, fingerprint),
        "foreground_intensity_properties_per_channel": properties,
        "statistics_from": _join(origins),
    }


def _use_mask(channel_names: dict[str, str], fingerprint: dict) -> list[bool]:
    # nnU-Net's rule (ExperimentPlanner.determine_normalization_scheme_and_whether_mask_is_used_for_norm)
    if fingerprint["median_relative_size_after_cropping"] >= 3 / 4:
        return [False] * len(channel_names)
    return [
        get_normalization_scheme(name).leaves_pixels_outside_mask_at_zero_if_use_mask_for_norm_is_true
        for name in channel_names.values()
    ]


def _join(origins: list[str]) -> str:
    if len(set(origins)) == 1:
        return origins[0]
    return "; ".join(f"channel {c}: {origin}" for c, origin in enumerate(origins))
