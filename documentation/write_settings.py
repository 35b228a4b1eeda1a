"""Writes reference/settings.md from the presets in plans/. Run it after a change to one of them: python documentation/write_settings.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnuda.find_trainer import find_trainer
from nnuda.settings import allowed, load_preset, own_preset_names
from nnuda.trainer_files import BASE, own_trainers

PAGE = Path(__file__).parent / "reference" / "settings.md"
INTRODUCTION = """\
<!-- Written by documentation/write_settings.py from plans/*.json. Change those, not this page. -->
# Settings

Every hyper-parameter has one place: the presets in `plans/`. `base.json` holds what all trainers share, `<method>.json` what a method adds or changes.
Another value is given when a plan is made or copied, with `--set key=value` (repeatable):

<!-- not run: an example; the arguments are checked -->
```bash
nnUDA_configure -d 501 -p nnUNetPlans --as nnUNetPlans_strong --set training.augmentation=strong
```

- A value is JSON: `1`, `0.5`, `true`, `null`, `"text"`. A bare word is taken as text.
- `nnUDA_configure --list -tr TRAINER` prints a trainer's settings; with `-d` those of a plan.
- An unknown key is an error that names the nearest known key. So is a value that a key cannot take.
- `nnUDA_configure` adds to the settings of the plan that it copies. `nnUDA_plan_and_preprocess --set` replaces those of the plan; without `--set` they stay.
- A plan may carry settings of several methods. A trainer reads the common ones and its own.
- `training.recipe` gives many settings another default at once: `paper` is each method as published, on nnU-Net's augmentation. See [nnUDATrainerAdapt](../explanation/adapt.md).
- A loss term whose weight is 0 is not computed. With all weights 0 no step reads a target image, and each is nnU-Net's
  (on strongly augmented images with `training.augmentation=strong`). Target patches are still [scored](../explanation/selection.md) after each epoch.
- The values that a training ran with lie in its results folder, see [the plan's key](plan-key.md). They never change after the start.

"Share of the training" is counted in epochs: 0.1 of 1000 epochs is 100 epochs.
What the recommended recipe starts at 0.25 starts later in a training of fewer than 1600 steps: after 400 of them, or at 0.6 of the training where that comes first; not where it starts from a trained model (`training.init_from`). A start that you give stays.
"""


def per_preset(key: str, show) -> str:
    """What `show` makes of a setting's entry; where a method's differs from the base's, that too."""
    owners = [name for name in (BASE, *own_preset_names()) if key in load_preset(name)]
    first, *others = [(name, show(load_preset(name)[key])) for name in owners]
    return "; ".join([first[1], *(f"{name}: {text}" for name, text in others if text != first[1])])


def default(entry: dict[str, Any]) -> str:
    """The value, and the one under `training.recipe=paper` where it is another."""
    value, paper = (json.dumps(entry.get(field, entry["value"])).replace('"', "") for field in ("value", "paper"))
    return f"`{value}`" if value == paper else f"`{value}` (paper: `{paper}`)"


def row(key: str) -> str:
    """A setting's line of the table."""
    cells = [
        f"`{key}`",
        per_preset(key, default),
        per_preset(key, lambda entry: allowed(entry["schema"], "`")),
        per_preset(key, lambda entry: entry["help"]),
        per_preset(key, lambda entry: entry["source"]),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(title: str, text: str, keys: list[str]) -> str:
    """A section with the settings of one preset."""
    head = "| Key | Default | Allowed | What it does | Where the value comes from |\n|---|---|---|---|---|"
    return "\n".join([f"\n## {title}", "", text, "", head, *map(row, keys)]) + "\n"


def settings_page() -> str:
    """The content of reference/settings.md."""
    base = list(load_preset(BASE))
    page = INTRODUCTION + table(
        "Common to all trainers (`plans/base.json`)", "A method's own default stands behind its preset's name.", base
    )
    for name in own_preset_names():
        added = [key for key in load_preset(name) if key not in base]
        trainers = ", ".join(f"`{trainer}`" for trainer in own_trainers() if find_trainer(trainer).preset == name)
        if added:
            page += table(f"{trainers} (`plans/{name}.json`)", "Read by this trainer alone.", added)
    return page


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
