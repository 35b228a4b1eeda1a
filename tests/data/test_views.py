from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5

from nnuda.data.strong_augmentation import RandomConvolution, RandomIntensityCurve
from nnuda.data.views import SourceViews, TwoViews, quarter_turns, with_strong_augmentation
from nnuda.settings import effective_settings

STRONG = {
    **effective_settings("source_only", {}),
    "training.augmentation": "strong",
    "augmentation.curve_probability": 1.0,
    "augmentation.convolution_probability": 1.0,
}
PLAIN = {**STRONG, "training.augmentation": "nnunet"}


def pipeline(
    patch_size: tuple[int, ...] = (16, 16),
    mirror_axes: tuple[int, ...] | None = (0, 1),
    dummy_2d: bool = False,
    masks: list[bool] | None = None,
    moves: float = 1.0,
    **labels,
) -> ComposeTransforms:
    """nnU-Net's own training pipeline; `moves` is how often it rotates and scales."""
    made = nnUNetTrainer.get_training_transforms(
        patch_size,
        (-0.5, 0.5),
        labels.pop("deep_supervision_scales", None),
        mirror_axes,
        dummy_2d,
        use_mask_for_norm=masks,
        **labels,
    )
    spatial = next(transform for transform in made.transforms if isinstance(transform, SpatialTransform))
    spatial.p_rotation = spatial.p_scaling = moves
    return made


def patch(*shape: int, channels: int = 1) -> dict[str, torch.Tensor]:
    """A random image around 10; the first rows are outside the non-zero region."""
    region = torch.zeros(1, *shape, dtype=torch.int16)
    region[..., :3, :] = -1
    return {"image": torch.randn(channels, *shape) + 10, "segmentation": region}


class PlusOne(ImageOnlyTransform):
    def _apply_to_image(self, img, **params):
        img += 1  # in place, as nnU-Net's own do
        return img


def test_the_views_are_voxelwise_aligned():
    views = TwoViews(pipeline())
    views.intensity = ComposeTransforms([])
    different_moves = set()
    for _ in range(5):
        made = views(**patch(22, 22))
        assert made["weak"].shape == (1, 16, 16) and torch.equal(made["weak"], made["strong"])
        different_moves.add(round(made["weak"].std().item(), 4))
    assert len(different_moves) == 5


def test_the_weak_views_intensities_are_untouched():
    views = TwoViews(pipeline(moves=0.0, mirror_axes=None))
    views.intensity = ComposeTransforms([PlusOne()])
    drawn = patch(16, 16)
    image = drawn["image"].clone()
    made = views(**drawn)
    assert torch.equal(made["weak"], image) and torch.equal(made["strong"], image + 1)


def test_nnunets_intensity_transforms_are_the_strong_views():
    views = TwoViews(pipeline(moves=0.0, mirror_axes=None))
    for transform in views.intensity.transforms:
        transform.apply_probability = 1.0
    drawn = patch(16, 16)
    image = drawn["image"].clone()
    made = views(**drawn)
    assert torch.equal(made["weak"], image) and (made["strong"] != image).float().mean() > 0.9


def test_every_transform_before_the_labels_serves_once_and_in_order():
    whole = with_strong_augmentation(pipeline((4, 16, 16), dummy_2d=True, masks=[True]), STRONG).transforms
    views = TwoViews(ComposeTransforms(whole))
    parts = [views.spatial.transforms, views.intensity.transforms, views.mask.transforms]
    assert sum(len(part) for part in parts) == len(whole) - 1  # the last one removes the label -1
    for part in parts:
        positions = [whole.index(transform) for transform in part]
        assert positions == sorted(positions)
    assert all(isinstance(transform, RandomTransform) for transform in views.intensity.transforms)
    assert [type(transform) for transform in views.mask.transforms] == [MaskImageTransform]


def test_what_the_pipeline_does_to_labels_falls_away():
    labels = {"deep_supervision_scales": [[1, 1], [0.5, 0.5]], "regions": [(1, 2), 2], "ignore_label": 3}
    made = []
    for options in ({}, labels):
        np.random.seed(1)
        torch.manual_seed(1)
        made.append(TwoViews(pipeline(**options))(**patch(22, 22)))
    assert made[0].keys() == made[1].keys() == {"weak", "strong"}
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.parametrize("settings", [PLAIN, STRONG])
def test_outside_the_mask_both_views_are_zero_in_masked_channels_only(settings):
    views = TwoViews(with_strong_augmentation(pipeline(masks=[True, False], moves=0.0, mirror_axes=None), settings))
    made = views(**patch(16, 16, channels=2))
    for view in made.values():
        assert (view[0, :3] == 0).all() and (view[0, 3:] != 0).all() and (view[1] != 0).all()


