"""What happened over the epochs: losses, scores on the source, and scores of the target that need no labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnuda.evaluation.scores import first_names
from nnuda.report.figures import curves
from nnuda.report.page import Folded, Picture, Pictures, Section, Table, Text
from nnuda.report.run import Run, number
from nnuda.selection.rule import SIGN, hindsight, regret

NAMES = {
    "entropy": "entropy, nats",
    "class_prior": "class prior distance, nats",
    "agreement": "agreement",
    "density": "neighbourhood density",
    "source_dice": "pseudo Dice on the source",
}
KINDS = {"teacher": "teacher and student", "flip": "image and mirror image", None: "nothing"}
BETTER = {-1: "less is better", 1: "more is better"}
NOT_LOGGED = (
    "There is no selection.json in the fold folder: label-free scores were not computed during training, so "
    "no epoch was selected and nothing watched for a collapse."
)


def losses_section(run: Run) -> Section:
    """A picture a loss term, and nnU-Net's own curves."""
    logged = run.logged
    losses = {"training": logged["train_losses"], "validation on the source": logged["val_losses"]}
    pictures = [
        Picture(
            curves("nnU-Net's loss", losses),
            "training and validation loss over epochs",
            "training: the weighted sum of all terms",
        )
    ]
    if "nnUDA/source" in logged:
        pictures.append(
            Picture(
                curves("source", {"source": logged["nnUDA/source"]}),
                "loss on the source over epochs",
                "supervised loss on the labelled source",
            )
        )
    for title, lines in _panels(run.terms).items():
        weight = run.weights.get(title)
        caption = "no loss: a quantity to watch" if weight is None else f"unweighted; weight {number(weight)}"
        pictures.append(Picture(curves(title, lines), f"{title} over epochs", caption))
    dice = [list(map(float, values)) for values in zip(*logged["dice_per_class_or_region"])]
    pictures.append(
        Picture(
            curves(NAMES["source_dice"], dict(zip(run.classes, dice))),
            "pseudo Dice of each class over epochs",
            "on validation patches of the source, by nnU-Net",
        )
    )
    pictures.append(Picture(curves("learning rate", {"learning rate": logged["lrs"]}), "learning rate over epochs"))
    text = (
        "A gap in a curve is an epoch in which the term was off."
        if run.terms
        else "No term reads target images: this is nnU-Net's training on the source."
    )
    return Section("Losses", [Pictures(pictures), Text(text)])


