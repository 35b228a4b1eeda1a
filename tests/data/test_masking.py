from __future__ import annotations

import pytest
import torch

from nnuda.data.masking import mask_blocks


@pytest.mark.parametrize(
    "size, block, sides", [((8, 12), 0.25, (2, 3)), ((4, 10, 10), 0.3, (1, 3, 3)), ((5, 5), 0.01, (1, 1))]
)
def test_a_mask_is_of_whole_blocks_and_of_all_channels(size, block, sides):
    torch.manual_seed(0)
    kept = mask_blocks(torch.ones(3, 2, *size), 0.5, block)
    assert torch.equal(kept[:, 0], kept[:, 1]) and set(kept.unique().tolist()) == {0.0, 1.0}
    for image in kept[:, 0]:
        for corner in torch.cartesian_prod(*[torch.arange(0, n, side) for n, side in zip(size, sides)]):
            part = image[tuple(slice(int(c), int(c) + side) for c, side in zip(corner, sides))]
            assert part.min() == part.max()
    assert not torch.equal(kept[0], kept[1])


def test_the_ratio_is_the_share_of_blocks_that_are_masked():
    torch.manual_seed(0)
    assert mask_blocks(torch.ones(64, 1, 32, 32), 0.7, 0.125).mean().item() == pytest.approx(0.3, abs=0.03)
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(mask_blocks(image, 0.0, 0.25), image)


def test_what_is_kept_is_the_images():
    image = torch.randn(2, 3, 8, 8)
    made = mask_blocks(image, 0.5, 0.25)
    assert torch.equal(made, torch.where(made == 0, 0 * image, image)) and (made == 0).any() and (made != 0).any()
