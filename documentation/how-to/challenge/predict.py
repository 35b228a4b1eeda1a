"""Images in, labels out: the entry point of a challenge's container.

Needs nnU-Net, but none of its variables, no internet and no second process; nnuda only for a model whose network is a
method's own, such as UUDS.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

VOLUMES = (".mha", ".nii.gz", ".nii", ".nrrd")  # rewritten one as another; the model may be trained with any
PICTURES = (".png", ".tif", ".tiff", ".mha")  # the same for 2D; no JPEG, which changes labels
RGB_READER = "NaturalImage2DIO"  # of nnU-Net: a file holds several channels


@dataclass(frozen=True)
class Layout:
    """What a challenge calls its files.

    Attributes:
        inputs, outputs, model: folders.
        image: regular expression of an image's name without its ending, whose group is the case; "": any name, as
            nnU-Net's with several channels.
        label: name of the label, without the ending.
        endings: of images, where the challenge has no others; none: any that the model can be given.
    """

    inputs: str = "/input"
    outputs: str = "/output"
    model: str = "/opt/model"
    image: str = ""
    label: str = "{}"
    endings: tuple[str, ...] = ()


SOCKETS = "grand-challenge"  # images in folders of their own, one case a job
LAYOUTS = {
    "folder": Layout(),
    SOCKETS: Layout(model="/opt/ml/model", endings=(".mha", ".tif", ".tiff")),
    "crossmoda": Layout(image=r"(.+)_hrT2", label="{}_Label", endings=(".nii.gz",)),
    "crossmoda-2023": Layout(image=r"(.+)_T2", endings=(".nii.gz",)),
    "flare": Layout("/workspace/inputs", "/workspace/outputs", image=r"(.+)_0000", endings=(".nii.gz",)),
}


@dataclass(frozen=True)
class Case:
    """Files of a case, one a channel or one with all, and where its label goes."""

    files: list[Path]
    output: Path


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=LAYOUTS, default="folder", help="whose names and folders (default: folder)")
    parser.add_argument("-i", type=Path, metavar="FOLDER", help="images (default: of the layout, such as /input)")
    parser.add_argument("-o", type=Path, metavar="FOLDER", help="for labels (default: of the layout, such as /output)")
    parser.add_argument("-m", type=Path, metavar="FOLDER", help="model's results folder, or one above it")
    parser.add_argument("--images", nargs="+", metavar="SLUG", help="grand-challenge: input sockets, one a channel")
    parser.add_argument("--label", metavar="SLUG", help="grand-challenge: output socket")
    parser.add_argument("-f", nargs="+", help="folds (default: all that are there)")
    parser.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: checkpoint_final.pth)")
    parser.add_argument(
        "-device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="default: cuda where there is a GPU, else cpu",
    )
    parser.add_argument("-step_size", type=float, default=0.5, help="of the sliding window (default: 0.5)")
    parser.add_argument("--disable_tta", action="store_true", help="no mirroring: faster, less accurate")
    args = parser.parse_args()
    layout = LAYOUTS[args.layout]
    args.i, args.o = args.i or Path(layout.inputs), args.o or Path(layout.outputs)
    args.m = args.m or Path(layout.model)
    if args.layout == SOCKETS and not args.label:
        parser.error("--layout grand-challenge: name the output socket with --label SLUG")
    return args


# ---- the model ------------------------------------------------------------------------------------------------------


def find_model(folder: Path) -> Path:
    """The folder with plans.json: this one, or the only one below it, as archives unpack."""
    if (folder / "plans.json").is_file():
        return folder
    found = sorted({path.parents[1] for path in folder.rglob("fold_*/*.pth")})
    return found[0] if len(found) == 1 else folder


def load_model(args: argparse.Namespace) -> nnUNetPredictor:
    folder = find_model(args.m)
    folds = args.f or sorted(path.parent.name[5:] for path in folder.glob(f"fold_*/{args.chk}"))
    if not folds or not (folder / "plans.json").is_file():
        sys.exit(f"Expected a model in {args.m}: plans.json, dataset.json and fold_x/{args.chk}.")
    print(f"Model {folder}, folds {' '.join(folds)}, on {args.device}", flush=True)
    predictor = nnUNetPredictor(args.step_size, use_mirroring=not args.disable_tta, device=torch.device(args.device))
    predictor.initialize_from_trained_model_folder(str(folder), folds, args.chk)
    return predictor


def endings_of(predictor: nnUNetPredictor, layout: Layout) -> tuple[str, ...]:
    """Endings of the images that the layout has and the model can be given."""
    own = predictor.dataset_json["file_ending"]
    rgb = reads_rgb(predictor) and own in PICTURES
    alike = VOLUMES if own in VOLUMES else PICTURES if rgb else (own,)
    endings = tuple(ending for ending in alike if ending in (layout.endings or alike))
    if not endings:
        sys.exit(f"Expected a model of {' or '.join(layout.endings)}, which the layout has; this one reads {own}.")
    return endings


def reads_rgb(predictor: nnUNetPredictor) -> bool:
    return predictor.plans_manager.image_reader_writer_class.__name__ == RGB_READER


# ---- the cases ------------------------------------------------------------------------------------------------------


def ending_of(path: Path, endings: tuple[str, ...]) -> str:
    return next((ending for ending in endings if path.name.endswith(ending)), "")


def find_cases(folder: Path, endings: tuple[str, ...], channels: int, rgb: bool = False) -> dict[str, list[Path]]:
    """Case -> its files: CASE_0000, CASE_0001, ... a channel; with one file a case the names may all lack _0000.

    Args:
        folder, endings: of the images.
        channels: of the model.
        rgb: a single file may hold them all.
    """
    names = {
        path: path.name.removesuffix(ending_of(path, endings))
        for path in sorted(folder.iterdir())
        if path.name.endswith(endings)
    }
    single = channels == 1 or (rgb and not any(re.search(r"_000[1-9]$", name) for name in names.values()))
    numbered = all(re.search(r"_0000$" if single else r"_\d{4}$", name) for name in names.values())
    cases: dict[str, list[Path]] = {}
    for path, name in names.items():
        cases.setdefault(name[:-5] if numbered else name, []).append(path)
    expected = 1 if single else channels
    wrong = [f"{case} has {len(files)}" for case, files in cases.items() if len(files) != expected]
    if wrong or not cases:
        sys.exit(
            f"Expected images in {folder} that end with {' or '.join(endings)}: {expected} per case, named CASE_0000, "
            f"... Found {', '.join(wrong) or sorted(path.name for path in folder.iterdir())}."
        )
    return cases


def named_cases(folder: Path, layout: Layout, endings: tuple[str, ...]) -> dict[str, list[Path]]:
    """Case -> its only file, by the layout's names."""
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(endings))
    found = {name: re.fullmatch(layout.image, name.removesuffix(endings[0])) for name in names}
    wrong = [name for name, match in found.items() if match is None]
    if wrong or not found:
        wanted = layout.image.replace("(.+)", "CASE") + endings[0]
        sys.exit(f"Expected images in {folder} that are named {wanted}. Found {', '.join(wrong) or 'none'}.")
    return {match[1]: [folder / name] for name, match in found.items()}


