"""Pretrained weights that the settings name, found before any long work."""
from __future__ import annotations

from nnuda.planning.errors import PlanningError
from nnuda.settings import settings_of_all_presets
from nnuda.text.pretrained import resolve_pretrained


def pretrained_weights(settings: dict) -> dict[str, dict[str, str]]:
    """The key's `weights`: file and hash of each.

    Args:
        settings: overrides of presets, flat.

    Raises:
        PlanningError: weights that cannot be had here, or that do not belong to their model.
    """
    try:
        return resolve_pretrained(settings_of_all_presets(settings))
    except (RuntimeError, ValueError) as error:
        raise PlanningError(str(error)) from error
