"""What a training remembers of its scores, and the file that it leaves."""

from __future__ import annotations

import os
from typing import Any

from nnuda.files import write_json
from nnuda.selection.rule import Record, alarms, replaces, vetoes

FILE = "selection.json"
CHECKPOINT = "checkpoint_selected.pth"


class History:
    """The epochs' scores and the selected one. Builtins only: it lies in the checkpoint.

    Attributes:
        epochs: a record per epoch.
        selected: the record of the epoch in checkpoint_selected.pth.
    """

    def __init__(self) -> None:
        self.epochs: list[Record] = []
        self.selected: Record | None = None

    def add(
        self,
        epoch: int,
        scores: dict[str, Any],
        agreement_kind: str | None,
        source_dice: float | None,
        rule: dict[str, Any],
    ) -> Record:
        """Judge an epoch and remember it.

        Args:
            epoch: from 0.
            scores: what `score_target` returned.
            agreement_kind: "teacher" or "flip"; None without an agreement.
            source_dice: nnU-Net's pseudo Dice of this epoch; None where it has none.
            rule: see `nnuda.selection.rule`.

        Returns:
            The epoch's record.
        """
        record = {
            "epoch": epoch,
            "entropy": scores["entropy"],
            "class_prior": scores["class_prior"],
            "agreement": scores["agreement"],
            "agreement_kind": agreement_kind,
            "density": scores["density"],
            "source_dice": source_dice,
            "class_shares": scores["class_shares"],
        }
        known = [*self.epochs, record]
        record["vetoed"] = vetoes(record, known, rule)
        record["selected"] = replaces(record, self.selected, known, rule)
        record["alarm"] = alarms(record, self.epochs, rule)
        self.epochs.append(record)
        if record["selected"]:
            self.selected = record
        return record

    def write(self, folder: str, rule: dict[str, Any]) -> None:
        """Write selection.json, whole or not at all."""
        selected = None if self.selected is None else self.selected["epoch"]
        write_json({"rule": rule, "epochs": self.epochs, "selected_epoch": selected}, os.path.join(folder, FILE))

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"epochs": self.epochs, "selected": self.selected}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.epochs, self.selected = list(state["epochs"]), state["selected"]
