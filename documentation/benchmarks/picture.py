"""Draws the picture of the README from what nnUDA_demo left: python documentation/benchmarks/picture.py nnuda_demo

Two test cases of the target, the first ones, whatever came out: source, target, and the predictions of three trainings,
with the Dice of that image. The images are drawn: those of the benchmarks may not be passed on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnuda.evaluation.comparison import read_result
from nnuda.evaluation.overlay import Slice, class_colours, draw_panel, read_slice
from nnuda.evaluation.reading import find_reader
from nnuda.results import read_dataset_json

OUTPUT = Path(__file__).parents[1] / "pictures" / "adaptation.png"
TITLES = {
    "source-only": "source-only",
    "strong": "strong augmentation",
    "adapted": "nnUDATrainerAdapt",
    "one-piece": "… in one piece",
}
CASES = 2


def read(image: Path, labels: dict[str, Path], dataset_json: dict) -> Slice:
    reader = find_reader(dataset_json, None, str(image))
    allowed = list(dataset_json["labels"].values())
    return read_slice(str(image), {name: str(file) for name, file in labels.items()}, reader, allowed)


def case_dice(scores: dict, case: str) -> float:
    """Mean over the classes."""
    return float(np.mean([values["Dice"] for values in scores["per_case"][case].values()]))


def draw(demo: Path, output: Path, cases: int = CASES) -> list[list[str]]:
    """The picture.

    Args:
        demo: folder of nnUDA_demo.
        output: .png to write.
        cases: rows.

    Returns:
        What stands below the panels of each row.
    """
    source, target = (demo / "nnUNet_raw" / name for name in ("Dataset901_DemoSource", "Dataset902_DemoTarget"))
    dataset_json = read_dataset_json(str(source / "dataset.json"))
    regions = {name: label for name, label in dataset_json["labels"].items() if label}
    scores = {row: read_result(str(demo / "predictions" / row)) for row in TITLES}
    figure = Figure(figsize=(11.4, 2.05 * cases + 0.6), layout="constrained")
    grid, texts = figure.subplots(cases, 2 + len(TITLES), squeeze=False), []
    for row, case in zip(grid, sorted(scores["adapted"]["per_case"])):
        labels = {name: demo / "predictions" / name / f"{case}.png" for name in TITLES}
        labels = {"reference": demo / "target_labels" / f"{case}.png", **labels}
        of_source = read(
            source / "imagesTr" / f"{case}_0000.png", {"labels": source / "labelsTr" / f"{case}.png"}, dataset_json
        )
        of_target = read(target / "imagesTs" / f"{case}_0000.png", labels, dataset_json)
        texts.append(["its labels", "no labels", *(f"Dice {case_dice(scores[name], case):.2f}" for name in TITLES)])
        panels = [(of_source, "labels", None), (of_target, None, None), *((of_target, n, "reference") for n in TITLES)]
        for axes, (view, solid, dotted), text in zip(row, panels, texts[-1]):
            draw_panel(axes, view, regions, class_colours(list(regions)), solid, dotted)
            axes.set_xlabel(text, fontsize=10)
    for axes, title in zip(grid[0], ("source", "target", *TITLES.values())):
        axes.set_title(title, fontsize=11)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in class_colours(list(regions)).items()]
    handles.append(Line2D([], [], color="0.4", linestyle="dotted", label="dotted: true outline"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=10)
    output.parent.mkdir(exist_ok=True)
    figure.savefig(output, dpi=110, bbox_inches="tight", pad_inches=0.1)
    return texts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder that nnUDA_demo made")
    parser.add_argument("-o", type=Path, default=OUTPUT, help="default: documentation/pictures/adaptation.png")
    arguments = parser.parse_args()
    draw(arguments.demo, arguments.o)
