"""Settings that can be tried: what a value names has to be there, and to be of the right kind, when a plan is written.

The schema of a setting says what it names by its "format", in presets of one's own as in nnuda's. What a trainer knows
beyond that, it says in its `check`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnuda.results import find_checkpoint, load_checkpoint
from nnuda.settings import SettingsError, setting_formats, settings_of_all_presets, validate_overrides
from nnuda.text.pretrained import model_of_weights


def _checkpoint(key: str, path: str, settings: dict[str, Any]) -> str:
    load_checkpoint(find_checkpoint(os.path.expanduser(path), option=f"Setting {key}"), mapped=True)
    return os.path.abspath(os.path.expanduser(path))  # a training starts in another folder than planning


def _open_clip_model(key: str, model: str, settings: dict[str, Any]) -> str:
    from nnuda.text.clip_models import TextModelError, model_config  # open_clip takes seconds to import

    try:
        model_config(model)
    except TextModelError as error:
        raise SettingsError(f"Setting {key}: {error}") from error
    return model


def _open_clip_weights(key: str, weights: str, settings: dict[str, Any]) -> str:
    from nnuda.text.clip_models import TextModelError
    from nnuda.text.towers import load_clip
    from nnuda.text.weights import resolve_weights

    model = model_of_weights(key, settings)
    try:
        load_clip(model, Path(resolve_weights(model, weights)["file"]))
    except TextModelError as error:
        raise SettingsError(f"Setting {key}: {error}") from error
    return weights


FORMATS: dict[str, Callable[[str, str, dict[str, Any]], str]] = {
    "checkpoint": _checkpoint,
    "open_clip-model": _open_clip_model,
    "open_clip-weights": _open_clip_weights,
}


def tried_settings(overrides: dict[str, Any]) -> dict[str, Any]:
    """Overrides as they go into a plan, after each was tried whose schema says what it names.

    Args:
        overrides: of presets, flat, those of an older plan among them.

    Returns:
        the same; paths are absolute.

    Raises:
        SettingsError: an unknown key, a refused value, or one that names nothing.
        ResultsError: a checkpoint that is not there, damaged, or none.
        TextEncoderUnavailable: weights that cannot be had here.
    """
    validate_overrides(overrides)
    formats, settings = setting_formats(), settings_of_all_presets(overrides)
    tried = dict(overrides)
    for key in sorted(overrides):
        check = FORMATS.get(formats.get(key, ""))
        if check is not None and isinstance(overrides[key], str):
            tried[key] = check(key, overrides[key], settings)
    return tried