def _panels(terms: Mapping[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Names "group/line" share a panel, as in nnuda_progress.png."""
    panels: dict[str, dict[str, list[float]]] = {}
    for name, values in terms.items():
        title, _, line = name.partition("/")
        panels.setdefault(title, {})[line or title] = values
    return panels


def selection_section(run: Run, dice_per_epoch: Mapping[int, float] | None) -> Section:
    """Scores without target labels over epochs, what the rule took, and where there are references what that cost.

    Args:
        run: the run.
        dice_per_epoch: true target Dice by epoch, where predictions of epochs were scored.
    """
    title = "Scores without target labels"
    if run.selection is None or not run.selection["epochs"]:
        return Section(title, [Text(NOT_LOGGED)])
    marks = "Dashed upright line: the selected epoch. Crosses: vetoed epochs."
    blocks = [
        _choice_table(run.selection),
        Pictures(_score_pictures(run.selection)),
        Text(marks),
        _reasons(run.selection["epochs"]),
    ]
    return Section(title, [*blocks, *(_regret_blocks(run.selection, dice_per_epoch) if dice_per_epoch else [])])


def _score_pictures(selection: dict) -> list[Picture]:
    records, rule = selection["epochs"], selection["rule"]
    epochs = [record["epoch"] for record in records]
    vetoed = [record["epoch"] for record in records if record["vetoed"]]
    pictures = []
    for name, sign in SIGN.items():
        values = [record[name] for record in records]
        if any(value is not None for value in values):
            drawn = curves(NAMES[name], {name: values}, epochs, selection["selected_epoch"], vetoed)
            about = [
                BETTER[sign],
                *([f"of {KINDS[records[-1]['agreement_kind']]}"] if name == "agreement" else []),
                *(["used by the rule"] if name in rule["scores"] else []),
            ]
            pictures.append(Picture(drawn, f"{NAMES[name]} over epochs", "; ".join(about)))
    shares = zip(*([100 * share for share in record["class_shares"]] for record in records))
    drawn = curves(
        "% of target voxels predicted as",
        dict(zip(rule["classes"], shares)),
        epochs,
        selection["selected_epoch"],
        vetoed,
    )
    sizes = ", ".join(f"{name} {number(100 * share)} %" for name, share in zip(rule["classes"], rule["source_shares"]))
    return [*pictures, Picture(drawn, "share of each class over epochs", f"labelled in the source: {sizes}")]


def _choice_table(selection: dict) -> Table:
    by_epoch, last = {record["epoch"]: record for record in selection["epochs"]}, selection["epochs"][-1]["epoch"]
    chosen = {
        "selected while training": selection["selected_epoch"],
        "with hindsight": hindsight(selection),
        "last": last,
    }
    rows = [["", "epoch", *(NAMES[name] for name in SIGN), "vetoed"]]
    for name, epoch in chosen.items():
        if epoch is None:
            rows.append([name, "none", *["-"] * (len(SIGN) + 1)])
        else:
            record = by_epoch[epoch]
            scores = [number(record[score]) for score in SIGN]
            rows.append([name, str(epoch), *scores, "yes" if record["vetoed"] else "no"])
    return Table(rows)


def _reasons(records: Sequence[dict]) -> Text | Table | Folded:
    rows = [
        [f"epoch {record['epoch']}", "; ".join(record["alarm"]) or "-", "; ".join(record["vetoed"]) or "-"]
        for record in records
        if record["alarm"] or record["vetoed"]
    ]
    if not rows:
        return Text("No epoch was vetoed and no alarm went off.")
    marked = frozenset(index for index, row in enumerate(rows) if row[1] != "-")
    table = Table([["", "alarm", "why it was vetoed"], *rows], marked, frozenset({1, 2}))
    return table if len(rows) <= 10 else Folded(f"{len(rows)} epochs with a veto, {len(marked)} with an alarm", [table])


def _regret_blocks(selection: dict, dice: Mapping[int, float]) -> list:
    epochs = [record["epoch"] for record in selection["epochs"]]
    measured = [dice.get(epoch, math.nan) for epoch in epochs]
    losses = regret(selection, measured)
    best = max((value, epoch) for epoch, value in dice.items() if epoch in set(epochs))
    rows = [["chosen by", "loss of target Dice"]]
    rows += [[NAMES.get(name, name), "-" if math.isnan(value) else f"{value:.3f}"] for name, value in losses.items()]
    drawn = curves("true target Dice", {"Dice": measured}, epochs, selection["selected_epoch"])
    return [
        Text(
            f"oracle: true. With target labels: the best of the {len(dice)} epochs that were predicted is epoch "
            f"{best[1]}, Dice {best[0]:.3f}. What each way of choosing loses against it:"
        ),
        Table(rows),
        Pictures([Picture(drawn, "true target Dice over epochs", "oracle: true; dashed: the selected epoch")]),
    ]


def training_alarms(run: Run) -> list[str]:
    """What is wrong in the curves and scores, most important first."""
    broken = np.flatnonzero(~np.isfinite(np.array(run.logged["train_losses"], dtype=float)))
    found = [f"The training loss is not finite in epoch {broken[0]}."] if broken.size else []
    if run.selection is not None and run.selection["epochs"]:
        records = run.selection["epochs"]
        alarms: dict[str, list[int]] = {}
        for record in records:
            for text in record["alarm"]:
                alarms.setdefault(text, []).append(record["epoch"])
        found += [f"{text} (epoch {first_names(list(map(str, epochs)), 5)})." for text, epochs in alarms.items()]
        if records[-1]["vetoed"]:
            chosen = run.selection["selected_epoch"]
            instead = "no epoch was selected" if chosen is None else f"checkpoint_selected.pth holds epoch {chosen}"
            found.append(f"The last epoch is vetoed ({'; '.join(records[-1]['vetoed'])}); {instead}.")
        return found
    dice = [float(value) for value in run.logged["mean_fg_dice"] if np.isfinite(value)]
    if dice and dice[-1] < max(dice) - 0.05:
        found.append(f"Pseudo Dice on the source ends at {dice[-1]:.3f}, {max(dice) - dice[-1]:.3f} below its best.")
    return found
