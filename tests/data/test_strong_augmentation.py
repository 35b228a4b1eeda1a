from __future__ import annotations

import multiprocessing
from functools import partial

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

from nnuda.data.strong_augmentation import (
    BezierCurves,
    KnotCurves,
    RandomConvolution,
    RandomIntensityCurve,
    Strength,
    StrongTransform,
    bezier_curve,
    interpolate,
    smooth_region,
    strong_transforms,
)

TRANSFORMS = {
    "rising": RandomIntensityCurve(BezierCurves(0.0)),
    "falling": RandomIntensityCurve(BezierCurves(1.0)),
    "knots": RandomIntensityCurve(KnotCurves(0.5, 0.5, 6)),
    "regional": RandomIntensityCurve(KnotCurves(0.5, 0.5, 6), regional=1.0),
    "convolution": RandomConvolution(4, 2),
}
SHAPES = [(1, 12, 14), (3, 6, 8, 10)]


def ranks(value: torch.Tensor) -> torch.Tensor:
    return value.flatten().argsort().argsort()


@pytest.mark.parametrize("falling", [False, True])
def test_a_curve_is_monotone_and_stays_in_the_unit_square(falling):
    corners = [
        torch.tensor([[a, b], [c, d]], dtype=torch.float32)
        for a in (0, 1)
        for b in (0, 1)
        for c in (0, 1)
        for d in (0, 1)
    ]
    for inner in [*corners, *torch.rand(50, 2, 2)]:
        x, y = bezier_curve(inner, falling)
        assert (x.diff() >= 0).all() and (y.diff() * (-1 if falling else 1) >= 0).all()
        assert 0 <= min(x.min(), y.min()) and max(x.max(), y.max()) <= 1
        assert [x[0], x[-1]] == [0, 1] and [y[0], y[-1]] == ([1, 0] if falling else [0, 1])


def test_a_curve_is_the_bezier_curve_of_its_points():
    x, y = bezier_curve(torch.tensor([[0.2, 0.7], [0.5, 0.9]]), False)
    t = 51 / 255
    assert x[51].item() == pytest.approx(3 * (1 - t) ** 2 * t * 0.2 + 3 * (1 - t) * t**2 * 0.5 + t**3, abs=1e-6)
    assert y[51].item() == pytest.approx(3 * (1 - t) ** 2 * t * 0.7 + 3 * (1 - t) * t**2 * 0.9 + t**3, abs=1e-6)


def test_points_on_the_diagonal_change_nothing():
    third = torch.tensor([[1 / 3, 1 / 3], [2 / 3, 2 / 3]])
    value = torch.rand(100)
    assert torch.allclose(interpolate(value, *bezier_curve(third, False)), value, atol=1e-6)
    assert torch.allclose(interpolate(value, *bezier_curve(third, True)), 1 - value, atol=1e-6)


def test_interpolation_is_piecewise_linear():
    x, y = torch.tensor([0.0, 0.5, 0.5, 1.0]), torch.tensor([0.0, 0.2, 0.6, 1.0])
    assert torch.allclose(interpolate(torch.tensor([0.0, 0.25, 0.75, 1.0]), x, y), torch.tensor([0.0, 0.1, 0.8, 1.0]))


def test_a_falling_curve_inverts_the_ranks_and_a_rising_one_keeps_them():
    image = torch.randperm(64).float().view(1, 8, 8)
    third = torch.tensor([[0.3, 0.1], [0.6, 0.8]])
    rising = TRANSFORMS["rising"]._apply_to_image(image, [bezier_curve(third, False)], [None])
    falling = TRANSFORMS["falling"]._apply_to_image(image, [bezier_curve(third, True)], [None])
    assert torch.equal(ranks(rising), ranks(image))
    assert torch.equal(ranks(falling), 63 - ranks(image))


def test_each_channel_has_its_own_range_and_curve():
    image = torch.randn(2, 8, 8) * torch.tensor([1.0, 1e3])[:, None, None]
    transform = RandomIntensityCurve(BezierCurves(0.5))
    curves = transform.get_parameters(image=image)["curves"]
    both = transform._apply_to_image(image, curves, [None, None])
    for i in range(2):
        alone = transform._apply_to_image(image[i : i + 1], curves[i : i + 1], [None])
        assert torch.allclose(both[i : i + 1], alone, rtol=1e-4)
    assert not torch.equal(*(torch.stack(curve) for curve in curves))


def test_the_share_of_falling_curves():
    def falls(inversion: float) -> int:
        curves = RandomIntensityCurve(BezierCurves(inversion)).get_parameters(image=torch.zeros(400, 1, 1))["curves"]
        return sum(int(y[0] > y[-1]) for _, y in curves)

    assert falls(0.0) == 0 and falls(1.0) == 400 and 140 < falls(0.5) < 260


