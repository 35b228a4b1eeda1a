"""What the release gates run over: every trainer that is found, and rows of further variants.

A trainer is found in `trainers/` of this repository and in every folder of `nnUNet_extTrainer`. Each has its default
variant, with all its terms on from the first step, in every gate; nothing has to be added here for it. A row adds a
variant with other settings to the gates that it names. To run the gates for one trainer: pytest -k nnUNetTrainerMine
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from documentation_pages import TRAINERS_PAGE, section

from nnuda.settings import load_preset
from nnuda.trainer_files import outside_trainers, own_trainers, preset_of

TRAINERS = [*own_trainers(), *outside_trainers()]
# Trainings through subprocesses take a minute each: these need one dimension alone.
IN_2D_ALONE = {"nnUDATrainerEntropy", "nnUDATrainerMeanTeacher", "nnUDATrainerMIC"}
GATES = ("equality", "resume", "labels", "autocast", "ranks", "cost", "graph")
TEACHER = {"teacher.weight": 1, "teacher.threshold": "class"}  # with all the state that it may have


@dataclass(frozen=True)
class Method:
    """A trainer with settings.

    Attributes:
        trainer: class name.
        settings: on top of `from_the_start`.
        configuration: of the toy's plan.
        gates: that a row is for.
    """

    trainer: str
    settings: dict = field(default_factory=dict)
    configuration: str = "2d_toy"
    gates: tuple[str, ...] = GATES


PAPER = {"training.recipe": "paper"}
ADVENT = {"entropy.adversary.weight": 0.001, "entropy.discriminator.channels": 4}
CYCLE = {"prototypes.form": "cycle", "prototypes.discriminator.channels": 4}
EVERYTHING_TMS = {"transmedseg.copy_paste.weight": 1, "transmedseg.structure.weight": 0.01}
EVERYTHING_TCSA = {
    "tcsa.fusion": True,
    "tcsa.fusion.width": 8,
    "tcsa.adversary.weight": 0.003,
    "tcsa.discriminator.channels": 4,
}
ROWS = {
    "stock": Method("nnUDATrainerSourceOnly", {"teacher.weight": 0}, gates=("resume", "labels", "ranks", "cost")),
    "teacher_predicts": Method(
        "nnUDATrainerSourceOnly", {"training.predict_with": "teacher", "training.batch": "total"}, gates=("resume",)
    ),
    "uuds_paper_optimizer_3d": Method(
        "nnUDATrainerUUDS",
        {**PAPER, "training.optimizer": "paper", "uuds.decoders": "per_domain"},
        "3d_toy",
        ("resume",),
    ),
    "uuds_paper": Method("nnUDATrainerUUDS", PAPER, gates=("labels", "autocast", "ranks", "cost", "graph")),
    "uuds_chi": Method("nnUDATrainerUUDS", {**PAPER, "uuds.pseudo_label.chi": 0.69}, gates=("labels",)),
    "mixing": Method("nnUDATrainerAdapt", {"teacher.mixing": 0.5}, gates=("resume", "labels")),
    "style": Method(
        "nnUDATrainerSourceOnly",
        {"teacher.weight": 0, "augmentation.style": "fourier", "augmentation.style_probability": 0.5},
        gates=("resume", "ranks"),
    ),
    "da5": Method("nnUDATrainerAdapt", {"training.augmentation": "da5"}, gates=("resume",)),
    "advent": Method("nnUDATrainerEntropy", ADVENT, gates=("labels", "ranks", "graph")),
    "mic_alone": Method("nnUDATrainerMIC", {"teacher.weight": 0}, "3d_toy", ("resume",)),
    "cycle": Method("nnUDATrainerPrototypes", CYCLE, gates=("labels", "cost", "graph")),
    "cycle_later": Method(
        "nnUDATrainerPrototypes", {**CYCLE, "prototypes.translated.start": 0.4}, gates=("autocast", "ranks")
    ),
    "cycle_without_teacher": Method(
        "nnUDATrainerPrototypes",
        {**CYCLE, "teacher.weight": 0, "prototypes.segmentation_adversary.start": 0.3},
        gates=("resume",),
    ),
    # not in the gate "graph": the largest components of copy-paste are found on the host
    "transmedseg_everything": Method("nnUDATrainerTransMedSeg", EVERYTHING_TMS, gates=("labels", "autocast", "ranks")),
    "transmedseg_everything_3d": Method(
        "nnUDATrainerTransMedSeg",
        {**EVERYTHING_TMS, "transmedseg.statistics.covariance": "diagonal"},
        "3d_toy",
        ("resume",),
    ),
    "transmedseg_structure": Method(
        "nnUDATrainerTransMedSeg", {"transmedseg.structure.weight": 0.01}, gates=("graph",)
    ),
    "transmedseg_to_student": Method(
        "nnUDATrainerTransMedSeg",
        {"transmedseg.tsa.direction": "teacher_to_student", "transmedseg.tsa.mode": "add"},
        gates=("labels",),
    ),
    "tcsa_everything": Method(
        "nnUDATrainerTCSA",
        {**EVERYTHING_TCSA, "tcsa.target.confidence": 0},
        gates=("labels", "autocast", "ranks", "graph"),
    ),
    "tcsa_everything_3d": Method(
        "nnUDATrainerTCSA", {**EVERYTHING_TCSA, "tcsa.target.confidence": 0}, "3d_toy", ("resume",)
    ),
}


def methods(gate: str) -> dict[str, Method]:
    """What a gate runs over, by a name that is fit for a plan's: each trainer, then the rows that are for it."""
    assert gate in GATES
    return {
        **{trainer: Method(trainer) for trainer in TRAINERS},
        **{name: row for name, row in ROWS.items() if gate in row.gates},
    }


