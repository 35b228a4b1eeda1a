from __future__ import annotations

import json
import socket
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch

VISION = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
TEXT = {"context_length": 40, "width": 32, "heads": 2, "layers": 2}
MODELS = {
    "tiny": {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-quickgelu": {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT, "quick_gelu": True},
    "tiny-custom": {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT, "custom_text": True},
    "tiny-bidirectional": {
        "embed_dim": 48, "vision_cfg": VISION, "text_cfg": {**TEXT, "no_causal_mask": True}, "custom_text": True
    },
    "tiny-wide": {"embed_dim": 64, "vision_cfg": VISION, "text_cfg": {**TEXT, "width": 64}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def network_attempts(monkeypatch) -> list[tuple]:
    """No test reaches the network; the attempts are listed."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, tmp_path) -> None:
    """Small architectures among open_clip's, and hub tags of two of them."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    folder = tmp_path / "configurations"
    folder.mkdir()
    for name, config in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    tag = {"url": "", "hf_hub": "someone/tiny_clip.small/", "quick_gelu": True}
    named = {"url": "", "hf_hub": "someone/tiny_clip.named/weights.bin"}
    for model in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, model, {"small": tag, "named": named})


@pytest.fixture(autouse=True)
def hub_cache(monkeypatch, tmp_path) -> Path:
    """An empty cache of the hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return folder
