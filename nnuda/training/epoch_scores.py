"""Selection without target labels: the epochs are scored, the best one is kept."""

from __future__ import annotations

import math
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor

from nnuda.files import FileError
from nnuda.selection.agreement import mirrored
from nnuda.selection.history import CHECKPOINT as SELECTED
from nnuda.training.outputs import finest
from nnuda.training.preprocessed import PreprocessedError
from nnuda.training.selecting import LOGGED as SELECTION
from nnuda.training.selecting import SCORES, EpochSelection, Predict
from nnuda.training.teacher import EmaTeacher


class EpochScores(nnUNetTrainer):
    """Part of nnUDATrainer: what `EpochSelection` needs of a training, and what it leads to."""

    settings: dict[str, Any]
    resumed: bool
    teacher: EmaTeacher | None
    selection: EpochSelection

    def start_selection(self) -> None:
        """Let the selection read its patches, where epochs are to be scored and the target was preprocessed."""
        if not self.settings["selection.enabled"]:
            return
        domains = self.domains_to_score() if self.local_rank == 0 else None
        self.selection.start(
            domains,
            self.configuration_manager.patch_size,
            self.configuration_manager.batch_size,
            self.agreement_kind,
            self.resumed,
        )
        if self.selection.rule is not None:
            for name in SCORES:
                self.logger.local_logger.my_fantastic_logging.setdefault(
                    SELECTION + name, [math.nan] * self.current_epoch
                )

    def domains_to_score(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset] | None:
        """Source cases of the fold's training, and the target's; None where no target was preprocessed and none is
        needed."""
        try:
            target = self.target_dataset()
        except (PreprocessedError, FileError) as error:
            if self.adapts:
                raise
            self.print_to_log_file(f"NOTE: epochs are not scored on the target. {error}")
            return None
        training_cases, _ = self.do_split()  # labels of the fold's validation cases stay for validation
        return self.dataset_class(self.preprocessed_dataset_folder, training_cases), target

    @property
    def agreement_kind(self) -> str | None:
        """What a prediction is compared with: "teacher" (and student), else "flip"; None without a mirroring axis."""
        if self.teacher is not None:
            return "teacher"
        return "flip" if self.inference_allowed_mirroring_axes else None

    def predictions(self) -> tuple[Predict, Predict | None]:
        """The network that will predict, and what it is to agree with."""
        network = self.bare_network.eval()  # not compiled: another batch shape would be compiled again

        def student(image: Tensor) -> Tensor:
            with self.mixed_precision():
                return finest(network(image))

        def teacher(image: Tensor) -> Tensor:
            with self.mixed_precision():
                return self.teacher(image)

        if self.agreement_kind == "teacher":
            return (teacher, student) if self.settings["training.predict_with"] == "teacher" else (student, teacher)
        axes = self.inference_allowed_mirroring_axes
        return student, mirrored(student, axes) if self.agreement_kind == "flip" else None

    def keep_epoch(self) -> None:
        """After nnU-Net's own end of the epoch: the checkpoints, then selection.json and its picture."""
        record, every = self.selection.history.epochs[-1], self.settings["selection.keep_checkpoints"]
        if record["selected"] and not self.disable_checkpointing:
            self.keep_selected(record["epoch"])
        if every and record["epoch"] % every == 0:
            self.save_weights(join(self.output_folder, f"checkpoint_epoch_{record['epoch']:04d}.pth"))
        if self.local_rank == 0:
            self.selection.write()

    def keep_selected(self, epoch: int) -> None:
        """Write checkpoint_selected.pth of the epoch that was the last one."""
        self.current_epoch -= 1  # as in nnU-Net's on_train_end: the epoch's number has been counted up
        self.save_checkpoint(join(self.output_folder, SELECTED))
        self.current_epoch += 1
        self.print_to_log_file(f"{SELECTED}: epoch {epoch}")