def settings_of(method: Method) -> dict:
    """Settings for a toy training: the recommended recipe, `from_the_start` of its trainer's preset, the teacher, then
    its own."""
    return {
        "training.recipe": "recommended",
        **from_the_start(preset_of(method.trainer)),
        **TEACHER,
        **method.settings,
    }


def from_the_start(*presets: str) -> dict:
    """No term waits, and a network that has learnt nothing is sure enough: 0 for each `.start` and `.ramp`, 0.3 for
    each `.confidence`."""
    keys = {key for preset in presets for key in load_preset(preset)}
    return {
        **{key: 0 for key in keys if key.endswith((".start", ".ramp"))},
        **{key: 0.3 for key in keys if key.endswith(".confidence")},
    }


def all_off(preset: str) -> dict:
    """Every adaptation weight 0."""
    return {key: 0 for key in load_preset(preset) if key.endswith(".weight")}


def predicting_network(trainer: str) -> str | None:
    """What the table of trainers says of its test-time network; None for a trainer outside of the clone.

    Raises:
        AssertionError: one of nnuda's trainers without a row, with the line to add.
    """
    if trainer in outside_trainers():
        return None
    table = section(TRAINERS_PAGE, "Trainers")
    found = re.search(rf"^\| `{trainer}` \|.*\| ([^|]+) \|$", table, re.MULTILINE)
    assert found, (
        f'{TRAINERS_PAGE.name}, table under "## Trainers": {trainer} has no row. Add the line\n'
        f"| `{trainer}` | [METHOD](../explanation/{preset_of(trainer)}.md): what it does "
        "in a sentence | nnU-Net's |\n(last cell: \"nnU-Net's\" where a plain nnU-Net can run the trained "
        'weights, "its own; needs nnuda at prediction" where not)'
    )
    assert found[1].startswith(("nnU-Net's", "its own")), (
        f'{TRAINERS_PAGE.name}, row of {trainer}: expected a last cell that begins with "nnU-Net\'s" or "its own"; got '
        f"{found[1]!r}."
    )
    return found[1]
