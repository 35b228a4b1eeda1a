"""Where a text encoder's weights come from: a local file, or a hub tag's copy in the local cache."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from nnuda.errors import NnudaError
from nnuda.files import read_json, sha256
from nnuda.text.clip_models import TextModelError, model_config

HUB_TIMEOUT = 5
"""Seconds that the hub has to answer; its own client tries for most of a minute."""


class TextEncoderUnavailable(NnudaError, RuntimeError):
    """The weights of a text encoder cannot be had here.

    Args:
        message: why, and the ways out.
        reason: why alone.
        fetch: how to get them elsewhere.
    """

    def __init__(self, message: str, reason: str = "", fetch: str = "") -> None:
        super().__init__(message)
        self.reason, self.fetch = reason, fetch


def resolve_weights(model: str | None, pretrained: str | None, download: bool = True) -> dict[str, str | None]:
    """Turn a hub tag or path into a local file and its hash, so that training needs no internet.

    Args:
        model: name of an open_clip configuration, or None for the small text tower.
        pretrained: path of a local file, hub tag of the model, or None for random weights.
        download: fetch a tag that is not in the local cache, where the hub answers.

    Returns:
        {"file": absolute path, "sha256": its hash}; both None where `pretrained` is None.

    Raises:
        TextEncoderUnavailable: if there is no such file or tag, or the tag's weights cannot be had here.
        TextModelError: if weights and model do not belong together.
    """
    if pretrained is None:
        if model is not None:
            model_config(model)
        return {"file": None, "sha256": None}
    file = find_weights(model, pretrained, download)
    return {"file": str(file), "sha256": sha256(file)}


def find_weights(model: str | None, pretrained: str, download: bool = False) -> Path:
    """The local file of a hub tag or path; without `download` the network is never touched.

    Args, Raises: as `resolve_weights`, which see.
    """
    if model is None:
        raise TextModelError(
            f"pretrained={pretrained!r} needs the open_clip model that the weights belong to; got none."
        )
    config = model_config(model)
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if not tag:
        return _local_file(model, config, pretrained)
    _check_quick_gelu(model, config, tag.get("quick_gelu", False), f"The tag {pretrained!r}")
    file = _cached(tag)
    if file is None:
        reason = why_not_downloaded() if download else "nothing is downloaded at this step"
        if reason is None:
            return _downloaded(tag)
        raise _unavailable(f"The weights {pretrained!r} of {model} are not in the local cache, and {reason}.", tag)
    return file


def is_jit_archive(file: Path) -> bool:
    """Whether a file is a TorchScript archive, the form in which OpenAI publishes CLIP."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _local_file(model: str, config: dict[str, Any], pretrained: str) -> Path:
    # absolute() and not resolve(): files of the hub's cache are links whose targets have lost the suffix.
    file = Path(pretrained).expanduser().absolute()
    if not file.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise _unavailable(f"{pretrained!r} is neither a file nor a tag of {model} (its tags: {tags}).")
    signs = list(_signs_of_quick_gelu(file))
    for trained_with, what in signs:
        _check_quick_gelu(model, config, trained_with, f"{file}, {what},")
    if not signs:
        _say_that_nothing_is_known(model, file)
    return file


@cache  # once a program
def _say_that_nothing_is_known(model: str, file: Path) -> None:
    if f"{model}-quickgelu" in open_clip.list_models():
        print(
            f"NOTE: {file} does not say whether it was trained with QuickGELU; {model} is without. For OpenAI's weights, "
            f"and others that were trained with it, take {model}-quickgelu: the vectors of {model} would be wrong.",
            flush=True,
        )


def _signs_of_quick_gelu(file: Path) -> Iterator[tuple[bool, str]]:
    """What is known of the activation that a local file was trained with; a bare state dict does not tell."""
    if is_jit_archive(file):
        yield True, "a TorchScript archive as OpenAI publishes them"
    beside = file.with_name("open_clip_config.json")
    if beside.is_file():
        config = read_json(beside, "a configuration of open_clip's", remedy="Move it away, or copy it again.")
        yield config.get("model_cfg", {}).get("quick_gelu", False), f"by the {beside.name} beside it"
    for model, name in open_clip.list_pretrained():
        tag = open_clip.get_pretrained_cfg(model, name)
        repository, _ = _hub_files(tag)
        if f"models--{repository.replace('/', '--')}" in file.parts:
            yield tag.get("quick_gelu", False), f"the tag {name!r} in the hub's cache"


def _check_quick_gelu(model: str, config: dict[str, Any], trained_with: bool, what: str) -> None:
    if trained_with == config.get("quick_gelu", False):
        return
    words = ("with", "without") if trained_with else ("without", "with")
    other = f"{model}-quickgelu" if trained_with else model.removesuffix("-quickgelu")
    raise TextModelError(
        f"{what} was trained {words[0]} QuickGELU, the configuration {model} is {words[1]}: its vectors would be wrong."
        f" Take the model {other}."
    )


def _hub_files(tag: dict[str, Any]) -> tuple[str, list[str]]:
    """Repository and file names of a tag, in open_clip's order of preference."""
    repository, name = os.path.split(tag["hf_hub"])
    if not name:
        return repository, [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    return repository, [os.path.splitext(name)[0] + ".safetensors", name]


def _cached(tag: dict[str, Any]) -> Path | None:
    repository, names = _hub_files(tag)
    found = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return next((Path(file) for file in found if isinstance(file, str)), None)


def _cached_encoders() -> Iterator[str]:
    for model, tag in open_clip.list_pretrained():
        if _cached(open_clip.get_pretrained_cfg(model, tag)):
            try:
                find_weights(model, tag)
            except TextModelError:  # not a CLIP text transformer, or the wrong activation for the tag
                continue
            yield f"{model} with {tag}"


def why_not_downloaded() -> str | None:
    """Why the hub cannot be asked from here, found within seconds; None where it answers."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    hub = huggingface_hub.constants.ENDPOINT
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return None  # whatever it said, it answered
    except OSError as error:
        return f"{hub} cannot be reached from here ({error})"
    return None


def _downloaded(tag: dict[str, Any]) -> Path:
    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:  # open_clip and the hub's client raise a dozen kinds
        raise _unavailable(f"The download of {tag['hf_hub']} failed: {error}.", tag) from error


def _unavailable(reason: str, tag: dict[str, Any] | None = None) -> TextEncoderUnavailable:
    fetch = "have the weights as a file"
    if tag:
        repository, names = _hub_files(tag)
        fetch = f"where there is internet, fetch {' or '.join(names)} of {repository}"
    return TextEncoderUnavailable(
        f"{reason} Three ways out:\n"
        f"  1. a local file: {fetch}, and give its path as `pretrained`;\n"
        f"  2. another encoder; in the local cache ({huggingface_hub.constants.HF_HUB_CACHE}): "
        f"{', '.join(_cached_encoders()) or 'none'};\n"
        "  3. `pretrained` null: with no model a small text tower, with one its architecture, trained from scratch.",
        reason,
        fetch,
    )
