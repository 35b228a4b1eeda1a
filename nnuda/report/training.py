"""What happened over the epochs: losses, scores on the source, and scores of the target that need no labels."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnuda.evaluation.page import Picture, Pictures, Section, Table, Text
from nnuda.report.figures import curves
from nnuda.report.run import Run, number
from nnuda.selection.entropy import largest_entropy
from nnuda.selection.rule import SIGN, hindsight, regret

NAMES = {"entropy": "entropy, nats", "class_prior": "class prior distance, nats", "agreement": "agreement",
         "density": "neighbourhood density", "source_dice": "pseudo Dice on the source"}
BETTER = {-1: "less is better", 1: "more is better"}
NOT_LOGGED = ("There is no selection.json in the fold folder: label-free scores were not computed during training, so no "
              "epoch was selected and nothing watched for a collapse.")


def losses_section(run: Run) -> Section:
    """A picture a loss term, and nnU-Net's own curves."""
    logged = run.logged
    pictures = [Picture(curves("nnU-Net's loss", {"training": logged["train_losses"], "validation on the source": logged["val_losses"]}),
                        "training and validation loss over epochs", "training: the weighted sum of all terms")]
    if "nnUDA/source" in logged:
        pictures.append(Picture(curves("source", {"source": logged["nnUDA/source"]}), "loss on the source over epochs",
                                "supervised loss on the labelled source"))
    for title, lines in _panels(run.terms).items():
        caption = f"unweighted; weight {number(run.weights[title])}" if title in run.weights else "no loss: a quantity to watch"
        pictures.append(Picture(curves(title, lines), f"{title} over epochs", caption))
    dice = [list(map(float, values)) for values in zip(*logged["dice_per_class_or_region"])]
    pictures.append(Picture(curves("pseudo Dice on the source", dict(zip(run.classes, dice))), "pseudo Dice of each class over epochs",
                            "on validation patches of the source, by nnU-Net"))
    pictures.append(Picture(curves("learning rate", {"learning rate": logged["lrs"]}), "learning rate over epochs"))
    text = ("A gap in a curve is an epoch in which the term was off." if run.terms else
            "No term reads target images: this is nnU-Net's training on the source.")
    return Section("Losses", [Pictures(pictures), Text(text)])


