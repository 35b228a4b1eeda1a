from __future__ import annotations

import pytest
import torch
from network_cases import (
    CHANNELS,
    CLASSES,
    TEXT,
    awaken,
    configuration,
    patch,
    plain_network,
    text_vectors,
    uuds_network,
)
from torch import Tensor

from nnuda.networks.uuds import UUDSNetwork, UUDSOutput, forward_frozen

ARCHITECTURES = ("PlainConvUNet", "ResidualEncoderUNet")


def images(dimension: int = 2, batch: int = 3) -> Tensor:
    return torch.randn(batch, CHANNELS, *patch(dimension))


def every_output(output: UUDSOutput) -> Tensor:
    """A scalar that depends on each output, positions weighted so that no term is constant under a norm."""
    logits = output.logits if isinstance(output.logits, list) else [output.logits]
    tensors = [*logits, output.image, output.x_g, output.x_g_synthetic, output.segmentation_features]
    return sum((t * torch.randn_like(t)).sum() for t in tensors if t is not None)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dimension", (2, 3))
@pytest.mark.parametrize("deep_supervision", (True, False))
def test_untrained_network_is_the_plain_network(architecture: str, dimension: int, deep_supervision: bool) -> None:
    config = configuration(dimension, architecture)
    torch.manual_seed(1)
    plain = plain_network(config, deep_supervision)
    torch.manual_seed(1)
    network = uuds_network(config, deep_supervision)
    network.set_text(*text_vectors())
    x = images(dimension)
    expected, got = plain(x), network(x)
    adapted = network(x, text_vectors(), num_source=1).logits
    if not deep_supervision:
        expected, got, adapted = [expected], [got], [adapted]
    assert len(got) == len(expected) == len(adapted)
    for e, g, a in zip(expected, got, adapted):
        assert torch.equal(e, g) and torch.equal(e, a)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_checkpoint_fits(architecture: str) -> None:
    config = configuration(2, architecture)
    plain, network = plain_network(config), uuds_network(config)
    state, ours = plain.state_dict(), network.state_dict()
    assert {k for k in ours if k.startswith(("encoder.", "decoder."))} == set(state)
    network.load_state_dict({**ours, **state}, strict=True)
    x = images()
    assert all(torch.equal(e, g) for e, g in zip(plain(x), network(x)))


@pytest.mark.parametrize("dimension", (2, 3))
def test_shapes(dimension: int) -> None:
    network = uuds_network(configuration(dimension))
    x = images(dimension, batch=5)
    output = network(x, text_vectors(), num_source=2)
    bottleneck = network.encoder(x)[-1].shape[2:]
    assert len(output.logits) == 3 and output.logits[0].shape == (5, CLASSES, *patch(dimension))
    assert output.image.shape == x.shape
    assert output.x_g.shape == (5, TEXT)
    assert output.x_g_synthetic.shape == (3, TEXT)
    assert output.segmentation_features.shape == (5, CLASSES - 1, network.content_channels, *bottleneck)
    assert network(x, text_vectors(), num_source=2, reencode=False).x_g_synthetic is None
    assert network(x, text_vectors(), num_source=5).x_g_synthetic is None


@pytest.mark.parametrize("dam", ("gate", "channel", "adain"))
@pytest.mark.parametrize("decoders", ("shared", "per_domain"))
def test_every_parameter_learns(dam: str, decoders: str) -> None:
    network, text = uuds_network(configuration(), dam=dam, decoders=decoders), text_vectors()
    output = network(images(), text, num_source=1)
    every_output(output).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a bias ahead of an instance norm has no effect, in nnU-Net's own convolutions
    assert [name for name in still if not (name.startswith(("encoder", "decoder")) and name.endswith("bias"))] == []
    assert all(vector.grad.abs().sum() > 0 for vector in text)


def test_segmentation_of_target_reaches_the_generator_once_the_fusion_has_moved() -> None:
    network = awaken(uuds_network(configuration()))
    network(images(), text := text_vectors(), num_source=1).logits[0][1:].square().mean().backward()
    assert network.dam.attention.query.weight.grad.abs().sum() > 0
    assert text[0].grad.abs().sum() > 0 and text[1].grad.abs().sum() > 0
    assert network.image_decoder.to_image.weight.grad is None


def test_synthetic_domain_vector_reaches_the_generator() -> None:
    network = uuds_network(configuration())
    network(images(), text_vectors(), num_source=1).x_g_synthetic.square().sum().backward()
    assert network.image_decoder.to_image.weight.grad.abs().sum() > 0
    assert network.dam.value.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("reach, learns", [("branch", False), ("encoder", True)])
def test_what_the_distillation_trains(reach: str, learns: bool) -> None:
    """Equation 1 moves the domain branch and the generator's adaptation reads it;
    the image encoder learns only where the setting says so."""
    network = uuds_network(configuration(), **{"domain_distillation.reach": reach})
    network(images(), text_vectors(), num_source=1).x_g.square().sum().backward()
    assert network.domain_features.to_global.weight.grad.abs().sum() > 0
    moved = [
        parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for parameter in network.encoder.parameters()
    ]
    assert any(moved) == learns


def test_reencoding_leaves_no_gradient_of_its_own_in_the_encoder() -> None:
    """What is left comes through the generator: with the image cut off, nothing."""
    network = uuds_network(configuration())
    image = images().requires_grad_()
    forward_frozen(network.encoder, image)[-1].square().sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.encoder.parameters())


def test_a_detached_generator_does_not_train_the_encoder() -> None:
    """Neither L_id nor what the segmentation asks of the generator reaches the encoder through it."""
    network = uuds_network(configuration(), **{"generator.detached": True})
    network(images(), text_vectors(), num_source=1).image.square().sum().backward()
    assert network.image_decoder.to_image.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.encoder.parameters())