def test_the_shares_of_knot_curves():
    def drawn(inversion: float, reordering: float) -> list[tuple[bool, bool]]:
        generator = torch.Generator().manual_seed(0)
        slopes = [KnotCurves(inversion, reordering, 6)(generator)[1].diff() for _ in range(400)]
        return [(bool((slope >= 0).all()), bool((slope <= 0).all())) for slope in slopes]

    assert set(drawn(0, 0)) == {(True, False)} and set(drawn(1, 0)) == {(False, True)}
    shares = drawn(0.5, 0.5)
    assert 150 < shares.count((False, False)) < 250 and 60 < shares.count((False, True)) < 140


def test_a_reordering_curve_changes_which_tissue_is_brighter():
    x, y = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, 0.2])
    image = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 3)  # liver below kidney before, above it after
    out = TRANSFORMS["knots"]._apply_to_image(image, [(x, y)], [None])
    assert out.flatten().argsort().tolist() == [0, 2, 1]


def test_a_regional_curve_changes_its_region_and_leaves_the_rest():
    """Each pixel by hand: scaled to [0, 1], the curve's height between its knots, blended, back to mean and deviation."""
    image, region = torch.randn(1, 6, 6), torch.zeros(6, 6)
    region[:, 3:] = 1
    region[:, 2] = 0.5
    knots, heights = [0.0, 0.5, 1.0], [0.2, 1.0, 0.0]
    curve = (torch.tensor(knots), torch.tensor(heights))
    out = TRANSFORMS["regional"]._apply_to_image(image, [curve], [None], region)[0].numpy()

    def back(values: np.ndarray) -> np.ndarray:
        return (values - values.mean()) / values.std() * before.std() + before.mean()

    before = image[0].numpy()
    whole = back(np.interp((before - before.min()) / np.ptp(before), knots, heights))
    blended = np.where(region == 1, whole, np.where(region == 0, before, (whole + before) / 2))
    assert np.allclose(out, back(blended), atol=1e-3)
    assert np.corrcoef(out[:, :2].ravel(), before[:, :2].ravel())[0, 1] > 1 - 1e-6


def test_regions_are_smooth_and_of_every_size():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([smooth_region((40, 48), generator) for _ in range(300)])
    assert 0 <= drawn.min() and drawn.max() <= 1 and 0.45 < drawn.mean() < 0.55
    sizes = drawn.mean((1, 2))
    assert sizes.min() < 0.2 and sizes.max() > 0.8
    steps = drawn.diff(dim=2).abs()
    assert steps.max() < 0.9 and steps.median() < 0.05, "soft edges, and mostly none"
    assert smooth_region((1, 5, 30), generator).shape == (1, 5, 30)


def test_the_share_of_regional_curves():
    def regional(share: float) -> int:
        curves = RandomIntensityCurve(KnotCurves(0.5, 0.5, 6), regional=share)
        return sum(curves.get_parameters(image=torch.zeros(1, 4, 4))["region"] is not None for _ in range(200))

    assert regional(0.0) == 0 and regional(1.0) == 200 and 70 < regional(0.5) < 130


