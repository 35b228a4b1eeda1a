from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import safetensors.torch
import torch
from torch import nn

from nnuda.text.prompt_encoder import build_text_encoder
from nnuda.text.towers import load_clip
from nnuda.text.weights import TextEncoderUnavailable, find_weights, is_jit_archive, resolve_weights

CLASSES = ["liver"]


def clip(model: str = "tiny-quickgelu") -> nn.Module:
    torch.manual_seed(0)
    return open_clip.create_model(model)


def save_jit(model: nn.Module, file: Path) -> None:
    """An archive like OpenAI's: fp16 weights under CLIP's names, and three numbers among them."""
    root = nn.Module()
    for key, value in model.state_dict().items():
        *folders, name = key.split(".")
        module = root
        for folder in folders:
            if folder not in dict(module.named_children()):
                module.add_module(folder, nn.Module())
            module = getattr(module, folder)
        module.register_parameter(name, nn.Parameter(value.half()))
    for name, value in (("input_resolution", 32), ("context_length", 40), ("vocab_size", 49408)):
        root.register_buffer(name, torch.tensor(value))
    torch.jit.script(root).save(str(file))


def fill_cache(hub_cache: Path, repository: str, name: str, model: nn.Module | None = None) -> Path:
    """A file of a repository as the hub's client lays it down: a link to a blob without a suffix."""
    folder = hub_cache / f"models--{repository.replace('/', '--')}"
    file, blob = folder / "snapshots" / "0123abcd" / name, folder / "blobs" / "beef"
    for directory in (file.parent, blob.parent, folder / "refs"):
        directory.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0123abcd")
    if name.endswith(".safetensors"):
        safetensors.torch.save_file((model or clip()).state_dict(), blob)
    else:
        torch.save((model or clip()).state_dict(), blob)
    file.symlink_to(blob)
    return file


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors", ".jit"])
def test_every_kind_of_file_gives_the_same_vectors(suffix, tmp_path, network_attempts):
    model, file = clip(), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(model.state_dict(), file)
    elif suffix == ".jit":
        save_jit(model, file)
    else:
        torch.save(model.state_dict(), file)
    assert is_jit_archive(file) == (suffix == ".jit")
    encoder = build_text_encoder("tiny-quickgelu", str(file), CLASSES)
    expected = model.encode_text(open_clip.get_tokenizer("tiny-quickgelu")(["A photo of a source domain"]))[0]
    tolerance = 1e-2 if suffix == ".jit" else 1e-5  # the archive's weights are fp16
    torch.testing.assert_close(encoder().domain, expected, rtol=tolerance, atol=tolerance)
    assert not encoder.from_scratch and encoder().domain.dtype == torch.float32 and not network_attempts


def test_training_checkpoint_of_open_clip(tmp_path):
    model, file = clip(), tmp_path / "epoch_1.pt"
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, file)
    assert torch.equal(load_clip("tiny-quickgelu", file).token_embedding.weight, model.token_embedding.weight)


def test_weights_of_another_model_are_named(tmp_path):
    for name, content in (("other.pt", clip("tiny-wide").state_dict()), ("not_weights.pt", {"x": torch.zeros(1)})):
        file = tmp_path / name
        torch.save(content, file)
        with pytest.raises(ValueError, match=f"weights of the open_clip model tiny in .*{name}"):
            build_text_encoder("tiny", str(file), CLASSES)
    file = tmp_path / "page.pt"
    file.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="weights of the open_clip model tiny in .*page.pt"):
        build_text_encoder("tiny", str(file), CLASSES)


def test_resolve_a_file(tmp_path, monkeypatch, network_attempts):
    (tmp_path / "w.pt").write_bytes(b"0" * 3_000_000)
    monkeypatch.chdir(tmp_path)
    resolved = resolve_weights("tiny", "w.pt")
    assert resolved == {"file": str(tmp_path / "w.pt"), "sha256": hashlib.sha256(b"0" * 3_000_000).hexdigest()}
    assert not network_attempts


def test_resolve_nothing():
    assert resolve_weights(None, None) == resolve_weights("tiny", None) == {"file": None, "sha256": None}
    with pytest.raises(ValueError, match="ViT-B-16-SigLIP has another"):
        resolve_weights("ViT-B-16-SigLIP", None)