def test_the_dummy_2d_pipeline_keeps_slices_apart():
    drawn = patch(6, 22, 22)
    drawn["image"] = torch.arange(1.0, 7)[None, :, None, None].expand(1, 6, 22, 22).contiguous()
    made = TwoViews(pipeline((6, 16, 16), mirror_axes=(1, 2), dummy_2d=True))(**drawn)
    assert made["weak"].shape == made["strong"].shape == (1, 6, 16, 16)
    for i in range(6):  # zero where a rotation reached beyond the patch
        assert made["weak"][0, i, 4:12, 4:12].allclose(torch.tensor(i + 1.0), atol=1e-4)


def test_3d():
    made = TwoViews(with_strong_augmentation(pipeline((8, 16, 16), mirror_axes=(0, 1, 2)), STRONG))(
        **patch(10, 22, 22, channels=2)
    )
    assert made["weak"].shape == made["strong"].shape == (2, 8, 16, 16)
    assert all(view.isfinite().all() for view in made.values())


def test_the_same_seed_gives_the_same_views():
    drawn, views = patch(22, 22), TwoViews(with_strong_augmentation(pipeline(), STRONG))
    made = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        made.append(views(**{name: value.clone() for name, value in drawn.items()}))
    for name in ("weak", "strong"):
        assert torch.equal(made[0][name], made[1][name]) and not torch.equal(made[0][name], made[2][name])


def test_background_processes_can_receive_it():
    views = pickle.loads(pickle.dumps(TwoViews(with_strong_augmentation(pipeline(masks=[True]), STRONG))))
    assert views(**patch(22, 22))["weak"].shape == (1, 16, 16)


def test_without_the_setting_the_pipeline_is_nnunets():
    made = pipeline()
    assert with_strong_augmentation(made, PLAIN) is made


@pytest.mark.parametrize("mirror_axes, masks", [((0, 1), [True]), (None, [True]), (None, None)])
def test_strong_transforms_stand_between_nnunets_intensities_and_what_follows(mirror_axes, masks):
    before = pipeline(mirror_axes=mirror_axes, masks=masks)
    old, new = before.transforms, with_strong_augmentation(before, STRONG).transforms
    added = [transform for transform in new if transform not in old]
    assert [type(transform.transform) for transform in added] == [RandomIntensityCurve, RandomConvolution]
    assert [transform for transform in new if transform in old] == old and len(before.transforms) == len(old)
    place = new.index(added[0])
    assert isinstance(new[place - 1], RandomTransform) and not isinstance(
        new[place + 2], (RandomTransform, SpatialTransform)
    )


def test_strong_source_patches_keep_their_labels_and_stay_zero_outside_the_mask():
    drawn = patch(16, 16)
    drawn["segmentation"][:, 8:, 8:] = 1
    label = drawn["segmentation"].clone()
    made = with_strong_augmentation(pipeline(masks=[True], mirror_axes=None, moves=0.0), STRONG)(**drawn)
    assert torch.equal(made["segmentation"], label.clamp_min(0).to(made["segmentation"].dtype))
    assert (made["image"][:, :3] == 0).all() and (made["image"][:, 3:] != 0).all()


def test_mirroring_moves_both_views():
    views = TwoViews(pipeline(moves=0.0))
    views.intensity = ComposeTransforms([])
    assert any(isinstance(transform, MirrorTransform) for transform in views.spatial.transforms)
    image = patch(16, 16)["image"]
    seen = [views(image=image.clone(), segmentation=torch.zeros(1, 16, 16)) for _ in range(20)]
    assert {(torch.equal(made["weak"], image), torch.equal(made["strong"], image)) for made in seen} == {
        (True, True),
        (False, False),
    }


def test_quarter_turns_leave_every_voxel_as_it_is():
    """No interpolation: a view holds the values of the patch, turned by a multiple of 90 degrees or mirrored."""
    views = TwoViews(pipeline(), quarter_turns((16, 16), (-np.pi, np.pi), False))
    views.intensity = ComposeTransforms([])
    image = torch.arange(256.0).view(1, 16, 16)
    wanted = {
        tuple(np.rot90(flipped, k).flatten())
        for k in range(4)
        for flipped in (image[0].numpy(), image[0].numpy()[::-1])
    }
    seen = set()
    for _ in range(100):
        made = views(image=image.clone(), segmentation=torch.zeros(1, 16, 16))
        assert torch.equal(made["weak"], made["strong"])
        seen.add(tuple(made["weak"].flatten().tolist()))
    assert seen == wanted


