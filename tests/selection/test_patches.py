from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnuda.selection.patches import draw_patches, read_source_shares, read_target

SHAPES = {"a": (10, 40, 50), "b": (5, 20, 50), "c": (3, 64, 64)}


class Cases:
    """Preprocessed cases in memory."""

    def __init__(self, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self.cases, self.identifiers = cases, list(cases)

    def load_case(self, case):
        return *self.cases[case], None, {}


@pytest.mark.parametrize("patch_size", [[32, 32], [4, 32, 32]])
def test_as_many_as_asked_spread_over_the_cases(patch_size):
    patches = draw_patches(SHAPES, patch_size, 9, seed=0)
    counts = {case: [c for c, _ in patches].count(case) for case in SHAPES}
    if len(patch_size) == 2:
        assert set(counts.values()) == {3}
    else:
        assert sum(counts.values()) == 9 and counts["c"] == 1  # 3 slices leave a patch of 4 one position
    for case, box in patches:
        for (low, high), length, size in zip(box, SHAPES[case], [1] * (3 - len(patch_size)) + patch_size):
            assert high - low == size
            assert 0 <= low and high <= length if length >= size else low == (length - size) // 2


def test_slices_of_a_case_are_spread_and_none_comes_twice():
    slices = sorted(box[0][0] for _, box in draw_patches({"a": (10, 40, 50)}, [32, 32], 5, seed=3))
    assert [s // 2 for s in slices] == [0, 1, 2, 3, 4]
    everything = draw_patches(SHAPES, [32, 32], 1000, seed=0)
    every_slice = sorted((case, z) for case, shape in SHAPES.items() for z in range(shape[0]))
    assert sorted((case, box[0][0]) for case, box in everything) == every_slice


def test_the_seed_decides_and_nothing_else_moves():
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = draw_patches(SHAPES, [32, 32], 9, seed=0)
    assert first == draw_patches(dict(reversed(SHAPES.items())), [32, 32], 9, seed=0)
    assert first != draw_patches(SHAPES, [32, 32], 9, seed=1)
    assert np.array_equal(before[0], np.random.get_state()[1]) and torch.equal(before[1], torch.get_rng_state())


def test_patches_are_the_cases_voxels_and_padding_is_outside():
    rng = np.random.default_rng(0)
    image, nonzero = rng.normal(size=(2, 6, 20, 40)).astype(np.float32), np.zeros((1, 6, 20, 40), np.int8)
    nonzero[:, :, :3] = -1
    cases = Cases({"a": (image, nonzero)})
    patches = read_target(cases, [32, 32], 4, 0, 200)
    assert patches.image.shape == (4, 2, 32, 32) and patches.image.dtype == torch.float32
    assert patches.inside.shape == (4, 32, 32)
    for i, (_, box) in enumerate(draw_patches({"a": (6, 20, 40)}, [32, 32], 4, 0)):
        z, x = box[0][0], box[2][0]
        assert (
            np.array_equal(patches.image[i, :, 6:26], image[:, z, :, x : x + 32]) and not patches.image[i, :, :6].any()
        )
        assert patches.inside[i].any(1).tolist() == [False] * 9 + [True] * 17 + [False] * 6
    assert len(patches.sampled) > 50 and patches.inside.flatten()[patches.sampled].all()
    sampled = patches.sampled.tolist()
    assert len(set(sampled)) == len(sampled) and sampled != sorted(sampled)


@pytest.mark.parametrize("regions, ignore", [(False, None), (False, 3), (True, 3)])
def test_source_shares_are_those_of_a_loop(regions, ignore):
    rng = np.random.default_rng(0)
    values, p = ([-1, 0, 1, 2, 3], [0.2, 0.5, 0.2, 0.05, 0.05]) if ignore else ([-1, 0, 1, 2], [0.2, 0.5, 0.2, 0.1])
    label = rng.choice(values, size=(1, 8, 32, 32), p=p)
    label[:, 3:][label[:, 3:] == 2] = 0
    manager = SimpleNamespace(
        has_regions=regions,
        has_ignore_label=ignore is not None,
        ignore_label=ignore,
        foreground_labels=[1, 2],
        foreground_regions=[(1, 2), (2,)],
    )
    cases = Cases({"a": (label.astype(np.float32), label.astype(np.int16))})
    shares = read_source_shares(cases, [32, 32], 100, 0, manager)
    counted = [v for v in label.flatten().tolist() if v not in (-1, ignore)]
    classes = [(1, 2), (2,)] if regions else [(1,), (2,)]
    assert shares.share == pytest.approx([sum(v in values for v in counted) / len(counted) for values in classes])
    assert shares.watched == [True, False]  # class 2 is in three slices only
