"""The content of the plan's `domain_adaptation` key."""

from __future__ import annotations

from collections.abc import Sequence

import nnuda
from nnuda.datasets import Domain
from nnuda.plan_key import SCHEMA_VERSION, relative_target_folder
from nnuda.planning.alike import Likeness
from nnuda.planning.normalization import target_normalization
from nnuda.planning.rules import find
from nnuda.planning.sides import Sides
from nnuda.settings import settings_of_all_presets
from nnuda.text.pretrained import resolve_pretrained


def make_key(
    plans: dict,
    source: Domain,
    target: Domain,
    target_fingerprint: dict,
    geometry: dict,
    memory: dict,
    settings: dict,
    plan: str,
    made_with: dict | None = None,
    alike: Likeness | None = None,
    sides: Sequence[Sides] = (),
) -> dict:
    """The key's content.

    Args:
        plans: the source's plan.
        source: the labelled dataset.
        target: the unlabelled images.
        target_fingerprint: from `extract_target_fingerprint`.
        geometry: {"source": ..., "target": ...} from `geometry_facts`.
        memory: what the plan was made for and what a step is expected to take.
        settings: overrides of presets, flat.
        plan: "extended" (made by stock nnU-Net before) or "fresh".
        made_with: the options that a fresh plan was made with.
        alike: from `look_alike`.
        sides: from `find_sides`.
    """
    return {
        **({"made_with": made_with} if made_with else {}),
        "schema_version": SCHEMA_VERSION,
        "planned_by": f"nnuda {nnuda.__version__}",
        "plan": plan,
        "source": source.name,
        "target": {
            "name": target.name,
            "folder": relative_target_folder(source.name, target.name),
            "channel_names": target.channel_names,
            "file_ending": target.file_ending,
            "num_cases": len(target.images),
            "normalization": target_normalization(plans, target.channel_names, target_fingerprint),
        },
        "geometry": geometry,
        "memory": memory,
        "rules": find(geometry, alike, sides),
        "settings": settings,
        "weights": pretrained_weights(settings),
    }


def pretrained_weights(settings: dict) -> dict[str, dict[str, str]]:
    """The key's `weights`: file and hash of each that the settings name, found before any long work.

    Args:
        settings: overrides of presets, flat.

    Raises:
        TextEncoderUnavailable, TextModelError: as `nnuda.text.weights.resolve_weights`.
    """
    return resolve_pretrained(settings_of_all_presets(settings))
