"""Each epoch scored on the target without labels, and the best one kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

from nnuda.results import ResultsError, load_checkpoint
from nnuda.selection.history import CHECKPOINT, History
from nnuda.selection.patches import SourceShares, TargetPatches, read_source_shares, read_target
from nnuda.selection.picture import plot_scores
from nnuda.selection.rule import Record
from nnuda.selection.score import score_target
from nnuda.settings import SettingsError
from nnuda.training.checkpoint import STATE
from nnuda.training.distributed import from_first

LOGGED = "nnUDA_selection/"
SCORES = ("entropy", "class_prior", "agreement", "density")
POOL = 50  # voxels to choose the density's from, for each of them: rare classes are to be among them

Predict = Callable[[Tensor], Tensor]  # image (B, Cin, *S) to finest logits


class EpochSelection:
    """Scores epochs on target patches, and says which is the best. The trainer owns one.

    It reads no target labels and touches no random state: the training is the same without it.

    Args:
        settings: effective settings; reads `selection.*` and `training.seed`.
        classes: names of the foreground classes or regions.
        labels: nnU-Net's label manager.
        folder: results folder of the fold.
        log: prints a line to the training's log.

    Attributes:
        rule: what stands under "rule" in selection.json; None while epochs are not scored.
        history: the records of the epochs.
    """

    def __init__(
        self, settings: dict[str, Any], classes: list[str], labels: LabelManager, folder: str, log: Callable[..., None]
    ) -> None:
        self.settings, self.classes, self.labels, self.folder, self.log = settings, classes, labels, folder, log
        self.rule: dict[str, Any] | None = None
        self.history = History()

    def start(
        self,
        domains: tuple[nnUNetBaseDataset, nnUNetBaseDataset] | None,
        patch_size: Sequence[int],
        batch_size: int,
        agreement_kind: str | None,
        resumed: bool,
    ) -> None:
        """Draw the patches, read the source's class sizes, and find out what checkpoint_selected.pth holds.

        Args:
            domains: preprocessed cases of source (those of the fold's training) and target; None on other ranks than
                the first, and where epochs cannot be scored.
            patch_size: *S.
            batch_size: of the plan.
            agreement_kind: what a prediction is compared with: "teacher", "flip" or None.
            resumed: whether the training goes on.
        """
        rule = None if domains is None else self.read(*domains, patch_size, batch_size, agreement_kind)
        self.rule = from_first(rule)
        if self.rule is not None:
            self.history.selected = from_first(self.selected_on_disk(resumed) if domains is not None else None)

    def read(
        self,
        source: nnUNetBaseDataset,
        target: nnUNetBaseDataset,
        patch_size: Sequence[int],
        batch_size: int,
        agreement_kind: str | None,
    ) -> dict[str, Any]:
        """Keep the patches; returns the rule."""
        number, seed = self.settings["selection.batches"] * batch_size, self.settings["training.seed"] or 0
        self.target_patches = read_target(target, patch_size, number, seed, POOL * self.settings["selection.voxels"])
        self.source_shares = read_source_shares(source, patch_size, number, seed, self.labels)
        self.batch_size, self.agreement_kind = batch_size, agreement_kind
        return self.make_rule(self.target_patches, self.source_shares, agreement_kind)

    def make_rule(self, patches: TargetPatches, source: SourceShares, agreement_kind: str | None) -> dict[str, Any]:
        """What stands under "rule" in selection.json.

        Raises:
            SettingsError: none of the scores that the rule is to go by can be computed.
        """
        settings = self.settings
        without = ["agreement"] * (agreement_kind is None) + ["class_prior"] * (not any(source.watched))
        scores = [name for name in settings["selection.scores"] if name not in without]
        if not scores:
            raise SettingsError(
                f"Expected a score that can be computed; got selection.scores={', '.join(without)}. "
                "Without a teacher or mirroring there is no agreement, and without a class that four "
                "patches of the source show no class_prior. Add entropy."
            )
        return {
            "scores": scores,
            "source_dice": settings["selection.source_dice"],
            "class_share": settings["selection.class_share"],
            "classes": self.classes,
            "source_shares": source.share,
            "watched": source.watched,
            "regions": self.labels.has_regions,
            "patches": len(patches.image),
            "voxels": int(patches.inside.sum()),
            "density_voxels": settings["selection.voxels"],
            "temperature": settings["selection.temperature"],
            "seed": settings["training.seed"] or 0,
        }

    def selected_on_disk(self, resumed: bool) -> Record | None:
        """The record of the epoch in checkpoint_selected.pth; that of an earlier training does not count.

        A training that was killed resumes from an older epoch than the file may be from: then the file's own counts.
        """
        path = join(self.folder, CHECKPOINT)
        if not (resumed and isfile(path)):
            return None
        try:
            selected = load_checkpoint(path).get(STATE, {}).get("selection", {}).get("selected")
        except ResultsError as error:
            self.log(f"NOTE: {error} The next epoch that passes the rule replaces it.")
            return None
        if selected is not None and selected != self.history.selected:
            self.log(
                f"{CHECKPOINT} is of epoch {selected['epoch']}, from before the interruption; "
                "it stays until an epoch beats it."
            )
        return selected

    def lost_to_an_interruption(self, epoch: int) -> bool:
        """Whether the epoch that a resumed training goes on from was selected, and the training was killed before
        checkpoint_selected.pth was written; the epoch is the selected one then."""
        last, kept = (self.history.epochs or [None])[-1], self.history.selected
        lost = (
            self.rule is not None
            and last is not None
            and last["selected"]
            and last["epoch"] == epoch
            and (kept is None or kept["epoch"] < epoch)
        )
        if lost:
            self.history.selected = last
        return lost

    def score(
        self,
        epoch: int,
        source_dice: float,
        predict: Predict,
        compare: Predict | None,
        first: bool,
        device: torch.device,
    ) -> dict[str, float]:
        """Score an epoch, judge it by the rule, log both.

        Args:
            epoch: its number.
            source_dice: pseudo Dice on the source's validation patches; NaN where there is none.
            predict: of the weights that will predict.
            compare: what it is to agree with.
            first: whether this is the first rank, which has the patches.
            device: of the network.

        Returns:
            Each score, NaN where it could not be computed.
        """
        scores = None
        if first:
            scores = score_target(
                self.target_patches,
                self.source_shares,
                predict,
                compare,
                self.batch_size,
                self.rule["regions"],
                self.rule["density_voxels"],
                self.rule["temperature"],
                device,
            )
        before = self.history.epochs[-1]["alarm"] if self.history.epochs else []
        record = self.history.add(
            epoch,
            from_first(scores),
            from_first(self.agreement_kind if first else None),
            source_dice if math.isfinite(source_dice) else None,
            self.rule,
        )
        rounded = {name: record[name] if record[name] is None else round(record[name], 4) for name in SCORES}
        self.log("label-free scores", rounded, *(["vetoed:", "; ".join(record["vetoed"])] if record["vetoed"] else []))
        if set(record["alarm"]) - set(before):
            self.log(f"COLLAPSE ALARM on the target in epoch {epoch}: {'; '.join(record['alarm'])}")
        return {name: math.nan if record[name] is None else record[name] for name in SCORES}

    def write(self) -> None:
        """selection.json and its picture."""
        self.history.write(self.folder, self.rule)
        self.draw()

    def draw(self) -> None:
        """nnuda_selection.png."""
        plot_scores(self.history.epochs, self.history.selected, self.rule, self.folder)