def socket_folders(inputs: Path, slugs: list[str] | None, channels: int) -> list[Path]:
    """grand-challenge: folders of the images, one a channel; those of inputs.json where there is one."""
    listed = inputs / "inputs.json"
    if listed.is_file():
        sockets = [entry["interface"] for entry in json.loads(listed.read_text())]
        found = {socket["slug"]: inputs / socket["relative_path"] for socket in sockets if "image" in kind(socket)}
    else:
        found = {path.name: path for path in sorted((inputs / "images").glob("*")) if path.is_dir()}
    chosen = slugs or (list(found) if len(found) == 1 else [])
    if not chosen or any(slug not in found for slug in chosen):
        sys.exit(
            f"Expected in {inputs} the image sockets {' '.join(slugs or []) or 'of the model'}, {channels} channel(s); "
            f"found {', '.join(found) or 'none'}. Name them in the order of the model's channels: --images SLUG ..."
        )
    return [found[slug] for slug in chosen]


def kind(socket: dict) -> str:
    return str(socket.get("super_kind", "")).lower()


def socket_case(args: argparse.Namespace, endings: tuple[str, ...], channels: int) -> Case:
    """grand-challenge: the job's only case. Its label is called as the first image."""
    files = []
    for folder in socket_folders(args.i, args.images, channels):
        images = sorted(path for path in folder.glob("*") if path.name.endswith(endings))
        if len(images) != 1:
            names = ", ".join(path.name for path in sorted(folder.glob("*"))) or "none"
            sys.exit(f"Expected one image in {folder} that ends with {' or '.join(endings)}; found {names}.")
        files += images
    return Case(files, args.o / "images" / args.label / files[0].name)


