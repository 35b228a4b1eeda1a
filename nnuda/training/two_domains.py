"""What a training reads: nnU-Net's source cases, and the target's beside them."""

from __future__ import annotations

import os
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetBaseDataset
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnuda.case_files import check_data_folder, read_splits
from nnuda.data.stream import TwoDomainStream, target_augmenter
from nnuda.data.strong_augmentation import Strength
from nnuda.data.target_loader import TargetLoader
from nnuda.data.views import SourceViews, TwoViews, quarter_turns, with_strong_augmentation
from nnuda.plan_key import KEY, target_folder
from nnuda.processes import workers_end_with_us
from nnuda.training.distributed import split_batch
from nnuda.training.preprocessed import (
    PreprocessedError,
    damage_in,
    require_cases,
    require_fingerprint,
    require_references,
)


class TwoDomains(nnUNetTrainer):
    """Part of nnUDATrainer: datasets, augmentation and batches of both domains."""

    settings: dict[str, Any]
    target: dict[str, Any]
    strength: Strength
    source_datasets: tuple[nnUNetBaseDataset, ...] = ()
    batch_size_target: int

    def _set_batch_size_and_oversample(self) -> None:
        super()._set_batch_size_and_oversample()
        if self.adapts:
            full = self.batch_size
            self.batch_size, self.batch_size_target = split_batch(full, self.settings["training.batch"])
            if self.batch_size == 1 < full:  # nnU-Net oversamples the last third of a batch: of one patch none
                self.probabilistic_oversampling = True

    def get_training_transforms(self, *args, **kwargs):
        """nnU-Net's, or those of its nnUNetTrainerDA5; with the strong transforms where the setting asks for them."""
        trainer = nnUNetTrainerDA5 if self.settings["training.augmentation"] == "da5" else nnUNetTrainer
        pipeline = with_strong_augmentation(
            trainer.get_training_transforms(*args, **kwargs), self.settings, self.strength
        )
        return SourceViews(pipeline) if self.reads_weak_source and self.adapts else pipeline

    @property
    def reads_weak_source(self) -> bool:
        """Whether a source batch is to hold a weak view (`SourceBatch.weak`) beside the augmented one."""
        return False

    @property
    def preprocess_command(self) -> str:
        """What makes the preprocessed cases of both domains."""
        plans = self.plans_manager
        return f"nnUDA_preprocess -d {plans.dataset_name} -p {plans.plans_name} -c {self.configuration_name}"

    def get_tr_and_val_datasets(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset]:
        """nnU-Net's, looked at before a background worker stumbles.

        Raises:
            PreprocessedError, FileError: a case is not whole, or has no reference, or the splits are damaged.
        """
        splits = join(self.preprocessed_dataset_folder_base, "splits_final.json")
        if self.fold != "all" and isfile(splits):
            read_splits(splits)
        training, validation = super().get_tr_and_val_datasets()
        remedy = f"Run: {self.preprocess_command}, or take these cases out of splits_final.json."
        for cases, use in ((training, "training"), (validation, "validation")):
            what = f"preprocessed source cases for {use} in fold {self.fold}"
            require_cases(cases, self.num_input_channels, what, remedy)
        require_references(
            join(self.preprocessed_dataset_folder_base, "gt_segmentations"),
            [case + self.dataset_json["file_ending"] for case in validation.identifiers],
            remedy,
        )
        source, target = self.plans_manager.dataset_name, self.target["name"]
        require_fingerprint(self.preprocessed_dataset_folder_base, f"nnUDA_extract_fingerprint -d {source} -t {target}")
        self.source_datasets = (training, validation)
        return training, validation

    def damage(self) -> PreprocessedError | None:
        """What in the cases can have ended this training, looked for once something has; None where they are sound."""
        self.print_to_log_file("This ended with an error: looking through the preprocessed cases for its cause ...")
        labels = {-1, *map(int, self.label_manager.all_labels)}  # -1 is what nnU-Net's preprocessing has cut away
        labels |= {self.label_manager.ignore_label} if self.label_manager.has_ignore_label else set()
        datasets = [(cases, labels, "the preprocessed source cases") for cases in self.source_datasets]
        if self.adapts:
            datasets.append((self.target_dataset(), {-1, 0}, "the preprocessed cases of the target"))
        found = (damage_in(cases, values, what, self.preprocess_command) for cases, values, what in datasets)
        return next(filter(None, found), None)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's for the source; a stream of both domains where a term needs the target."""
        self.set_strength()  # before the first batch is drawn
        if self.adapts:
            self.target_dataset()  # before a process is started that would have to be ended
        with workers_end_with_us():
            source, validation = super().get_dataloaders()
            if not self.adapts:
                return source, validation
            processes = get_allowed_n_proc_DA()
            target = target_augmenter(
                self.target_loader(),
                processes if processes == 0 else max(1, processes // 2),
                self.device.type == "cuda",
            )
            next(target)
        return TwoDomainStream(source, target, 2 if self.reads_weak_source else 1), validation

    def target_dataset(self) -> nnUNetBaseDataset:
        """The target's preprocessed cases.

        Raises:
            PreprocessedError, FileError: not as many as were planned, or not whole, or among other files.
        """
        folder = join(target_folder(self.plans_manager.plans[KEY]), self.configuration_manager.data_identifier)
        dataset = None
        if os.path.isdir(folder) and os.listdir(folder):
            check_data_folder(folder)
            dataset = infer_dataset_class(folder)(folder)
        found, planned = 0 if dataset is None else len(dataset.identifiers), self.target["num_cases"]
        if found != planned:
            raise PreprocessedError(
                f"Expected {planned} preprocessed cases of the target {self.target['name']} in "
                f"{folder}; found {found}. Run: {self.preprocess_command}"
            )
        what = f"the preprocessed cases of the target {self.target['name']}"
        require_cases(dataset, self.num_input_channels, what, f"Run: {self.preprocess_command}")
        return dataset

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        """nnU-Net's; `augmentation.mirroring` says whether patches, and later predictions, are mirrored."""
        rotation, dummy_2d, initial_patch, mirror_axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        mirroring = self.settings["augmentation.mirroring"]
        axes = self.plans_manager.transpose_forward[-len(self.configuration_manager.patch_size) :]
        sided = bool(set(axes) & set(self.settings["planning.sided_axes"]))
        if mirroring == "none" or (mirroring == "planned" and sided):
            mirror_axes = self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, initial_patch, mirror_axes

    def target_loader(self) -> TargetLoader:
        """Patches of the target in two views, through nnU-Net's own transforms."""
        rotation, dummy_2d, initial_patch, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        patch_size, turns = self.configuration_manager.patch_size, None
        if self.settings["augmentation.target_geometry"] == "quarters":
            initial_patch, turns = patch_size, quarter_turns(patch_size, rotation, dummy_2d)
        pipeline = self.get_training_transforms(
            patch_size,
            rotation,
            None,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=self.target["normalization"]["use_mask_for_norm"],
        )
        return TargetLoader(
            self.target_dataset(),
            self.batch_size_target,
            initial_patch,
            patch_size,
            self.label_manager,
            transforms=TwoViews(pipeline, turns),
        )

    def set_strength(self) -> None:
        """The strong augmentation is on for the first `augmentation.until` of the epochs."""
        on = self.current_epoch < self.settings["augmentation.until"] * self.num_epochs
        self.strength.share = 1.0 if on else 0.0
