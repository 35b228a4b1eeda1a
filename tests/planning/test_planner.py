from __future__ import annotations

import json

import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from planning_pairs import SOURCE, Folders, write_dataset

from nnuda.planning.planner import PLANNERS, nnUDAPlanner, pool_fingerprints


def fingerprint(spacings: list[tuple], shapes: list[tuple]) -> dict:
    return {
        "spacings": spacings,
        "shapes_after_crop": shapes,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
    }


def write_source(folders: Folders, spacings: list[tuple], shapes: list[tuple]) -> None:
    write_dataset(folders.raw, SOURCE, labelled=True, cases=len(spacings), shape=(4, 8, 8))
    folders.of_source.mkdir()
    (folders.of_source / "dataset_fingerprint.json").write_text(json.dumps(fingerprint(spacings, shapes)))


def plan(target: dict, planner: str = "nnUDAPlanner", **options) -> dict:
    made = PLANNERS[planner](SOURCE, target, **options)
    made.plan_experiment()
    return made.plans


@pytest.mark.parametrize("counts", [(2, 2), (3, 7), (1, 50), (97, 101), (12_000, 5)])
def test_each_domain_has_half_the_weight(counts):
    source, target = (
        fingerprint([(d, i, 0) for i in range(n)], [(d, i, 0) for i in range(n)]) for d, n in enumerate(counts)
    )
    pooled = pool_fingerprints(source, target)
    rows = np.array(pooled["spacings"])
    assert np.array_equal(rows, pooled["shapes_after_crop"]), "a case's spacing and shape stay together"
    assert rows[:, 0].mean() == 0.5
    for d, n in enumerate(counts):
        repeats = np.bincount(rows[rows[:, 0] == d][:, 1].astype(int), minlength=n)
        assert repeats.min() >= 1 and repeats.max() - repeats.min() <= 1
    assert source["spacings"][0] == (0, 0, 0) and pooled["median_relative_size_after_cropping"] == 1.0


def test_a_golden_plan_of_a_pair_with_other_spacings(folders):
    """Three source cases of 4 x 1 x 1 mm, nine target cases of 2 x 0.5 x 0.5 mm: medians lie in the middle."""
    write_source(folders, [(4, 1, 1)] * 3, [(20, 100, 100)] * 3)
    plans = plan(fingerprint([(2, 0.5, 0.5)] * 9, [(40, 200, 240)] * 9), memory_factor=1.0)
    full = plans["configurations"]["3d_fullres"]
    # median 3 x 0.75 x 0.75; slices more than 3 times as coarse as the pixels, and few: their 10th percentile instead
    assert np.allclose(full["spacing"], [2, 0.75, 0.75])
    assert np.allclose(plans["configurations"]["2d"]["spacing"], [0.75, 0.75])
    # 80 mm deep and 100 x (100 | 120) mm wide at that spacing
    assert np.allclose(full["median_image_size_in_voxels"], [40, 133, (133 + 160) / 2])
    assert np.allclose(plans["original_median_spacing_after_transp"], [3, 0.75, 0.75])
    assert plans["transpose_forward"] == [0, 1, 2]
    assert (plans["experiment_planner_used"], plans["plans_name"]) == ("ExperimentPlanner", "nnUNetPlans")
    assert not (folders.of_source / "nnUNetPlans.json").exists(), "the caller writes it, whole"


def test_without_a_second_domain_nnunets_own_plan(folders):
    """The same fingerprint twice and the step of one domain: stock nnU-Net's plan."""
    spacings = [
        (1, 4, 1),
        (1, 4, 1.1),
        (1.2, 4, 1),
    ]  # alike along the slices: a percentile between two cases moves when cases repeat
    shapes = [(90, 20, 80), (100, 22, 84), (95, 30, 88)]
    write_source(folders, spacings, shapes)
    stock = ExperimentPlanner(SOURCE).plan_experiment()
    ours = plan(fingerprint(spacings, shapes), memory_factor=1.0)
    assert ours["transpose_forward"] == [1, 0, 2] and ours["transpose_backward"] == [1, 0, 2]
    assert json.loads(json.dumps(ours, default=lambda v: v.tolist())) == json.loads(
        json.dumps(stock, default=lambda v: v.tolist())
    )


@pytest.mark.parametrize(
    "source, target, axis",
    [
        ((1, 1, 4), (2.5, 1, 1), 2),  # thick slices in the source
        ((0.8, 1, 1), (5, 1, 1), 0),  # in the target alone: its slices are not to be cut across
        ((1, 1, 1), (1, 3.5, 1), 1),
        ((1, 1, 2), (2.5, 1, 1), 0),  # in neither: the largest median of both, as nnU-Net plans
    ],
)
def test_slices_lie_along_the_thick_axis(folders, source, target, axis):
    write_source(folders, [source] * 2, [(60, 60, 60)] * 2)
    plans = plan(fingerprint([target] * 2, [(60, 60, 60)] * 2), memory_factor=1.0)
    assert plans["transpose_forward"][0] == axis
    if target == (5, 1, 1):  # in plane there is no 5 mm axis
        assert np.allclose(plans["configurations"]["2d"]["spacing"], [1, 1])


@pytest.mark.slow
def test_memory_of_the_step_divides_the_target(folders):
    write_source(folders, [(1, 1, 1)] * 3, [(128, 128, 128)] * 3)
    target = fingerprint([(1, 1, 1)] * 3, [(128, 128, 128)] * 3)
    voxels = {}
    for factor in (1.0, 2.0, 4.0):
        planner = nnUDAPlanner(SOURCE, target, factor)
        assert planner.gpu_memory_target_in_gb == 8 and planner.UNet_vram_target_GB == 8 / factor
        planner.plan_experiment()
        configuration = planner.plans["configurations"]["3d_fullres"]
        voxels[factor] = configuration["batch_size"] * np.prod(configuration["patch_size"])
    assert voxels[1.0] > voxels[2.0] > voxels[4.0]
    assert nnUDAPlanner(SOURCE, target, 2.0, gpu_memory_target_in_gb=30).UNet_vram_target_GB == 15


@pytest.mark.parametrize(
    "planner, name, stock, target_gb",
    [
        ("nnUDAPlannerResEncM", "nnUNetResEncUNetMPlans", "nnUNetPlannerResEncM", 8),
        ("nnUDAPlannerResEncL", "nnUNetResEncUNetLPlans", "nnUNetPlannerResEncL", 24),
        ("nnUDAPlannerResEncXL", "nnUNetResEncUNetXLPlans", "nnUNetPlannerResEncXL", 40),
    ],
)
@pytest.mark.slow
def test_residual_encoders(folders, planner, name, stock, target_gb):
    write_source(folders, [(3, 1, 1)] * 2, [(16, 64, 64)] * 2)
    target = fingerprint([(2, 1, 1)] * 2, [(16, 64, 64)] * 2)
    assert PLANNERS[planner](SOURCE, target).gpu_memory_target_in_gb == target_gb
    plans = plan(target, planner)
    assert plans["plans_name"] == name and plans["experiment_planner_used"] == stock
    assert PlansManager(plans).experiment_planner_class.__name__ == stock
    for configuration, content in plans["configurations"].items():
        assert content["data_identifier"] == f"{name}_{configuration}", "another spacing than nnUNetPlans: other data"
        assert content["architecture"]["network_class_name"].endswith("ResidualEncoderUNet")
