"""Pretrained weights that settings name: found once at planning, checked again at training."""

from __future__ import annotations

from typing import Any

from nnuda.files import sha256

_SUFFIX = ".pretrained"


def model_of_weights(key: str, settings: dict[str, Any]) -> str | None:
    """The open_clip model that weights belong to: `<prefix>.model` of `<prefix>.pretrained`."""
    return settings.get(key.removesuffix(_SUFFIX) + ".model")


def resolve_pretrained(settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """File and hash of every `<prefix>.pretrained` that is set, so that training needs no internet.

    Args:
        settings: flat settings; `<prefix>.model` names the open_clip model.

    Returns:
        {"<prefix>.pretrained": {"file": absolute path, "sha256": hash}}, for the plan's key.

    Raises:
        TextEncoderUnavailable: the weights are not to be had here; the message has the ways out.
        TextModelError: weights and model do not belong together.
    """
    named = [key for key, value in settings.items() if key.endswith(_SUFFIX) and value is not None]
    if not named:
        return {}
    from nnuda.text.weights import resolve_weights  # open_clip takes seconds to import

    return {key: resolve_weights(model_of_weights(key, settings), settings[key]) for key in named}


def planned_file(key: str, settings: dict[str, Any], planned: dict[str, dict[str, str]]) -> str | None:
    """The local file of weights that planning has resolved; the network is never touched.

    Args:
        key: "<prefix>.pretrained".
        settings: effective settings.
        planned: what `resolve_pretrained` returned at planning.

    Returns:
        Path, or None where the setting is null.

    Raises:
        TextEncoderUnavailable: the file is not on this machine.
        TextModelError: it is another file than the planned one.
    """
    if settings[key] is None:
        return None
    from nnuda.text.clip_models import TextModelError
    from nnuda.text.weights import find_weights

    file = find_weights(model_of_weights(key, settings), settings[key])
    if key in planned and sha256(file) != planned[key]["sha256"]:
        raise TextModelError(
            f"{key}={settings[key]}: expected the weights that the plan was made with (sha256 "
            f"{planned[key]['sha256'][:12]}...); {file} holds others. Put the planned file back, or "
            "make a new plan with nnUDA_configure."
        )
    return str(file)
