from __future__ import annotations

import pytest
import torch
from cycle_cases import SETTINGS, awake, cycle_images, cycle_network, shallow_configuration, without_gradient
from network_cases import CHANNELS, CLASSES, configuration, patch, plain_network
from torch import Tensor, nn

from nnuda.networks.build_prototypes import build_cycle_network, build_discriminators
from nnuda.networks.cycle import CycleOutput, average_logits


def by_hand(network, x: Tensor, domain: str = "target") -> Tensor:
    """0.5 P(x) + 0.5 P(x translated), from the generators themselves."""
    first, second = network.generator_t, network.generator_s
    if domain == "source":
        first, second = second, first
    own = first(x)
    return (own.logits[0].softmax(1) + second(own.image).logits[0].softmax(1)) / 2


@pytest.mark.parametrize("dimension", (2, 3))
@pytest.mark.parametrize("domain", ("target", "source"))
def test_prediction_is_the_average_of_both_generators(dimension: int, domain: str) -> None:
    network, x = awake(dimension, deep_supervision=False).eval(), cycle_images(dimension)
    network.domain = domain
    probabilities = network(x).softmax(1)
    torch.testing.assert_close(probabilities, by_hand(network, x, domain))
    assert torch.allclose(probabilities.sum(1), torch.ones(()))
    assert not torch.allclose(probabilities, network.generator_t(x).logits[0].softmax(1), atol=0.01)
    assert not torch.allclose(by_hand(network, x, "target"), by_hand(network, x, "source"), atol=0.01)


def test_prediction_of_regions_averages_the_sigmoids() -> None:
    network, x = awake(deep_supervision=False, regions=True).eval(), cycle_images()
    own = network.generator_t(x)
    expected = (own.logits[0].sigmoid() + network.generator_s(own.image).logits[0].sigmoid()) / 2
    torch.testing.assert_close(network(x).sigmoid(), expected)


@pytest.mark.parametrize("regions", (False, True))
def test_average_of_logits(regions: bool) -> None:
    def probabilities(z: Tensor) -> Tensor:
        return z.sigmoid() if regions else z.softmax(1)

    a, b = (3 * torch.randn(2, 4, 5, 6, dtype=torch.float64) for _ in range(2))
    average = average_logits(a, b, regions)
    torch.testing.assert_close(probabilities(average), (probabilities(a) + probabilities(b)) / 2)
    torch.testing.assert_close(probabilities(average_logits(a, a, regions)), probabilities(a))
    assert torch.autograd.gradcheck(
        lambda a, b: average_logits(a, b, regions), [z[:1, :, :1, :2].clone().requires_grad_() for z in (a, b)]
    )
    extreme = torch.tensor([6e4, -6e4, 0.0, -6e4], dtype=torch.float16).view(1, 4, 1)
    assert average_logits(extreme, -extreme, regions).isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert average_logits(a.bfloat16(), b.bfloat16(), regions).dtype == torch.float32


@pytest.mark.parametrize("architecture", ("PlainConvUNet", "ResidualEncoderUNet"))
def test_generators_start_from_the_weights_of_the_plain_network(architecture: str) -> None:
    config, x = configuration(2, architecture), cycle_images()
    torch.manual_seed(1)
    plain = plain_network(config)
    torch.manual_seed(1)
    network = cycle_network(config)
    for generator in (network.generator_s, network.generator_t):
        for e, g in zip(plain(x), generator(x).logits, strict=True):
            assert torch.equal(e, g)
    s, t = network.generator_s(x), network.generator_t(x)
    assert torch.equal(s.embedding, t.embedding) and torch.equal(s.image, t.image)
    with torch.no_grad():
        network.generator_s.image_head.to_image.weight.zero_()
    assert torch.equal(network.generator_t(x).image, t.image)


@pytest.mark.parametrize("architecture", ("PlainConvUNet", "ResidualEncoderUNet"))
def test_plain_weights_fit_both_generators(architecture: str) -> None:
    config, x = configuration(2, architecture), cycle_images()
    plain, network = plain_network(config), cycle_network(config)
    for generator in (network.generator_s, network.generator_t):
        ours, state = generator.state_dict(), plain.state_dict()
        assert {name for name in ours if name.startswith(("encoder.", "decoder."))} == set(state)
        generator.load_state_dict({**ours, **state}, strict=True)
        assert torch.equal(generator(x).logits[0], plain(x)[0])


