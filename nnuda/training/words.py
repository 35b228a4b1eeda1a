"""What the training's log says: whose scores they are, and how to go on."""

from __future__ import annotations

# nnU-Net validates on the labelled domain, and does not know that there is another
OF_SOURCE = {
    "Pseudo dice": "Pseudo Dice on the source",
    "New best EMA pseudo Dice": "New best EMA pseudo Dice on the source",
    "Validation complete": "Validation on the source complete",
    "Mean Validation Dice": "Mean Validation Dice on the source",
}


def on_the_source(text: object) -> object:
    """A part of a line of nnU-Net's log; its scores say that they are the source's."""
    for theirs, ours in OF_SOURCE.items():
        if isinstance(text, str) and theirs in text:
            return text.replace(theirs, ours)
    return text


def predict_command(dataset: str, configuration: str, fold: int | str, trainer: str, plans: str) -> str:
    """How target images are predicted with a training."""
    words = f"nnUNetv2_predict -i IMAGES -o PREDICTIONS -d {dataset[7:10]} -c {configuration} -f {fold} -tr {trainer}"
    return words + ("" if plans == "nnUNetPlans" else f" -p {plans}")
