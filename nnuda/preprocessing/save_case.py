"""One case through nnU-Net's preprocessor, moved into its folder when it is whole."""

from __future__ import annotations

import os

from batchgenerators.utilities.file_and_folder_operations import join, load_pickle, write_pickle
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.files import folder_aside, into_place


def preprocess_case(
    case: str, images: list[str], label: str | None, folder: str, plans: dict, configuration: str, dataset_json: dict
) -> None:
    """Preprocess a case into `folder`, in nnU-Net's own file format.

    Args:
        case: identifier, the files' stem.
        images: its image files.
        label: its label file; None for the target, whose segmentation is then nnU-Net's non-zero mask (0, outside -1).
        folder: the configuration's data folder.
        plans: the plan that says how.
        configuration: its configuration.
        dataset_json: the source's dataset.json, read where there is a label.
    """
    plans_manager = PlansManager(plans)
    configuration_manager = plans_manager.get_configuration(configuration)
    folder = os.path.realpath(folder)  # a folder of data may be a link to another disk
    with folder_aside(folder) as aside:
        preprocessor = configuration_manager.preprocessor_class(verbose=False)
        try:
            preprocessor.run_case_save(
                join(aside, case), images, label, plans_manager, configuration_manager, dataset_json
            )
        except MemoryError as error:
            raise MemoryError(f"preprocessing {images[0]}: {error}") from error
        if label is None:
            _add_empty_class_locations(join(aside, f"{case}.pkl"))
        _move_case(case, aside, folder)


def _add_empty_class_locations(file: str) -> None:
    # nnU-Net's data loader reads this entry of every case; its preprocessor writes it only where there is a label.
    properties = load_pickle(file)
    properties["class_locations"] = {}
    write_pickle(properties, file)


def _move_case(case: str, aside: str, folder: str) -> None:
    # The image comes last: nnU-Net lists a folder's cases by their images, so a case appears only when it is whole.
    image = f"{case}.b2nd"
    for name in sorted(os.listdir(aside), key=lambda name: name == image):
        into_place(join(aside, name), join(folder, name))