def _panels(terms: Mapping[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Names "group/line" share a panel, as in nnuda_progress.png."""
    panels: dict[str, dict[str, list[float]]] = {}
    for name, values in terms.items():
        title, _, line = name.partition("/")
        panels.setdefault(title, {})[line or title] = values
    return panels


def vetoed_epochs(selection: dict) -> list[int]:
    """Epochs that the rule may not take."""
    return [record["epoch"] for record in selection["epochs"] if record["vetoed"]]


def selection_section(run: Run, dice_per_epoch: Mapping[int, float] | None) -> Section:
    """Scores without target labels over epochs, what the rule took, and where there are references what that cost.

    Args:
        run: the run.
        dice_per_epoch: true target Dice by epoch, where predictions of epochs were scored.
    """
    title = "Scores without target labels"
    if run.selection is None or not run.selection["epochs"]:
        return Section(title, [Text(NOT_LOGGED)])
    selection, records = run.selection, run.selection["epochs"]
    epochs, chosen, crossed = [record["epoch"] for record in records], selection["selected_epoch"], vetoed_epochs(selection)
    pictures = []
    for name, sign in SIGN.items():
        if any(record[name] is not None for record in records):
            values = {NAMES[name]: [record[name] for record in records]}
            top = largest_entropy(len(run.classes) + 1, selection["rule"]["regions"]) if name == "entropy" else None
            top = top if top is not None and max(value for value in values[NAMES[name]] if value is not None) > top / 2 else None
            kind = f"; {records[-1]['agreement_kind']}" if name == "agreement" else ""
            used = "; used by the rule" if name in selection["rule"]["scores"] else ""
            pictures.append(Picture(curves(NAMES[name], values, epochs, chosen, crossed, top), f"{NAMES[name]} over epochs",
                                    f"{BETTER[sign]}{kind}{used}"))
    shares = {name: [100 * record["class_shares"][index] for record in records] for index, name in enumerate(selection["rule"]["classes"])}
    sizes = ", ".join(f"{name} {number(100 * share)} %" for name, share in zip(selection["rule"]["classes"], selection["rule"]["source_shares"]))
    pictures.append(Picture(curves("% of target voxels predicted as", shares, epochs, chosen, crossed),
                            "share of each class over epochs", f"labelled in the source: {sizes}"))
    marks = "Dashed upright line: the selected epoch. Crosses: vetoed epochs."
    blocks = [_choice_table(selection), Pictures(pictures), Text(marks), *_reasons(records)]
    return Section(title, [*blocks, *(_regret_blocks(selection, dice_per_epoch) if dice_per_epoch else [])])


def _choice_table(selection: dict) -> Table:
    by_epoch = {record["epoch"]: record for record in selection["epochs"]}
    last = selection["epochs"][-1]["epoch"]
    chosen = {"selected while training": selection["selected_epoch"], "with hindsight": hindsight(selection), "last": last}
    rows = [["", "epoch", *(NAMES[name] for name in SIGN), "vetoed"]]
    for name, epoch in chosen.items():
        record = by_epoch.get(epoch)
        values = ["-"] * len(SIGN) if record is None else [number(record[score]) for score in SIGN]
        rows.append([name, "none" if epoch is None else str(epoch), *values, "-" if record is None else "yes" if record["vetoed"] else "no"])
    return Table(rows)


def _reasons(records: Sequence[dict]) -> list:
    rows = [[f"epoch {record['epoch']}", "; ".join(record["alarm"]) or "-", "; ".join(record["vetoed"]) or "-"]
            for record in records if record["alarm"] or record["vetoed"]]
    if not rows:
        return [Text("No epoch was vetoed and no alarm went off.")]
    marked = frozenset(index for index, row in enumerate(rows) if row[1] != "-")
    return [Table([["", "alarm", "why it was vetoed"], *rows], marked, frozenset({1, 2}))]


def _regret_blocks(selection: dict, dice: Mapping[int, float]) -> list:
    epochs = [record["epoch"] for record in selection["epochs"]]
    measured = [dice.get(epoch, math.nan) for epoch in epochs]
    losses = regret(selection, measured)
    best = max((value, epoch) for epoch, value in dice.items() if epoch in set(epochs))
    rows = [["chosen by", "loss of target Dice"], *([NAMES.get(name, name), "-" if math.isnan(value) else f"{value:.3f}"] for name, value in losses.items())]
    return [Text(f"oracle: true. With target labels: the best of the {len(dice)} epochs that were predicted is epoch {best[1]}, Dice "
                 f"{best[0]:.3f}. What each way of choosing loses against it:"), Table(rows),
            Pictures([Picture(curves("true target Dice", {"Dice": measured}, epochs, selection["selected_epoch"]),
                              "true target Dice over epochs", "oracle: true; dashed: the selected epoch")])]


def training_alarms(run: Run) -> list[str]:
    """What is wrong in the curves and scores, most important first."""
    found = [f"The training loss is no number in epoch {epoch}." for epoch, value in enumerate(run.logged["train_losses"])
             if not np.isfinite(value)][:1]
    if run.selection is not None and run.selection["epochs"]:
        records = run.selection["epochs"]
        alarms: dict[str, list[int]] = {}
        for record in records:
            for text in record["alarm"]:
                alarms.setdefault(text, []).append(record["epoch"])
        found += [f"{text} (epoch {', '.join(map(str, epochs[:5]))}{' ...' if len(epochs) > 5 else ''})." for text, epochs in alarms.items()]
        if records[-1]["vetoed"]:
            chosen = run.selection["selected_epoch"]
            instead = "no epoch was selected" if chosen is None else f"checkpoint_selected.pth holds epoch {chosen}"
            found.append(f"The last epoch is vetoed ({'; '.join(records[-1]['vetoed'])}); {instead}.")
        return found
    dice = [float(value) for value in run.logged["mean_fg_dice"]]
    if dice and dice[-1] < max(dice) - 0.05:
        found.append(f"Pseudo Dice on the source ends at {dice[-1]:.3f}, {max(dice) - dice[-1]:.3f} below its best.")
    return found