@pytest.mark.parametrize(
    "size, angle, dummy_2d, turned",
    [
        ((16, 16), np.pi, False, True),
        ((16, 20), np.pi, False, False),
        ((16, 16), 0.26, False, False),
        ((4, 16, 16), np.pi, True, True),
        ((16, 16, 16), 0.52, False, False),
        ((4, 16, 20), np.pi, True, False),
    ],
)
def test_a_patch_is_turned_only_where_nnunet_turns_the_source_as_far(size, angle, dummy_2d, turned):
    turns = quarter_turns(size, (-angle, angle), dummy_2d)
    assert bool(turns) == turned
    if turned and len(size) == 3:  # slices stay slices
        volume = torch.arange(4.0).view(1, 4, 1, 1).expand(1, *size).clone()
        assert torch.equal(turns[0](image=volume.clone())["image"], volume)


@pytest.mark.parametrize("masks", [None, [True, False]])
@pytest.mark.parametrize("regions", [None, [(1, 2), (2,)]])
def test_the_sources_weak_view_is_moved_alike_and_changes_nothing_else(masks, regions):
    """Channels: the augmented view as without the weak one, then the image that every intensity transform missed."""
    data = patch(16, 16, channels=2)
    data["segmentation"][..., 8:, 4:9] = 2

    def through(make) -> dict:
        made = with_strong_augmentation(
            pipeline(masks=masks, regions=regions, deep_supervision_scales=[[1, 1], [0.5, 0.5]]), STRONG
        )
        torch.manual_seed(3)
        np.random.seed(3)
        return make(made)(**{name: value.clone() for name, value in data.items()})

    without, both = through(lambda made: made), through(SourceViews)
    strong, weak = both["image"].chunk(2)
    assert torch.equal(strong, without["image"])
    assert all(torch.equal(*pair) for pair in zip(both["segmentation"], without["segmentation"]))

    made = pipeline(masks=masks, regions=regions, deep_supervision_scales=[[1, 1], [0.5, 0.5]])
    torch.manual_seed(3)
    np.random.seed(3)
    moved = next(t for t in made.transforms if isinstance(t, SpatialTransform))(
        **{name: value.clone() for name, value in data.items()}
    )
    assert any(torch.equal(weak[1], moved["image"][1].flip(axes)) for axes in ([], [0], [1], [0, 1]))
    assert not torch.allclose(strong, weak, atol=0.1)
    if masks:
        assert torch.equal(weak[0] == 0, strong[0] == 0) and (weak[0] == 0).any()


def test_the_targets_views_come_out_of_such_a_pipeline_as_well():
    data = patch(16, 16)
    views = []
    for make in (lambda made: made, SourceViews):
        torch.manual_seed(1)
        np.random.seed(1)
        views.append(TwoViews(make(with_strong_augmentation(pipeline(), STRONG)))(**data))
    assert all(torch.equal(views[0][name], views[1][name]) for name in ("weak", "strong"))


@pytest.mark.parametrize("masks", [None, [True]])
def test_da5_leaves_the_weak_source_view_its_intensities(masks):
    """It changes intensities behind mirroring, too, and turns and transposes at random: both views are moved alike."""
    data = patch(16, 16)
    data["segmentation"] = torch.zeros_like(data["segmentation"])
    for seed in range(20):
        made = []
        for make in (lambda made: made, SourceViews):
            pipe = nnUNetTrainerDA5.get_training_transforms((16, 16), (-0.5, 0.5), None, (0, 1), False, masks)
            spatial = next(transform for transform in pipe.transforms if isinstance(transform, SpatialTransform))
            spatial.p_rotation = spatial.p_scaling = 0.0
            torch.manual_seed(seed)
            np.random.seed(seed)
            made.append(make(pipe)(**{name: value.clone() for name, value in data.items()})["image"])
        strong, weak = made[1].chunk(2)
        assert torch.equal(strong, made[0])
        turned = [data["image"].rot90(k, (1, 2)) for k in range(4)]
        assert any(torch.equal(weak, view) for image in turned for view in (image, image.flip(1)))
