"""Target cases: nnU-Net's preprocessor with the target's normalisation. No label is opened, or even looked for."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnuda.datasets import Domain
from nnuda.errors import PlanningError
from nnuda.plan_key import KEY, plans_with_target_normalization, read_key, relative_target_folder, target_folder
from nnuda.planning.raw_cases import look_at_target
from nnuda.planning.raw_checks import check_cases
from nnuda.preprocessing.save_case import preprocess_case
from nnuda.preprocessing.up_to_date import DataFolder, RawCase, bring_up_to_date, data_folder


def preprocess_target(
    target: Domain, plans: dict, configurations: list[str], num_processes: int = 1, overwrite: bool = False
) -> None:
    """Preprocess the target's images for a plan, into target_folder(key)/<data_identifier>/.

    Cases that are there stay, unless their files were replaced or removed or the plan preprocesses in another way now.

    Args:
        target: the target's images.
        plans: a plan with the key `domain_adaptation`.
        configurations: of the plan.
        num_processes: worker processes.
        overwrite: make all cases again.

    Raises:
        PlanningError: the plan names another folder than the target's.
        DatasetError: raw cases that cannot be used.
    """
    key = check_target_folder(plans, target)
    notes, _ = look_at_target(key["source"], target, num_processes)
    check_cases("target", target, notes)
    raw = {case: RawCase(tuple(files), notes[case]["images"]) for case, files in target.images.items()}
    as_target = plans_with_target_normalization(plans)
    for configuration in configurations:
        configuration_manager = PlansManager(as_target).get_configuration(configuration)
        folder = data_folder(target_folder(key), configuration_manager.data_identifier)
        # the record lies beside the folder, not in it: nnU-Net refuses data folders with files of more than one kind
        data = DataFolder(
            folder,
            f"{folder}.json",
            f"target {target.name}, {configuration}",
            _recipe(as_target, configuration_manager),
        )
        bring_up_to_date(
            data,
            raw,
            preprocess_case,
            lambda case, folder, configuration=configuration: (
                case,
                target.images[case],
                None,
                folder,
                as_target,
                configuration,
                {},
            ),
            num_processes,
            overwrite,
        )


def check_target_folder(plans: dict, target: Domain) -> dict:
    """The plan's key, whose target folder can only be one place: nothing else is written to.

    Raises:
        PlanningError: it is another.
    """
    key = read_key(plans)
    expected, got = relative_target_folder(key["source"], target.name), key["target"]["folder"]
    if got != expected or expected.count("/") != 1:
        raise PlanningError(
            f"Plan {plans['plans_name']}: {KEY}.target.folder: expected {expected}, got {got}. Run "
            "nnUDA_plan_and_preprocess for this plan again."
        )
    return key


def _recipe(plans: dict, configuration: ConfigurationManager) -> dict:
    """All that decides what a preprocessed target case holds."""
    keys = [key for key in configuration.configuration if key.startswith(("resampling_fn_data", "resampling_fn_seg"))]
    return {
        **{key: configuration.configuration[key] for key in sorted(keys)},
        "spacing": list(configuration.spacing),
        "preprocessor_name": configuration.preprocessor_name,
        "normalization_schemes": configuration.normalization_schemes,
        "use_mask_for_norm": configuration.use_mask_for_norm,
        "foreground_intensity_properties_per_channel": plans["foreground_intensity_properties_per_channel"],
        "transpose_forward": plans["transpose_forward"],
        "image_reader_writer": plans["image_reader_writer"],
    }
