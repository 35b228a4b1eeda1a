"""nnU-Net's planners, planning for two domains in one step."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import load_dataset
from nnuda.planning.geometry import low_resolution_axis
from nnuda.planning.memory import feature_map_elements

# Enough rows that a hundred cases' weights are exact to 1 %, few enough for nnU-Net's loop over them.
MAX_POOLED_ROWS = 10_000


def pool_fingerprints(source: dict, target: dict) -> dict:
    """The source's fingerprint with spacings and shapes of both domains, each of total weight 1/2.

    nnU-Net's planner knows no weights, so cases are repeated: plain percentiles of the result are the weighted ones.

    Args:
        source: fingerprint of the source; intensities and crop ratio stay its own.
        target: fingerprint of the target.
    """
    counts = [len(fingerprint["spacings"]) for fingerprint in (source, target)]
    rows = max(min(math.lcm(*counts), MAX_POOLED_ROWS), *counts)
    pooled = deepcopy(source)
    for key in ("spacings", "shapes_after_crop"):
        pooled[key] = [
            fingerprint[key][row * count // rows]
            for fingerprint, count in zip((source, target), counts)
            for row in range(rows)
        ]
    return pooled


def slicing_axis(source: np.ndarray, target: np.ndarray, pooled: np.ndarray) -> int:
    """The axis along which 2D slices lie.

    The source's low-resolution axis, because its labels are what the network learns from; the target's, where the
    source has none; without one, nnU-Net's rule over both domains: the largest spacing.

    Args:
        source: (3,), median spacing in mm.
        target: likewise.
        pooled: likewise, of both domains.
    """
    axes = [low_resolution_axis(spacing) for spacing in (source, target)]
    return next((axis for axis in axes if axis is not None), int(np.argmax(pooled)))


class TwoDomainPlanning:
    """Mixin before a stock planner.

    Args:
        source_name: the source's dataset name; its fingerprint has to be there.
        target_fingerprint: from `extract_target_fingerprint`.
        memory_factor: memory of the trainer's step relative to nnU-Net's.
        gpu_memory_target_in_gb: for the whole step; None: the stock planner's own.
        plans_name: None: the stock planner's own.
    """

    def __init__(
        self,
        source_name: str,
        target_fingerprint: dict,
        memory_factor: float = 2.0,
        gpu_memory_target_in_gb: float | None = None,
        plans_name: str | None = None,
    ) -> None:
        given = {"gpu_memory_target_in_gb": gpu_memory_target_in_gb, "plans_name": plans_name}
        super().__init__(source_name, **{key: value for key, value in given.items() if value is not None})
        self.gpu_memory_target_in_gb = self.UNet_vram_target_GB
        self.UNet_vram_target_GB /= memory_factor
        pooled = pool_fingerprints(self.dataset_fingerprint, target_fingerprint)
        self.low_resolution_axis = slicing_axis(
            *(
                np.median(fingerprint["spacings"], axis=0)
                for fingerprint in (self.dataset_fingerprint, target_fingerprint, pooled)
            )
        )
        self.dataset_fingerprint = pooled

    static_estimate_VRAM_usage = staticmethod(feature_map_elements)

    def determine_reader_writer(self) -> type[BaseReaderWriter]:
        """nnU-Net's reader for the first image; its own list of images has a Mac's ._ files in it."""
        return load_dataset(self.dataset_name).reader_class()

    def determine_fullres_target_spacing(self) -> np.ndarray:
        """nnU-Net's rule over both domains, with the axis of `slicing_axis`.

        Returns:
            (3,) mm, array order.
        """
        spacings = np.vstack(self.dataset_fingerprint["spacings"])
        target_spacing = np.percentile(spacings, 50, axis=0)
        size = np.percentile(np.vstack(self.dataset_fingerprint["shapes_after_crop"]), 50, axis=0)
        axis = self.low_resolution_axis
        largest_other = np.delete(target_spacing, axis).max()
        coarse = target_spacing[axis] > self.anisotropy_threshold * largest_other
        few_slices = size[axis] * self.anisotropy_threshold < np.delete(size, axis).min()
        if coarse and few_slices:
            fine = np.percentile(spacings[:, axis], 10)
            target_spacing[axis] = fine if fine >= largest_other else largest_other + 1e-5
        return target_spacing

    def determine_transpose(self) -> tuple[list[int], list[int]]:
        """The axis of `slicing_axis` comes first."""
        forward = [self.low_resolution_axis, *(axis for axis in range(3) if axis != self.low_resolution_axis)]
        return forward, [forward.index(axis) for axis in range(3)]

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Data of its own: the stock ResEnc planners share nnUNetPlans' data, which has another spacing here."""
        return f"{self.plans_identifier}_{configuration_name}"

    def save_plans(self, plans: dict) -> None:
        """Give the plan the name of a planner that stock nnU-Net can find. The caller writes it, with its key."""
        plans["experiment_planner_used"] = stock_planner(type(self)).__name__


class nnUDAPlanner(TwoDomainPlanning, ExperimentPlanner):
    """nnU-Net's default planner for two domains."""


class nnUDAPlannerResEncM(TwoDomainPlanning, nnUNetPlannerResEncM):
    """Residual encoder, medium: 8 GB."""


class nnUDAPlannerResEncL(TwoDomainPlanning, nnUNetPlannerResEncL):
    """Residual encoder, large: 24 GB."""


class nnUDAPlannerResEncXL(TwoDomainPlanning, nnUNetPlannerResEncXL):
    """Residual encoder, extra large: 40 GB."""


PLANNERS = {
    planner.__name__: planner
    for planner in (nnUDAPlanner, nnUDAPlannerResEncM, nnUDAPlannerResEncL, nnUDAPlannerResEncXL)
}


def stock_planner(planner: type[TwoDomainPlanning]) -> type[ExperimentPlanner]:
    """nnU-Net's planner that one of nnuda's is a variant of."""
    return planner.__mro__[planner.__mro__.index(TwoDomainPlanning) + 1]
