from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnuda.data.stream import TwoDomainStream, finish, target_augmenter
from nnuda.data.target_loader import TargetLoader
from nnuda.data.views import TwoViews

# batchgenerators' own thread may still be reading from a background process that has just ended
ENDING = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
LABELS = LabelManager({"background": 0, "organ": 1, "ignore": 2}, None)


class Untouched:
    """In the place of a TwoViews: the patch itself and its region."""

    def __call__(self, image: torch.Tensor, segmentation: torch.Tensor) -> dict:
        return {"weak": image, "strong": segmentation}


def loader(folder, batch_size: int, initial: tuple[int, ...], final: tuple[int, ...], transforms=None) -> TargetLoader:
    dataset = infer_dataset_class(str(folder))(str(folder))
    return TargetLoader(dataset, batch_size, initial, final, LABELS, transforms=transforms or Untouched())


def views(final: tuple[int, ...]) -> TwoViews:
    return TwoViews(
        nnUNetTrainer.get_training_transforms(
            final, (-0.5, 0.5), None, tuple(range(len(final))), False, use_mask_for_norm=[False]
        )
    )


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("initial, final", [((20, 20), (16, 16)), ((8, 20, 20), (6, 16, 16))])
def test_draws_both_views_without_class_locations(write_cases, initial, final, old_format):
    folder = write_cases([(9, 24, 30), (10, 26, 21)], channels=2, old_format=old_format)
    batch = next(loader(folder, 3, initial, final, views(final)))
    assert batch.keys() == {"weak", "strong"}
    for view in batch.values():
        assert view.shape == (3, 2, *final) and view.dtype == torch.float32 and view.isfinite().all()


def test_voxels_that_are_not_finite_name_their_case(write_cases):
    folder = write_cases([(4, 20, 20)])
    source = loader(folder, 1, (8, 8), (8, 8))
    image, *others = source._data.load_case("case0")
    source._data.load_case = lambda case: (np.full(image.shape, np.inf, np.float32), *others)
    with pytest.raises(ValueError, match="case0: expected finite voxels"):
        next(source)


def test_every_case_comes_about_equally_often(write_cases):
    source = loader(write_cases([(4, 20, 20)] * 4), 10, (8, 8), (8, 8))
    seen = Counter(int(value) for _ in range(40) for value in next(source)["weak"].amax((1, 2, 3)))
    assert seen.keys() == {10, 20, 30, 40} and min(seen.values()) > 60


def test_patches_come_from_everywhere(write_cases):
    """The region's first two rows are -1: with 8 of 20 rows a patch starts at one of 13,
    of which two have some of them."""
    source = loader(write_cases([(4, 20, 20)]), 10, (8, 8), (8, 8))
    rows = Counter(int((region[0, :, 0] == -1).sum()) for _ in range(60) for region in next(source)["strong"])
    assert rows.keys() == {0, 1, 2}
    assert rows[0] / 600 == pytest.approx(11 / 13, abs=0.06)


def test_a_case_smaller_than_the_patch_is_padded(write_cases):
    batch = next(loader(write_cases([(2, 10, 12)]), 1, (4, 16, 16), (4, 16, 16)))
    inside = batch["strong"] != -1
    assert batch["weak"].shape == (1, 1, 4, 16, 16)
    assert (batch["weak"] == 10).sum() == 2 * 10 * 12 and (batch["weak"] == 0).sum() == 4 * 16 * 16 - 2 * 10 * 12
    assert inside.sum() == 2 * 8 * 12 and (batch["weak"][inside] == 10).all()


@pytest.mark.parametrize("initial, final", [((20, 20), (16, 16)), ((8, 20, 20), (6, 16, 16))])
def test_the_same_seeds_give_the_same_batches(write_cases, initial, final):
    folder = write_cases([(9, 24, 30), (10, 26, 21), (8, 22, 22)])

    def draw(seed: int) -> list[dict]:
        np.random.seed(seed)
        torch.manual_seed(seed)
        source = loader(folder, 2, initial, final, views(final))
        return [next(source) for _ in range(3)]

    first, again, other = draw(1), draw(1), draw(2)
    for name in ("weak", "strong"):
        assert all(torch.equal(a[name], b[name]) for a, b in zip(first, again))
        assert not all(torch.equal(a[name], b[name]) for a, b in zip(first, other))


@ENDING
@pytest.mark.parametrize("processes", [0, 2])
def test_the_stream_joins_both_domains_and_ends(write_cases, processes):
    folder = write_cases([(4, 20, 20), (4, 20, 20)])
    target = target_augmenter(loader(folder, 2, (8, 8), (8, 8)), processes, pin_memory=False)
    source = iter([{"data": 1, "target": 2}, {"data": 3, "target": 4}])
    stream = TwoDomainStream(source, target)
    drawn = [next(stream), next(stream)]
    assert [(batch["data"], batch["target"]) for batch in drawn] == [(1, 2), (3, 4)]
    assert all(batch["target_domain"]["weak"].shape == (2, 1, 8, 8) for batch in drawn)
    workers = list(getattr(target, "_processes", []))
    assert len(workers) == processes
    finish(stream)
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


class TorchNumber:
    def __call__(self, image: torch.Tensor, segmentation: torch.Tensor) -> dict:
        return {"weak": torch.rand(1), "strong": torch.rand(1)}


@ENDING
def test_background_processes_do_not_repeat_each_other(write_cases):
    target = target_augmenter(loader(write_cases([(4, 20, 20)]), 1, (8, 8), (8, 8), TorchNumber()), 3, pin_memory=False)
    numbers = [next(target)["weak"].item() for _ in range(12)]
    target._finish()
    assert len(set(numbers)) == 12
