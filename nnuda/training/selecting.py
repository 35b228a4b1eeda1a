"""Each epoch scored on the target without labels, and the best one kept."""
from __future__ import annotations

import math
import os
from typing import Any, Callable

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from torch import Tensor

from nnuda.selection.agreement import mirrored
from nnuda.selection.history import CHECKPOINT, FILE
from nnuda.selection.patches import SourceShares, TargetPatches, read_source_shares, read_target
from nnuda.selection.picture import plot_scores
from nnuda.selection.rule import Record
from nnuda.selection.score import score_target
from nnuda.settings import SettingsError
from nnuda.training.checkpoint import STATE, CheckpointingTrainer
from nnuda.training.distributed import from_first
from nnuda.training.frozen import frozen_classes
from nnuda.training.outputs import finest

LOGGED = "nnUDA_selection/"
SCORES = ("entropy", "class_prior", "agreement", "density")
POOL = 50  # voxels to choose the density's from, for each of them: rare classes are to be among them


class SelectingTrainer(CheckpointingTrainer):
    """The part of nnUDATrainer that scores epochs.

    It reads no target labels and touches no random state: the training is the same without it.
    """

    def start_selection(self) -> None:
        """Draw the patches, read the source's class sizes, and find out what checkpoint_selected.pth holds."""
        self.rule: dict[str, Any] | None = None
        if self.settings["selection.enabled"]:
            self.rule = from_first(self.read_patches() if self.local_rank == 0 else None)
        if self.rule is None:
            return
        for name in SCORES:
            self.logger.local_logger.my_fantastic_logging.setdefault(LOGGED + name, [math.nan] * self.current_epoch)
        self.history.selected = from_first(self.selected_on_disk() if self.local_rank == 0 else None)

    def read_patches(self) -> dict[str, Any] | None:
        """Keep the patches; returns the rule, or None where no target was preprocessed and none is needed."""
        try:
            target = self.target_dataset()
        except FileNotFoundError as error:
            if self.adapts:
                raise
            self.print_to_log_file(f"NOTE: epochs are not scored on the target. {error}")
            return None
        settings, manager = self.settings, self.configuration_manager
        size, seed = manager.patch_size, settings["training.seed"] or 0
        number = settings["selection.batches"] * manager.batch_size
        self.target_patches = read_target(target, size, number, seed, POOL * settings["selection.voxels"])
        training_cases, _ = self.do_split()  # labels of the fold's validation cases stay for validation
        source = self.dataset_class(self.preprocessed_dataset_folder, training_cases)
        self.source_shares = read_source_shares(source, size, number, seed, self.label_manager)
        return self.make_rule(self.target_patches, self.source_shares)

    def make_rule(self, patches: TargetPatches, source: SourceShares) -> dict[str, Any]:
        """What stands under "rule" in selection.json.

        Raises:
            SettingsError: none of the scores that the rule is to go by can be computed.
        """
        kind, settings = self.agreement_kind, self.settings
        without = ["agreement"] * (kind is None) + ["class_prior"] * (not any(source.watched))
        scores = [name for name in settings["selection.scores"] if name not in without]
        if not scores:
            raise SettingsError(f"Expected a score that can be computed; got selection.scores={', '.join(without)}. "
                                "Without a teacher or mirroring there is no agreement, and without a class that four "
                                "patches of the source show no class_prior. Add entropy.")
        return {"scores": scores, "source_dice": settings["selection.source_dice"],
                "class_share": settings["selection.class_share"], "classes": frozen_classes(self.plans_manager.plans),
                "source_shares": source.share, "watched": source.watched, "regions": self.label_manager.has_regions,
                "patches": len(patches.image), "voxels": int(patches.inside.sum()),
                "density_voxels": settings["selection.voxels"], "temperature": settings["selection.temperature"],
                "seed": settings["training.seed"] or 0}

    @property
    def agreement_kind(self) -> str | None:
        """What a prediction is compared with: "teacher" (and student), else "flip"; None without a mirroring axis."""
        if self.teacher is not None:
            return "teacher"
        return "flip" if self.inference_allowed_mirroring_axes else None

    def selected_on_disk(self) -> Record | None:
        """The record of the epoch in checkpoint_selected.pth; a new training removes that of an earlier one.

        A training that was killed resumes from an older epoch than the file may be from: then the file's own counts.
        """
        path = join(self.output_folder, CHECKPOINT)
        if not self.resumed:
            for stale in (path, join(self.output_folder, FILE)):
                if isfile(stale):
                    os.remove(stale)
        if not isfile(path):
            return None
        selected = torch.load(path, map_location="cpu", weights_only=False)[STATE]["selection"]["selected"]
        if selected != self.history.selected:
            self.print_to_log_file(f"{CHECKPOINT} is of epoch {selected['epoch']}, from before the interruption; "
                                   "it stays until an epoch beats it.")
        return selected

    def predictions(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor] | None]:
        """The network that will predict, and what it is to agree with: image (B, Cin, *S) to finest logits."""
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

    def score_epoch(self) -> None:
        """Score this epoch, judge it by the rule, log both."""
        if self.rule is None:
            return
        scores = None
        if self.local_rank == 0:
            scores = score_target(self.target_patches, self.source_shares, *self.predictions(),
                                  self.configuration_manager.batch_size, self.rule["regions"],
                                  self.rule["density_voxels"], self.rule["temperature"], self.device)
        dice = float(self.logger.get_value("mean_fg_dice", step=-1))
        before = self.history.epochs[-1]["alarm"] if self.history.epochs else []
        record = self.history.add(self.current_epoch, from_first(scores), self.agreement_kind,
                                  dice if math.isfinite(dice) else None, self.rule)
        for name in SCORES:
            self.logger.log(LOGGED + name, math.nan if record[name] is None else record[name], self.current_epoch)
        rounded = {name: record[name] if record[name] is None else round(record[name], 4) for name in SCORES}
        self.print_to_log_file("label-free scores", rounded,
                               *(["vetoed:", "; ".join(record["vetoed"])] if record["vetoed"] else []))
        if set(record["alarm"]) - set(before):
            reasons = "; ".join(record["alarm"])
            self.print_to_log_file(f"COLLAPSE ALARM on the target in epoch {self.current_epoch}: {reasons}")

    def keep_epoch(self) -> None:
        """After nnU-Net's own end of the epoch: the checkpoints, then selection.json and its picture."""
        if self.rule is None:
            return
        record, every = self.history.epochs[-1], self.settings["selection.keep_checkpoints"]
        if record["selected"] and not self.disable_checkpointing:
            self.current_epoch -= 1  # as in nnU-Net's on_train_end: the epoch's number has been counted up
            self.save_checkpoint(join(self.output_folder, CHECKPOINT))
            self.current_epoch += 1
            self.print_to_log_file(f"{CHECKPOINT}: epoch {record['epoch']}")
        if every and record["epoch"] % every == 0:
            self.save_weights(join(self.output_folder, f"checkpoint_epoch_{record['epoch']:04d}.pth"))
        if self.local_rank == 0:
            self.history.write(self.output_folder, self.rule)
            self.draw_scores()

    def draw_scores(self) -> None:
        """nnuda_selection.png."""
        plot_scores(self.history.epochs, self.history.selected, self.rule, self.output_folder)