def list_cases(args: argparse.Namespace, predictor: nnUNetPredictor) -> list[Case]:
    """Every case of the inputs, checked."""
    layout, channels = LAYOUTS[args.layout], channels_of(predictor)
    endings = endings_of(predictor, layout)
    if not args.i.is_dir():
        sys.exit(f"Expected images in the folder {args.i}, which is not there.")
    if args.layout == SOCKETS:
        cases = [socket_case(args, endings, channels)]
    else:
        found = (
            named_cases(args.i, layout, endings)
            if layout.image
            else find_cases(args.i, endings, channels, reads_rgb(predictor))
        )
        cases = [
            Case(files, args.o / (layout.label.format(case) + ending_of(files[0], endings)))
            for case, files in found.items()
        ]
    for case in cases:
        check_channels(case.files, channels, flat=reads_rgb(predictor))
    return cases


def channels_of(predictor: nnUNetPredictor) -> int:
    return len(predictor.dataset_json.get("channel_names", predictor.dataset_json.get("modality")))


def check_channels(files: list[Path], channels: int, flat: bool = False) -> None:
    """As many values a voxel as the model has channels, all of one size; `flat`: in 2D."""
    if not all(path.name.endswith((*VOLUMES, *PICTURES)) for path in files):
        return  # a format that nnU-Net alone reads
    held, sizes = 0, set()
    for path in files:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            sys.exit(f"{path}: expected an image; it cannot be read.")
        size = reader.GetSize()
        held += reader.GetNumberOfComponents() * (size[3] if len(size) > 3 else 1)
        sizes.add(size)
    names, found = ", ".join(path.name for path in files), " and ".join(map(str, sorted(sizes)))
    if held != channels:
        sys.exit(f"{names}: expected {channels} channel(s), as the model has; found {held} value(s) a voxel.")
    if len(sizes) > 1 or (flat and len(max(sizes)) != 2):
        sys.exit(f"{names}: expected {'2D images' if flat else 'images'} of one size; found {found}.")


# ---- prediction -----------------------------------------------------------------------------------------------------


def convert(source: Path, destination: Path, geometry: Path | None = None) -> None:
    """Rewrite an image in another format; its place in space is that of `geometry`, exactly."""
    image = sitk.ReadImage(str(source))
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)  # the other format warns of what it cannot keep
    if geometry is not None:
        image.CopyInformation(sitk.ReadImage(str(geometry)))
    sitk.WriteImage(image, str(destination), useCompression=True)


def predict(predictor: nnUNetPredictor, files: list[Path], output: Path) -> None:
    """Labels of one case, in the format and geometry of its first file."""
    ending = predictor.dataset_json["file_ending"]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = [
            path if path.name.endswith(ending) else Path(folder, f"image_{channel:04d}{ending}")
            for channel, path in enumerate(files)
        ]
        for path, converted in zip(files, inputs):
            if path != converted:
                convert(path, converted)
        predictor.predict_from_files_sequential([[str(path) for path in inputs]], [f"{folder}/labels"])
        if output.name.endswith(ending):
            shutil.copyfile(f"{folder}/labels{ending}", output)
        else:
            convert(Path(f"{folder}/labels{ending}"), output, geometry=files[0])


def main() -> None:
    args = read_arguments()
    predictor = load_model(args)
    for case in list_cases(args, predictor):
        predict(predictor, case.files, case.output)
        print(f"Wrote {case.output}", flush=True)


if __name__ == "__main__":
    main()
