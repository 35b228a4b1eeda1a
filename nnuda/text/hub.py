"""A model's folder from Hugging Face: local, in the cache, or downloaded where the hub answers."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub

from nnuda.text.weights import TextEncoderUnavailable, why_not_downloaded


def hub_folder(name: str, patterns: list[str]) -> Path:
    """The folder that holds a repository's files.

    Args:
        name: repository, or path of a local folder.
        patterns: files to fetch where it is not in the cache.

    Raises:
        TextEncoderUnavailable: neither a folder nor in the cache, and it cannot be downloaded; the message has the ways
            out.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.absolute()
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns, local_files_only=True))
    except Exception:  # not there, or no name of a repository: what follows says which
        reason = why_not_downloaded()
    try:
        if reason is None:
            return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds
        reason = f"its download failed ({error})"
    raise TextEncoderUnavailable(
        f"{name!r} is neither a folder nor in the local cache ({huggingface_hub.constants.HF_HUB_CACHE}), and "
        f"{reason}. Three ways out:\n"
        "  1. where there is internet, fetch the repository, and give its folder: --text-model hf:FOLDER;\n"
        "  2. another encoder: an open_clip model with --text-weights FILE, or --text-model ngrams, which needs none;\n"
        "  3. --class-embeddings FILE: vectors that were made elsewhere."
    )
