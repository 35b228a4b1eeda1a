"""What a training step is expected to take on the GPU, by nnU-Net's own estimate."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.errors import PlanningError
from nnuda.find_trainer import find_trainer
from nnuda.plan_network import network_of
from nnuda.settings import effective_settings

# nnU-Net calibrates feature-map elements against 8 GB: (elements, batch size) by network class and dimension
# (ExperimentPlanner and ResEncUNetPlanner, UNet_reference_val_* and UNet_reference_val_corresp_bs_*)
REFERENCE_GB = 8
REFERENCES = {
    ("PlainConvUNet", 2): (85e6, 12),
    ("PlainConvUNet", 3): (560e6, 2),
    ("ResidualEncoderUNet", 2): (135e6, 12),
    ("ResidualEncoderUNet", 3): (680e6, 2),
}


def memory_factor(trainer: str, settings: dict) -> float:
    """Memory of the trainer's step relative to nnU-Net's on the same plan.

    Args:
        trainer: name of the trainer.
        settings: the plan's settings; `training.batch = total` halves the batch of each domain, and a
            `planning.memory_factor` among them stands for what the trainer says.

    Raises:
        TrainerError: no such trainer.
    """
    trainer_class = find_trainer(trainer)
    effective = effective_settings(trainer_class.preset, settings)
    factor = settings.get("planning.memory_factor", trainer_class.memory_factor(effective))
    return factor * (0.5 if effective["training.batch"] == "total" else 1.0)


def expected_memory(plans: dict, dataset_json: dict, configuration: str, factor: float) -> float | None:
    """Expected GPU memory of a step, in GB.

    Args:
        plans: the plan.
        dataset_json: the source's.
        configuration: of the plan.
        factor: from `memory_factor`.

    Returns:
        GB, or None for a network that nnU-Net has no reference for.
    """
    manager = PlansManager(plans).get_configuration(configuration)
    reference = REFERENCES.get((manager.network_arch_class_name.rsplit(".", 1)[-1], len(manager.patch_size)))
    if reference is None:
        return None
    channels = dataset_json.get("channel_names", dataset_json.get("modality"))
    elements = feature_map_elements(
        tuple(manager.patch_size),
        len(channels),
        len(dataset_json["labels"]),
        manager.network_arch_class_name,
        manager.network_arch_init_kwargs,
        manager.network_arch_init_kwargs_req_import,
    )
    return float(round(elements / reference[0] * manager.batch_size / reference[1] * REFERENCE_GB * factor, 2))


def feature_map_elements(
    patch_size: tuple[int, ...],
    input_channels: int,
    output_channels: int,
    arch_class_name: str,
    arch_kwargs: dict,
    arch_kwargs_req_import: tuple[str, ...],
) -> float:
    """ExperimentPlanner.static_estimate_VRAM_usage, which crashes where nnUNet_n_proc_DA is 0.

    Returns:
        elements of all convolutions' outputs for one patch.

    Raises:
        PlanningError: no such network, or not for such patches.
    """
    network = network_of(
        arch_class_name, arch_kwargs, arch_kwargs_req_import, input_channels, output_channels, allow_init=False
    )
    try:
        return network.compute_conv_feature_map_size(patch_size)
    except Exception as error:  # sizes out of the plan meet layers out of the plan
        raise PlanningError(
            f"The plan's network {arch_class_name} takes no patches of {tuple(patch_size)} voxels: {error}. Put the "
            "architecture, or patch_size, back as it was."
        ) from error
