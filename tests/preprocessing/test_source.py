from __future__ import annotations

import shutil

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy
from planning_pairs import SOURCE, checksums

from nnuda.datasets import load_dataset
from nnuda.errors import PlanningError
from nnuda.preprocessing.configurations import check_configurations, choose_configurations
from nnuda.preprocessing.source import preprocess_source, preprocessed_cases


def to_npz(folder) -> None:
    """What nnU-Net before 2.6 left: one .npz and one .pkl a case."""
    dataset = nnUNetDatasetBlosc2(str(folder))
    for case in dataset.identifiers:
        image, label, _, properties = dataset.load_case(case)
        nnUNetDatasetNumpy.save_case(np.array(image[:]), np.array(label[:]), properties, str(folder / case))
        for ending in (".b2nd", "_seg.b2nd"):
            (folder / f"{case}{ending}").unlink()


def test_stock_data_stays_to_the_byte(stock):
    before = checksums(stock.of_source)
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert checksums(stock.of_source) == before


def test_missing_cases_are_as_stock_makes_them(stock):
    before = checksums(stock.of_source)
    folder = stock.of_source / "nnUNetPlans_2d"
    (folder / "case0.b2nd").unlink()
    (folder / "case1.pkl").unlink()  # interrupted: nnU-Net writes it last
    shutil.rmtree(stock.of_source / "gt_segmentations")
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    after = checksums(stock.of_source)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert not {name for name in changed if not name.startswith(("nnUNetPlans_2d/case0", "nnUNetPlans_2d/case1"))}
    dataset = nnUNetDatasetBlosc2(str(folder))
    for case in ("case0", "case1"):
        image, label, _, properties = dataset.load_case(case)
        assert image.shape == label.shape and set(properties["class_locations"]) == {1}


def test_npz_of_an_older_nnunet_is_used_as_it_is(stock):
    folder = stock.of_source / "nnUNetPlans_2d"
    to_npz(folder)
    before = checksums(stock.of_source)
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert checksums(stock.of_source) == before and preprocessed_cases(str(folder)) == {"case0", "case1", "case2"}


def test_npz_with_cases_missing_is_an_error(stock):
    folder = stock.of_source / "nnUNetPlans_2d"
    to_npz(folder)
    (folder / "case2.npz").unlink()
    with pytest.raises(PlanningError, match="2 of 3 source cases in the .npz format"):
        preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])


def test_configurations_by_default_those_with_data(stock):
    plans = stock.plan()
    assert choose_configurations(SOURCE, plans, None) == ["2d"]
    assert choose_configurations(SOURCE, plans, ["3d_fullres"]) == ["3d_fullres"]
    shutil.rmtree(stock.of_source / "nnUNetPlans_2d")
    assert choose_configurations(SOURCE, plans, None) == ["2d", "3d_fullres"]


@pytest.mark.parametrize(
    "asked, message",
    [
        ("3d_lowres", "no such configuration. It has: 2d, 3d_fullres"),
        ("cascade", "second stage of a cascade"),
        ("3d_cascade_fullres", "second stage of a cascade"),
    ],
)
def test_configurations_that_cannot_be(stock, asked, message):
    plans = stock.plan()
    plans["configurations"]["cascade"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    with pytest.raises(PlanningError, match=message):
        check_configurations(plans, [asked])
    check_configurations(None, ["2d", "3d_lowres"])
    with pytest.raises(PlanningError, match="a fresh plan has no such configuration"):
        check_configurations(None, ["2d_cpu"])