def test_before_it_is_joined_the_network_is_the_plain_one() -> None:
    network, x = awaken(uuds_network(configuration())), images()
    output, network.joined = network(x, text_vectors(), num_source=1), False
    plain = network(x, text_vectors(), num_source=1)
    expected = network.decoder(network.encoder(x))
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, expected))
    assert not torch.equal(output.logits[0], expected[0])
    plain.logits[0].sum().backward()
    assert all(not conv.weight.grad.any() for conv in network.fusion) and not network.sam.scale.grad.any()


def test_kept_text_gives_the_logits_of_the_text() -> None:
    network = awaken(uuds_network(configuration())).eval()
    x, text = images(), text_vectors()
    with torch.no_grad():
        expected = network(x, text, num_source=0).logits[0]
        assert not torch.allclose(network(x)[0], expected)
        network.set_text(*text)
        assert torch.equal(network(x)[0], expected)
    other = uuds_network(configuration())
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(other.eval()(x)[0], expected)


def test_deep_supervision_can_be_switched() -> None:
    network = uuds_network(configuration())
    network.decoder.deep_supervision = False
    assert isinstance(network(images()), Tensor)


def test_no_domain_prompt() -> None:
    network = uuds_network(configuration(), domain_prompt=False)
    x, (domain, segmentation) = images(), text_vectors()
    output = network(x, (domain, segmentation), num_source=1)
    assert output.x_g is None and output.x_g_synthetic is None
    every_output(output).backward()
    assert domain.grad is None and segmentation.grad is not None
    assert not any(name.startswith(("domain_features.", "dam.attention.")) for name in network.state_dict())


def test_no_segmentation_prompt() -> None:
    network = uuds_network(configuration(), segmentation_prompt=False)
    domain, segmentation = text_vectors()
    output = network(images(), (domain, segmentation), num_source=1)
    assert output.segmentation_features is None
    every_output(output).backward()
    assert segmentation.grad is None and domain.grad is not None
    assert not any(name.startswith("sam.") for name in network.state_dict())


def test_image_decoder_of_each_domain() -> None:
    network = awaken(uuds_network(configuration(), decoders="per_domain"))
    x, text = images(), text_vectors()
    shared = network(x, text, num_source=1)
    with torch.no_grad():
        network.source_image_decoder.to_image.weight.add_(1.0)
        network.source_image_decoder.stages[0].from_below.weight.add_(1.0)
    changed = network(x, text, num_source=1)
    for before, after in ((shared.image, changed.image), (shared.logits[0], changed.logits[0])):
        assert not torch.allclose(before[:1], after[:1])
        assert torch.equal(before[1:], after[1:])
    network.set_text(*text)
    assert torch.allclose(network(x)[0][1:], changed.logits[0][1:], atol=1e-5)  # prediction: the target's decoder


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="uuds.dam must be one of gate, channel, adain"):
        uuds_network(configuration(), dam="spatial")
    with pytest.raises(ValueError, match="uuds.decoders must be shared or per_domain"):
        uuds_network(configuration(), decoders="both")


def test_architecture_that_is_no_unet_is_refused() -> None:
    config = configuration()
    config.network_arch_class_name = "torch.nn.Identity"
    config.network_arch_init_kwargs = {}
    config.network_arch_init_kwargs_req_import = []
    with pytest.raises(NotImplementedError, match="a U-Net .* asks for torch.nn.modules.linear.Identity"):
        uuds_network(config)


def batch_norms(network: UUDSNetwork) -> dict[str, Tensor]:
    """Running statistics of the whole network by name."""
    return {n: b.clone() for n, b in network.named_buffers() if "running" in n or "num_batches" in n}


def test_batch_norm_keeps_the_domains_apart() -> None:
    network = awaken(uuds_network(configuration(norm="Batch"))).train()
    state = {k: v.clone() for k, v in network.state_dict().items()}
    x, text = images(batch=6), text_vectors()
    other_source = torch.cat((5 + 3 * images(batch=3), x[3:]))
    results = []
    for batch in (x, other_source):
        network.load_state_dict(state)
        output = network(batch, text, num_source=3)
        results.append((output, batch_norms(network)))
    (first, statistics), (second, same_statistics) = results
    assert torch.equal(first.logits[0][3:], second.logits[0][3:])
    assert torch.equal(first.x_g_synthetic, second.x_g_synthetic)
    assert not torch.allclose(first.logits[0][:3], second.logits[0][:3])
    assert all(torch.equal(statistics[k], same_statistics[k]) for k in statistics)

    network.load_state_dict(state)
    network.set_text(*text)
    network(x[3:])
    alone = batch_norms(network)
    assert alone and all(torch.equal(statistics[k], alone[k]) for k in statistics)


@pytest.mark.slow
def test_compiles_to_one_graph() -> None:
    network, x, text = awaken(uuds_network(configuration())), images(batch=4), text_vectors()
    expected = network(x, text, num_source=2)
    got = torch.compile(network, backend="eager", fullgraph=True)(x, text, num_source=2)
    assert torch.allclose(got.logits[0], expected.logits[0], atol=1e-5)
    assert torch.allclose(got.x_g_synthetic, expected.x_g_synthetic, atol=1e-5)


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_half_precision_is_finite_and_near(dtype: torch.dtype) -> None:
    network, x, text = awaken(uuds_network(configuration())), 30 * images(), text_vectors()
    expected = network(x, text, num_source=1)
    with torch.autocast("cpu", dtype=dtype):
        output = network(x, text, num_source=1)
    assert output.x_g.dtype == output.segmentation_features.dtype == torch.float32
    every_output(output).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert (output.logits[0].float() - expected.logits[0]).abs().mean() < 0.05 * expected.logits[0].abs().mean()