def test_what_lies_outside_of_a_mask_does_not_count():
    """Skull-stripped: training is to see the contrast that prediction sees, which is normalised inside the mask."""
    segmentation = torch.full((1, 20, 20), -1)
    segmentation[:, 5:9, 5:9] = 0
    inside = segmentation[0] >= 0
    image = torch.zeros(2, 20, 20)
    image[:, inside] = torch.randn(2, 16) * 3 + 7
    curves = KnotCurves(0.5, 0.5, 6)
    for transform in (
        RandomIntensityCurve(curves, [0]),
        RandomIntensityCurve(curves, [0], 1.0),
        RandomConvolution(2, 2, [0]),
    ):
        out = transform(image=image.clone(), segmentation=segmentation)["image"]
        for where, channel in ((inside, 0), (torch.ones_like(inside), 1)):
            assert out[channel][where].mean().item() == pytest.approx(image[channel][where].mean().item(), abs=1e-3)
            assert out[channel][where].std().item() == pytest.approx(image[channel][where].std().item(), rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_channel_keeps_its_mean_and_standard_deviation(name, shape):
    image = torch.randn(shape) * 7 + 100
    before = image.clone()
    out = TRANSFORMS[name](image=image)["image"].flatten(1)
    assert torch.equal(image, before), "changed in place"
    assert torch.allclose(out.mean(1), image.flatten(1).mean(1), rtol=1e-4)
    assert torch.allclose(out.std(1), image.flatten(1).std(1), rtol=1e-3)


@pytest.mark.parametrize("name", ["rising", "falling"])
def test_a_curve_leaves_every_region_where_it_is(name):
    image = torch.zeros(1, 16, 16)
    image[:, 2:7, 5:9] = 3
    image[:, 10:12, 1:15] = 1
    out = TRANSFORMS[name](image=image)["image"]
    levels = [out[image == level] for level in (0.0, 1.0, 3.0)]
    assert all((level == level[0]).all() for level in levels)
    assert len({round(level[0].item(), 3) for level in levels}) == 3


@pytest.mark.parametrize("dim", [2, 3])
def test_a_convolution_leaves_a_square_where_it_is(dim):
    """Away from the border of the square, farther than four layers of 3x3 reach, inside and outside stay constant."""
    image = torch.zeros(1, *[32] * dim)
    inside, outside = (slice(None), *[slice(14, 18)] * dim), (slice(None), *[slice(4, 5)] * dim)
    image[(slice(None), *[slice(9, 23)] * dim)] = 5
    for _ in range(5):
        out = TRANSFORMS["convolution"](image=image)["image"]
        assert out.shape == image.shape
        assert torch.allclose(out[inside], out[inside].flatten()[0], atol=1e-4)
        assert not torch.allclose(out[inside].mean(), out[outside].mean(), atol=1e-2)


def test_only_the_mixture_of_a_convolution_depends_on_its_share():
    image, convolution = torch.randn(2, 9, 9), TRANSFORMS["convolution"]
    drawn = convolution.get_parameters(image=image)
    apply = partial(convolution._apply_to_image, image, drawn["kernels"], drawn["shifts"], inside=[None, None])
    assert torch.allclose(apply(share=0.0), image, atol=1e-4)
    assert not torch.allclose(apply(share=1.0), image, atol=0.1)


def test_the_convolution_network_has_the_asked_layers_and_channels():
    drawn = RandomConvolution(layers=3, channels=5).get_parameters(image=torch.zeros(2, 4, 4))
    assert [tuple(kernel.shape[:2]) for kernel in drawn["kernels"]] == [(5, 2), (5, 5), (2, 5)]
    sizes = {
        kernel.shape[-1]
        for _ in range(20)
        for kernel in TRANSFORMS["convolution"].get_parameters(image=torch.zeros(1, 4, 4))["kernels"]
    }
    assert sizes == {1, 3}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("value", [0.0, -3.5, 1e4])
def test_a_constant_image_stays_finite(name, shape, value):
    assert TRANSFORMS[name](image=torch.full(shape, value))["image"].isfinite().all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_draw_alone_is_random(name):
    image, transform = torch.randn(2, 8, 8), TRANSFORMS[name]
    drawn = transform.get_parameters(image=image)
    first = transform._apply_to_image(image, **drawn)
    assert torch.equal(transform._apply_to_image(image, **drawn), first)
    assert not torch.equal(transform(image=image)["image"], first)


def settings(probability: float) -> dict:
    return {
        "augmentation.curve_probability": probability,
        "augmentation.convolution_probability": probability,
        "augmentation.curve": "bezier",
        "augmentation.curve_inversion": 0.5,
        "augmentation.curve_regional": 0.5,
        "augmentation.convolution_layers": 4,
        "augmentation.convolution_channels": 2,
    }


def test_probability_0_changes_nothing_and_1_always_something():
    image = torch.randn(1, 8, 8)
    segmentation = torch.randint(-1, 2, (1, 8, 8))
    off, on = ComposeTransforms(strong_transforms(settings(0.0))), ComposeTransforms(strong_transforms(settings(1.0)))
    for _ in range(10):
        untouched, changed = off(image=image, segmentation=segmentation), on(image=image, segmentation=segmentation)
        assert torch.equal(untouched["image"], image) and not torch.equal(changed["image"], image)
        assert torch.equal(changed["segmentation"], segmentation)


def test_the_same_seed_gives_the_same_view():
    image, transform = torch.randn(2, 6, 7, 8), ComposeTransforms(strong_transforms(settings(0.7)))
    views = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        torch.manual_seed(seed)
        views.append(transform(image=image)["image"])
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_processes_that_share_torchs_state_draw_differently(name):
    """nnU-Net's background processes do: they are forked, and only NumPy is seeded anew in each."""
    image, views = torch.randn(1, 8, 8), []
    for worker in (1, 2):
        torch.manual_seed(0)
        np.random.seed(worker)
        views.append(TRANSFORMS[name](image=image)["image"])
    assert not torch.equal(*views)


def _changed(transform: ComposeTransforms, count: int = 40) -> float:
    image = torch.randn(1, 6, 7)
    return float(np.mean([not torch.equal(transform(image=image.clone())["image"], image) for _ in range(count)]))


def test_the_training_turns_it_off_and_on_in_a_process_that_is_already_running() -> None:
    strength = Strength()
    transform = ComposeTransforms(strong_transforms(settings(1.0), strength=strength))
    assert _changed(transform) == 1
    ask, answer = multiprocessing.get_context("fork").Pipe()

    def work() -> None:
        while ask.recv():
            ask.send(_changed(transform))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    shares = []
    for share in (1.0, 0.0, 0.5, 1.0):
        strength.share = share
        answer.send(True)
        shares.append(answer.recv())
    answer.send(False)
    process.join()
    assert shares[0] == 1 and shares[1] == 0 and 0.4 < shares[2] < 1 and shares[3] == 1


def test_off_or_on_as_many_random_numbers_are_drawn() -> None:
    strength, after = Strength(), []
    transform = StrongTransform(RandomConvolution(2, 2), 0.5, strength)
    for share in (1.0, 0.0):
        strength.share = share
        torch.manual_seed(3)
        transform.get_parameters()
        after.append(torch.rand(()).item())
    assert after[0] == after[1]
