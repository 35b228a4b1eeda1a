"""Which configurations to preprocess."""
from __future__ import annotations

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.planning.errors import PlanningError
from nnuda.planning.plan import trainable_configurations
from nnuda.preprocessing.source import preprocessed_cases

STOCK_CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")


def choose_configurations(source_name: str, plans: dict, asked: list[str] | None) -> list[str]:
    """The configurations asked for; else those that the source is preprocessed for; else nnU-Net's own three.

    Args:
        source_name: the source's dataset name.
        plans: the plan.
        asked: -c, or None.

    Raises:
        PlanningError: the plan has no such configuration, or it is the cascade's second stage.
    """
    trainable = trainable_configurations(plans)
    for name in asked or []:
        if name not in trainable:
            reason = "is the second stage of a cascade, which nnuda does not train" if name in plans["configurations"] else "is not in the plan"
            raise PlanningError(f"-c {name}: configuration {name} {reason}. Plan {plans['plans_name']} has: {', '.join(trainable)}.")
    if asked:
        return asked
    manager = PlansManager(plans)
    used = [name for name in trainable
            if preprocessed_cases(join(nnUNet_preprocessed, source_name, manager.get_configuration(name).data_identifier))]
    return used or [name for name in STOCK_CONFIGURATIONS if name in trainable]