@pytest.mark.parametrize("dimension", (2, 3))
def test_four_streams(dimension: int) -> None:
    network, x_s, x_t = awake(dimension), cycle_images(dimension, 2), cycle_images(dimension, 3)
    output = network(x_s, x_t)
    assert isinstance(output, CycleOutput)
    for stream, batch in zip(output, (2, 2, 3, 3)):
        assert len(stream.logits) == 3 and stream.logits[0].shape == (batch, CLASSES, *patch(dimension))
        assert stream.image.shape == (batch, CHANNELS, *patch(dimension))
        assert stream.embedding.shape == (batch, 16, *(size // 4 for size in patch(dimension)))
    expected = network.generator_t(output.source.image)
    torch.testing.assert_close(output.source_in_target.logits, expected.logits)
    torch.testing.assert_close(output.source_in_target.image, expected.image)
    torch.testing.assert_close(output.target_in_source.embedding, network.generator_s(output.target.image).embedding)
    assert not torch.allclose(output.source.image, x_s) and not torch.allclose(output.source_in_target.image, x_s)


def test_supervision_is_that_of_the_decoder_that_nnunet_switches() -> None:
    network, x = awake(), cycle_images()
    deep = network(x)
    assert [tuple(z.shape[2:]) for z in deep] == [(64, 32), (32, 16), (16, 8)]
    network.decoder.deep_supervision = False
    assert torch.equal(network(x), deep[0])
    assert all(isinstance(stream.logits, Tensor) for stream in network(x, x))


def test_cycle_and_segmentation_reach_every_parameter_of_both_generators() -> None:
    network, x_s, x_t = awake(), cycle_images(), cycle_images()
    terms = []
    for stream in network(x_s, x_t):
        terms += [*stream.logits, stream.image, stream.embedding]
    sum((term * torch.randn_like(term)).sum() for term in terms).backward()
    assert without_gradient(network) == []


def test_segmentation_of_translated_source_trains_the_translator() -> None:
    network, x = awake(), cycle_images()
    network(x, x).source_in_target.logits[0].square().mean().backward()
    assert network.generator_s.image_head.to_image.weight.grad.abs().sum() > 0
    assert network.generator_t.image_head.to_image.weight.grad is None


def test_state_dict_is_strict_and_complete() -> None:
    network, other, x = awake(deep_supervision=False), cycle_network(configuration(), False), cycle_images()
    assert not torch.allclose(network(x), other(x))
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(network(x), other(x))
    assert {name.split(".")[0] for name in network.state_dict()} == {"generator_s", "generator_t"}


@pytest.mark.slow
def test_compiles_as_one_graph() -> None:
    network, x = awake(shallow_configuration()), cycle_images(batch=1)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), network(x))
    for got, expected in zip(compiled(x, x), network(x, x)):
        torch.testing.assert_close(got, expected)


def test_mixed_precision_gives_finite_full_precision_logits() -> None:
    network, x = awake(deep_supervision=False).eval(), cycle_images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, output = network(x), network(x, x)
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    assert output.source_in_target.image.isfinite().all() and output.target.embedding.isfinite().all()


def test_architecture_that_is_no_unet_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="a U-Net .* asks for torch.nn.modules.linear.Identity"):
        build_cycle_network(nn.Identity(), CHANNELS, CLASSES, SETTINGS, CLASSES - 1)


@pytest.mark.parametrize("dimension", (2, 3))
def test_discriminators_of_a_network(dimension: int) -> None:
    network = awake(dimension)
    discriminators = build_discriminators(network, SETTINGS)
    x = cycle_images(dimension)
    probabilities = network(x)[0].softmax(1)
    assert set(discriminators) == {"image_s", "image_t", "segmentation"}
    for name, real in (("image_s", x), ("image_t", x), ("segmentation", probabilities)):
        scores = discriminators[name](real)
        assert scores.shape == (2, 1, *((8, 4) if dimension == 2 else (2, 4, 2)))
