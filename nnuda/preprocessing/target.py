"""Target cases: nnU-Net's preprocessor with the target's normalisation. No label is opened, or even looked for."""

from __future__ import annotations

import shutil

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, load_json, maybe_mkdir_p
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnuda.datasets import Domain
from nnuda.files import write_json
from nnuda.plan_key import plans_with_target_normalization, read_key, target_folder
from nnuda.preprocessing.save_case import preprocess_case
from nnuda.preprocessing.source import preprocessed_cases
from nnuda.processes import run_cases


def preprocess_target(
    target: Domain, plans: dict, configurations: list[str], num_processes: int = 1, overwrite: bool = False
) -> None:
    """Preprocess the target's images for a plan, into target_folder(key)/<data_identifier>/.

    Cases that are there stay, unless files were replaced or removed or the plan preprocesses in another way now.

    Args:
        target: the target's images.
        plans: a plan with the key `domain_adaptation`.
        configurations: of the plan.
        num_processes: worker processes.
        overwrite: make all cases again.
    """
    as_target = plans_with_target_normalization(plans)
    for configuration in configurations:
        configuration_manager = PlansManager(as_target).get_configuration(configuration)
        folder = join(target_folder(read_key(plans)), configuration_manager.data_identifier)
        recipe = {**_recipe(as_target, configuration_manager), "cases": target.sizes()}
        # beside the folder, not in it: nnU-Net refuses data folders with files of more than one kind
        recipe_file = f"{folder}.json"
        if isdir(folder) and (overwrite or not isfile(recipe_file) or _is_stale(load_json(recipe_file), recipe)):
            shutil.rmtree(folder)
        maybe_mkdir_p(folder)
        write_json(recipe, recipe_file)
        present = preprocessed_cases(folder)
        arguments = [
            (case, files, None, folder, as_target, configuration, {})
            for case, files in target.images.items()
            if case not in present
        ]
        run_cases(preprocess_case, arguments, num_processes, f"Preprocessing target {target.name}, {configuration}")


def _is_stale(old: dict, new: dict) -> bool:
    """Whether what was preprocessed is not what would be; cases that were only added do not count."""
    kept = {case: size for case, size in new["cases"].items() if case in old.get("cases", {})}
    return old != {**new, "cases": kept}


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
