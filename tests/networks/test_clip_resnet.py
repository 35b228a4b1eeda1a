from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from network_cases import CHANNELS, CLASSES, TEXT, awaken, configuration, text_vectors, uuds_network
from torch import Tensor, nn

from nnuda.errors import UnsupportedError
from nnuda.networks.clip_resnet import (
    ClipDomainFeatures,
    clip_strides,
    clip_visual,
    load_clip_weights,
    positions_on_grid,
)
from nnuda.networks.uuds import UUDSNetwork

TINY = "tiny-resnet-of-the-tests"


@pytest.fixture(scope="module", autouse=True)
def _tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A CLIP ResNet with 4 blocks and 4 heads; its native grid is 3 x 3."""
    import open_clip

    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    file = tmp_path_factory.mktemp("configs") / f"{TINY}.json"
    file.write_text(json.dumps(config))
    open_clip.add_model_config(file)


def clip_network(num_input_channels: int = CHANNELS, **settings: object) -> UUDSNetwork:
    arguments = {"image_encoder": "clip", "clip.model": TINY, **settings}
    return uuds_network(configuration(), num_input_channels=num_input_channels, **arguments)


def images(batch: int = 4, channels: int = CHANNELS) -> Tensor:
    return torch.randn(batch, channels, 64, 96)


def statistics(module: nn.Module) -> list[Tensor]:
    return [b.clone() for name, b in module.named_buffers() if "running" in name or "num_batches" in name]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_tower_is_open_clips() -> None:
    import open_clip

    ours, theirs = clip_visual("RN50"), open_clip.create_model("RN50", pretrained=None).visual
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_encoder_ends_in_layer4_and_pool_gives_clips_vector() -> None:
    network = clip_network(num_input_channels=3).eval()
    visual, pool = network.encoder.visual, network.domain_features
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features = network.encoder(x)
        layer4 = visual.forward_intermediates(x, indices=[4], intermediates_only=True)["image_intermediates"][0]
        assert torch.equal(features[-1], layer4)
        X_d, _ = pool(features[-1])
        plain = ClipDomainFeatures(visual.attnpool, 24)
        assert torch.allclose(plain(features[-1])[1], visual(x), atol=1e-5)  # the global token is open_clip's output
    assert X_d.shape == (2, 24, 3, 3)
    assert [list(f.shape[2:]) for f in features] == [[96, 96], [48, 48], [24, 24], [12, 12], [6, 6], [3, 3]]
    assert clip_strides() == network.encoder.strides and len(clip_strides()) == len(features)


def test_positions_keep_their_grid_and_meaning() -> None:
    embedding = torch.randn(1 + 7 * 7, 5)
    assert torch.equal(positions_on_grid(embedding, (7, 7)), embedding)
    rows = torch.arange(7.0)[:, None].expand(7, 7)  # position embedding that tells the row
    ramp = torch.cat((torch.zeros(1, 1), rows.reshape(-1, 1)))
    resized = positions_on_grid(ramp, (14, 4))[1:].view(14, 4)
    assert (resized.diff(dim=0) > 0).all() and torch.allclose(resized[:, :1].expand(14, 4), resized, atol=1e-5)


@pytest.mark.parametrize("channels", (1, 2, 3))
def test_shapes_and_gradients(channels: int) -> None:
    network, text = clip_network(num_input_channels=channels), text_vectors()
    output = network(images(channels=channels), text, num_source=2)
    assert [tuple(logits.shape[2:]) for logits in output.logits] == [(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)]
    assert output.logits[0].shape[:2] == (4, CLASSES) and output.image.shape == (4, channels, 64, 96)
    assert output.x_g.shape == (4, TEXT) and output.x_g_synthetic.shape == (2, TEXT)
    assert output.segmentation_features.shape == (4, CLASSES - 1, 256, 2, 3)
    terms = [*output.logits, output.image, output.x_g, output.x_g_synthetic, output.segmentation_features]
    sum((t * torch.randn_like(t)).sum() for t in terms).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert all(vector.grad.abs().sum() > 0 for vector in text)


def test_text_of_clips_own_length_meets_the_global_token() -> None:
    pool = clip_visual(TINY).attnpool
    assert len(list(ClipDomainFeatures(pool, 24).to_global.parameters())) == 0
    assert ClipDomainFeatures(pool, TEXT)(torch.randn(1, 256, 2, 3))[1].shape == (1, TEXT)


def test_running_statistics_are_the_targets() -> None:
    network = awaken(clip_network()).train()
    state = {k: v.clone() for k, v in network.state_dict().items()}
    x, text = images(6), text_vectors()
    output = network(x, text, num_source=3)
    after = statistics(network)

    network.load_state_dict(state)
    other = network(torch.cat((2 + 3 * images(3), x[3:])), text, num_source=3)
    assert equal(after, statistics(network))
    assert torch.equal(output.logits[0][3:], other.logits[0][3:])
    assert torch.equal(output.x_g_synthetic, other.x_g_synthetic)

    network.load_state_dict(state)
    network.encoder(x[3:])
    assert equal(after, statistics(network))
    assert not equal(after, [v for k, v in state.items() if "running" in k or "num_batches" in k])


def test_without_domain_prompt_there_is_no_pool() -> None:
    network = clip_network(domain_prompt=False)
    assert not any("attnpool" in name for name in network.state_dict())
    output = network(images(), text_vectors(), num_source=2)
    assert output.x_g is None and output.x_g_synthetic is None


def test_weights_of_a_checkpoint(tmp_path: Path) -> None:
    import open_clip

    clip = open_clip.create_model(TINY, pretrained=None)
    file = str(tmp_path / "clip.pt")
    torch.save(clip.state_dict(), file)
    for domain_prompt in (True, False):
        network = clip_network(domain_prompt=domain_prompt)
        load_clip_weights(network.encoder, TINY, file)
        ours, theirs = network.encoder.visual.state_dict(), clip.visual.state_dict()
        assert ours and all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert ("attnpool.c_proj.weight" in ours) == domain_prompt
    torch.save({k: v for k, v in clip.state_dict().items() if "layer3" not in k}, file)
    with pytest.raises(ValueError, match=f"weights of the open_clip model {TINY}"):
        load_clip_weights(clip_network().encoder, TINY, file)


def test_state_loads_strictly_into_a_fresh_network() -> None:
    network, x = awaken(clip_network()), images(2)
    network.set_text(*text_vectors())
    other = clip_network()
    other.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(network.eval()(x)[0], other.eval()(x)[0])


@pytest.mark.slow
def test_compiles_to_one_graph() -> None:
    network, x, text = awaken(clip_network()), images(4), text_vectors()
    expected = network(x, text, num_source=2)
    got = torch.compile(network, backend="eager", fullgraph=True)(x, text, num_source=2)
    assert torch.allclose(got.logits[0], expected.logits[0], atol=1e-4)
    assert torch.allclose(got.x_g_synthetic, expected.x_g_synthetic, atol=1e-4)


def test_3d_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="uuds.image_encoder=clip works on 2D images"):
        uuds_network(configuration(3), image_encoder="clip", **{"clip.model": TINY})


def test_patch_that_clip_cannot_halve_is_refused() -> None:
    config = configuration()
    config.patch_size = [64, 48]
    with pytest.raises(UnsupportedError, match="multiples of 32"):
        uuds_network(config, image_encoder="clip", **{"clip.model": TINY})


@pytest.mark.parametrize("model", ("ViT-B-32", "no-such-model"))
def test_other_towers_are_refused(model: str) -> None:
    with pytest.raises(UnsupportedError, match="must be a CLIP ResNet"):
        clip_network(**{"clip.model": model})