def test_weights_need_a_model():
    with pytest.raises(ValueError, match="needs the open_clip model"):
        build_text_encoder(None, "openai", CLASSES)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_cached_tag_is_found_and_loads_without_the_network(name, hub_cache, network_attempts):
    model = clip()
    file = fill_cache(hub_cache, "someone/tiny_clip.small", name, model)
    assert find_weights("tiny-quickgelu", "small", download=True) == file
    encoder = build_text_encoder("tiny-quickgelu", "small", CLASSES)
    expected = model.encode_text(open_clip.get_tokenizer("tiny-quickgelu")(["A photo of a source domain"]))[0]
    torch.testing.assert_close(encoder().domain, expected, rtol=1e-5, atol=1e-5)
    assert resolve_weights("tiny-quickgelu", "small")["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not network_attempts


@pytest.mark.parametrize("name", ["weights.bin", "weights.safetensors"])
def test_a_cached_tag_with_a_file_name_of_its_own(name, hub_cache):
    file = fill_cache(hub_cache, "someone/tiny_clip.named", name)
    assert find_weights("tiny", "named") == file


def test_an_uncached_tag_names_three_ways_out_before_any_network_attempt(hub_cache, network_attempts):
    begin = time.monotonic()
    with pytest.raises(TextEncoderUnavailable) as error:
        build_text_encoder("RN50-quickgelu", "openai", CLASSES)
    message = str(error.value)
    assert "'openai' of RN50-quickgelu" in message
    for way in ("1. a local file", "2. another encoder", "3. `pretrained` null"):
        assert way in message
    assert "open_clip_model.safetensors" in message and "timm/resnet50_clip.openai" in message
    assert str(hub_cache) in message and "trained from scratch" in message
    assert not network_attempts and time.monotonic() - begin < 2


def test_way_2_lists_what_is_cached(hub_cache):
    fill_cache(hub_cache, "someone/tiny_clip.small", "open_clip_model.safetensors")
    with pytest.raises(TextEncoderUnavailable, match=r"hub\): tiny-quickgelu with small;"):
        build_text_encoder("RN50-quickgelu", "openai", CLASSES)


def test_offline_setting_keeps_planning_off_the_network(monkeypatch, network_attempts):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TextEncoderUnavailable, match="HF_HUB_OFFLINE is set"):
        resolve_weights("RN50-quickgelu", "openai")
    assert not network_attempts


def test_planning_without_internet_asks_once_and_gives_up(monkeypatch, network_attempts):
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: pytest.fail("open_clip retries for long"))
    begin = time.monotonic()
    with pytest.raises(TextEncoderUnavailable, match="cannot be reached from here .*no network in this test"):
        resolve_weights("RN50-quickgelu", "openai")
    assert len(network_attempts) == 1 and time.monotonic() - begin < 2


def test_planning_with_internet_downloads(monkeypatch, hub_cache):
    def answer(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 405, "Method Not Allowed", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(
        open_clip,
        "download_pretrained",
        lambda tag: str(fill_cache(hub_cache, tag["hf_hub"].rstrip("/"), "open_clip_model.safetensors")),
    )
    file = find_weights("tiny-quickgelu", "small", download=True)
    assert file.is_file() and find_weights("tiny-quickgelu", "small") == file


def test_a_failed_download_names_the_ways_out(monkeypatch):
    def fail(tag):
        raise FileNotFoundError("quota")

    class Answer:
        def close(self):
            pass

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: Answer())
    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(TextEncoderUnavailable, match="(?s)failed: quota.*Three ways out"):
        resolve_weights("tiny-quickgelu", "small")


def test_neither_file_nor_tag(network_attempts):
    with pytest.raises(TextEncoderUnavailable, match=r"neither a file nor a tag of tiny \(its tags: small, named\)"):
        resolve_weights("tiny", "smal")
    assert not network_attempts


def test_a_tag_with_the_wrong_activation_is_an_error():
    with pytest.raises(ValueError, match="with QuickGELU, the configuration RN50 is without.*RN50-quickgelu"):
        build_text_encoder("RN50", "openai", CLASSES)
    with pytest.raises(ValueError, match="without QuickGELU, the configuration tiny-quickgelu is with.*model tiny\\."):
        build_text_encoder("tiny-quickgelu", "named", CLASSES)


def test_openais_archive_with_the_wrong_activation_is_an_error(tmp_path):
    save_jit(clip(), tmp_path / "RN50.pt")
    with pytest.raises(ValueError, match="RN50.pt, a TorchScript archive .*with QuickGELU, the configuration tiny is"):
        build_text_encoder("tiny", str(tmp_path / "RN50.pt"), CLASSES)


def test_a_file_with_its_configuration_beside_it(tmp_path):
    file = tmp_path / "w.pt"
    torch.save(clip().state_dict(), file)
    beside = tmp_path / "open_clip_config.json"
    beside.write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert find_weights("tiny-quickgelu", str(file)) == file
    with pytest.raises(ValueError, match="open_clip_config.json beside it, was trained with QuickGELU"):
        find_weights("tiny", str(file))


def test_a_file_that_does_not_tell_its_activation_is_said_once(tmp_path, capsys):
    file = tmp_path / "w.pt"
    torch.save(clip().state_dict(), file)
    for _ in range(2):
        assert find_weights("tiny", str(file)) == file
    assert (
        capsys.readouterr().out.count(f"NOTE: {file} does not say whether it was trained with QuickGELU; tiny is") == 1
    )
    find_weights("tiny-quickgelu", str(file))
    assert capsys.readouterr().out == ""


def test_a_file_in_the_hubs_cache_is_known_by_its_tag(hub_cache):
    file = fill_cache(hub_cache, "someone/tiny_clip.small", "open_clip_model.safetensors")
    assert find_weights("tiny-quickgelu", str(file)) == file
    with pytest.raises(ValueError, match="the tag 'small' in the hub's cache, was trained with QuickGELU"):
        find_weights("tiny", str(file))
