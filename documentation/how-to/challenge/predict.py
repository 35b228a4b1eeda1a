"""Images in, labels out: the entry point of a challenge's container.

Needs nnU-Net, but none of its variables, no internet and no second process; nnuda only for a model whose network is a
method's own, such as UUDS.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

CONVERTIBLE = (".mha", ".nii.gz", ".nii", ".nrrd")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", type=Path, default="/input", help="folder of images (default: /input)")
    parser.add_argument("-o", type=Path, default="/output", help="folder for labels (default: /output)")
    parser.add_argument("-m", type=Path, default="/opt/model", help="model's results folder (default: /opt/model)")
    parser.add_argument("-f", nargs="+", help="folds (default: all that are there)")
    parser.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: checkpoint_final.pth)")
    parser.add_argument(
        "-device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="default: cuda where there is a GPU, else cpu",
    )
    parser.add_argument("-step_size", type=float, default=0.5, help="of the sliding window (default: 0.5)")
    parser.add_argument("--disable_tta", action="store_true", help="no mirroring: faster, less accurate")
    return parser.parse_args()


def load_model(args: argparse.Namespace) -> nnUNetPredictor:
    folds = args.f or sorted(path.parent.name[5:] for path in args.m.glob(f"fold_*/{args.chk}"))
    if not folds or not (args.m / "plans.json").is_file():
        sys.exit(f"Expected a model in {args.m}: plans.json, dataset.json and fold_x/{args.chk}.")
    print(f"Model {args.m}, folds {' '.join(folds)}, on {args.device}", flush=True)
    predictor = nnUNetPredictor(args.step_size, use_mirroring=not args.disable_tta, device=torch.device(args.device))
    predictor.initialize_from_trained_model_folder(str(args.m), folds, args.chk)
    return predictor


def find_cases(folder: Path, endings: tuple[str, ...], channels: int) -> dict[str, list[Path]]:
    """Case -> its files: CASE_0000, CASE_0001, ... a channel; with one channel the names may all lack _0000."""
    names = {
        path: path.name.removesuffix(ending_of(path, endings))
        for path in sorted(folder.iterdir())
        if path.name.endswith(endings)
    }
    numbered = all(re.search(r"_0000$" if channels == 1 else r"_\d{4}$", name) for name in names.values())
    cases: dict[str, list[Path]] = {}
    for path, name in names.items():
        cases.setdefault(name[:-5] if numbered else name, []).append(path)
    wrong = [f"{case} has {len(files)}" for case, files in cases.items() if len(files) != channels]
    if wrong or not cases:
        sys.exit(
            f"Expected images in {folder} that end with {' or '.join(endings)}: {channels} per case, named CASE_0000, "
            f"... Found {', '.join(wrong) or sorted(path.name for path in folder.iterdir())}."
        )
    return cases


def ending_of(path: Path, endings: tuple[str, ...]) -> str:
    return next(ending for ending in endings if path.name.endswith(ending))


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
    own = predictor.dataset_json["file_ending"]
    endings = CONVERTIBLE if own in CONVERTIBLE else (own,)
    channels = predictor.dataset_json.get("channel_names", predictor.dataset_json.get("modality"))
    args.o.mkdir(parents=True, exist_ok=True)
    for case, files in find_cases(args.i, endings, len(channels)).items():
        output = args.o / (case + ending_of(files[0], endings))
        predict(predictor, files, output)
        print(f"Wrote {output}", flush=True)


if __name__ == "__main__":
    main()
