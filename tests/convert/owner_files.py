"""Made-up files in the layouts of their owners, and what must come out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

SHAPE = (6, 8, 4)
RAS = np.diag([1.5, 1.5, 4.0, 1.0])
LPS = np.diag([-1.0, -1.0, 3.0, 1.0])
CORONAL = np.array([[-1.2, 0, 0, 5], [0, 0, 1.1, -7], [0, -1.3, 0, 3], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Made:
    """A case as its owner has it: arrays (x, y, z), the label in the owner's values, voxels to world (RAS, mm)."""

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    test: bool = False


def draw(values: list[int], affine: np.ndarray, seed: int, labelled: bool = True, test: bool = False) -> Made:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.resize(np.array(values), SHAPE).ravel()).reshape(SHAPE)
    return Made(rng.integers(0, 1000, SHAPE).astype(np.int16), label if labelled else None, affine, test)


def nifti(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), affine), path)


def itk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """The same grid as ITK has it: LPS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T.astype(np.int16)))
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def dicom(array: np.ndarray, affine: np.ndarray, folder: Path, names: list[str]) -> None:
    """Slices; names[i] is the file of slice i."""
    folder.mkdir(parents=True)
    image, writer = itk(array, affine), sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    d = image.GetDirection()
    for i, name in enumerate(names):
        one = image[:, :, i]
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.3",
            "0008|0018": f"1.2.3.{i + 1}",
            "0020|0032": "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, i)))),
            "0020|0037": "\\".join(map(str, (d[0], d[3], d[6], d[1], d[4], d[7]))),
            "0018|0050": str(image.GetSpacing()[2]),
        }
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / name))
        writer.Execute(one)


Pair = dict[str, dict[str, Made]]  # domain -> case -> what it is


def _both(root: Path, made: Made, image: str, label: str) -> Made:
    nifti(made.image, made.affine, root / image)
    if made.label is not None:
        nifti(made.label, made.affine, root / label)
    return made


def mscmr(root: Path) -> Pair:
    values, pair = [0, 200, 500, 600], {"bssfp": {}, "lge": {}}
    images = root / "C0LET2_nii45_for_challenge19"
    for i in (1, 2, 7):
        pair["bssfp"][f"patient{i}"] = _both(
            images, draw(values, RAS, i), f"c0t2lge/patient{i}_C0.nii.gz", f"c0gt/patient{i}_C0_manual.nii.gz"
        )
        place = "lgegt" if i < 6 else "../C0LET2_gt_for_challenge19/LGE_manual_35_TestData"
        pair["lge"][f"patient{i}"] = _both(
            images, draw(values, LPS, i), f"c0t2lge/patient{i}_LGE.nii.gz", f"{place}/patient{i}_LGE_manual.nii.gz"
        )
    pair["lge"]["patient40"] = _both(images, draw(values, LPS, 3, False), "c0t2lge/patient40_LGE.nii.gz", "")
    nifti(np.zeros(SHAPE), RAS, images / "c0t2lge" / "patient1_T2.nii.gz")  # not used
    nifti(np.zeros(SHAPE), RAS, images / "c0t2lge" / "patient36_C0.nii.gz")  # a test patient, without a label here
    return pair


def mscmr_varda(root: Path) -> Pair:
    values, pair = [0, 200, 500, 600], {"bssfp": {}, "lge": {}}
    for i in (1, 6):
        for domain, folder, affine in (
            ("bssfp", "C0", np.diag([1.25, 1.25, 8, 1])),
            ("lge", "LGE", np.diag([0.75, 0.75, 5, 1])),
        ):
            name = f"Dataset/Patch192/{folder}/patient{i}_{folder}"
            pair[domain][f"patient{i}"] = _both(
                root, draw(values, affine, i), f"{name}.nii.gz", f"{name}_manual.nii.gz"
            )
    return pair


def mmwhs(root: Path) -> Pair:
    values = [0, 205, 420, 421, 500, 550, 600, 820, 850]
    pair: Pair = {"ct": {}, "mr": {}}
    for domain, test, affine in (("ct", 1003, LPS), ("mr", 1007, CORONAL)):
        for number in (1001, 1002, test):
            name = f"{domain}_train_{number}"
            pair[domain][name] = _both(
                root / f"{domain}_train",
                draw(values, affine, number, test=number == test),
                f"{name}_image.nii.gz",
                f"{name}_label.nii.gz",
            )
    nifti(np.zeros(SHAPE), RAS, root / "ct_test" / "ct_test_2001_image.nii.gz")  # without labels: not used
    return pair


def chaos_btcv(root: Path) -> Pair:
    pair: Pair = {"btcv": {}, "chaos": {}}
    for i in (1, 2):
        pair["btcv"][f"btcv_{i:04d}"] = _both(
            root / "RawData" / "Training",
            draw(list(range(14)), RAS, i),
            f"img/img{i:04d}.nii.gz",
            f"label/label{i:04d}.nii.gz",
        )
        made = draw([0, 63, 126, 189, 252], LPS @ np.diag([1, 1, -1, 1]), 10 + i)
        folder = root / "Train_Sets" / "MR" / str(i) / "T2SPIR"
        names = [f"IMG-0004-{number:05d}" for number in (3, 1, 4, 2)]
        dicom(made.image, made.affine, folder / "DICOM_anon", [name + ".dcm" for name in names])
        (folder / "Ground").mkdir()
        for z, name in enumerate(names):
            mask = sitk.GetImageFromArray(made.label[:, :, z].T.astype(np.uint8))
            sitk.WriteImage(mask, str(folder / "Ground" / f"{name}.png"))
        pair["chaos"][f"chaos_{i}"] = made
    return pair


def crossmoda(root: Path) -> Pair:
    pair: Pair = {"cet1": {}, "hrt2": {}}
    for i in (1, 2):
        name = f"crossmoda2021_ldn_{i}"
        pair["cet1"][name] = _both(
            root / "crossmoda2022_training" / "training_source",
            draw([0, 1, 2], RAS, i),
            f"{name}_ceT1.nii.gz",
            f"{name}_Label.nii.gz",
        )
        for folder, number, test in (("training_target", 105 + i, False), ("validation", 210 + i, True)):
            name = f"crossmoda2021_ldn_{number}"
            made = draw([0], LPS, number, False, test)
            pair["hrt2"][name] = _both(root / folder, made, f"{name}_hrT2.nii.gz", "")
    return pair


def brats(root: Path) -> Pair:
    pair: Pair = {"t2": {}, "flair": {}}
    for i in range(4):
        name = f"Brats18_TCIA_{i}_1"
        folder = root / "training" / ("HGG" if i else "LGG") / name
        for channel in ("t1", "t1ce", "t2", "flair"):
            made = draw([0, 1, 2, 4], LPS, i)
            _both(folder, made, f"{name}_{channel}.nii.gz", f"{name}_seg.nii.gz")
            if channel == ("t2", "flair")[i % 2]:
                pair[channel][name] = made
    return pair


def amos(root: Path) -> Pair:
    pair: Pair = {"ct": {}, "mr": {}}
    for number, folder in ((1, "Tr"), (500, "Tr"), (20, "Va"), (507, "Tr"), (600, "Tr"), (540, "Va")):
        domain, name = "ct" if number <= 500 else "mr", f"amos_{number:04d}"
        pair[domain][name] = _both(
            root / "amos22",
            draw(list(range(16)), RAS if domain == "ct" else CORONAL, number, test=folder == "Va"),
            f"images{folder}/{name}.nii.gz",
            f"labels{folder}/{name}.nii.gz",
        )
    nifti(np.zeros(SHAPE), RAS, root / "amos22" / "imagesTs" / "amos_0700.nii.gz")
    return pair


def prostate(root: Path) -> Pair:
    pair: Pair = {"runmc": {}, "bmc": {}}
    for domain, prefix, suffixes in (
        ("runmc", "Prostate3T", ("", "_truth")),
        ("bmc", "ProstateDx", ("_correctedLabels", "")),
    ):
        collection = root / "manifest-1" / ("Prostate-3T" if domain == "runmc" else "PROSTATE-DIAGNOSIS")
        for i, suffix in enumerate(suffixes, 1):
            name, made = f"{prefix}-01-{i:04d}", draw([0, 1, 2], LPS, i)
            dicom(
                made.image, made.affine, collection / name / "1.3.6" / "1.3.6.1", ["2.dcm", "1.dcm", "4.dcm", "3.dcm"]
            )
            turned = itk(made.label, made.affine)[:, :, ::-1]  # the same place, stored from the other end
            (root / "Training").mkdir(exist_ok=True)
            sitk.WriteImage(turned, str(root / "Training" / f"{name}{suffix}.nrrd"))
            pair[domain][name] = made
    return pair


def promise(root: Path) -> Pair:
    pair: Pair = {"ucl": {}, "bidmc": {}}
    for number, domain in ((1, "ucl"), (26, "ucl"), (0, "bidmc"), (12, "bidmc"), (13, None)):
        name, made = f"Case{number:02d}", draw([0, 1], LPS, number)
        folder = root / "TrainingData_Part1"
        folder.mkdir(exist_ok=True)
        sitk.WriteImage(itk(made.image, made.affine), str(folder / f"{name}.mhd"))
        sitk.WriteImage(itk(made.label, made.affine), str(folder / f"{name}_segmentation.mhd"))
        if domain:
            pair[domain][name] = made
    return pair


def mms(root: Path) -> Pair:
    pair, lines = {"a": {}, "b": {}}, [",External code,VendorName,Vendor,Centre,ED,ES"]
    for i, (vendor, place) in enumerate(
        (("A", "Training/Labeled"), ("B", "Training/Labeled"), ("C", "Training/Unlabeled"), ("B", "Testing"))
    ):
        patient, ed, es = f"A{i}S9V9", 2, i % 2
        lines.append(f"{i},{patient},some,{vendor},1,{ed if vendor != 'C' else ''},{es if vendor != 'C' else ''}")
        frames = [draw([0, 1, 2, 3], RAS, 10 * i + t, test=place == "Testing") for t in range(3)]
        for array, ending in (("image", "_sa"), ("label", "_sa_gt")):
            volume = np.stack([getattr(frame, array) for frame in frames], -1)
            nifti(volume, RAS, root / "OpenDataset" / place / patient / f"{patient}{ending}.nii.gz")
        if vendor != "C":
            pair[vendor.lower()].update({f"{patient}_ED": frames[ed], f"{patient}_ES": frames[es]})
    table = root / "OpenDataset" / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
    table.write_text("\n".join(lines) + "\n")
    return pair


def flare(root: Path) -> Pair:
    pair: Pair = {"ct": {}, "mr": {}}
    for i in (1, 2):
        name = f"FLARE22_Tr_{i:04d}"
        folder, values = root / "train_CT_gt_label", list(range(14))
        pair["ct"][name] = _both(
            folder, draw(values, LPS, i), f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"
        )
        name = f"amos_{7000 + i}"
        made = draw(values, CORONAL, i, False)
        pair["mr"][name] = _both(root / "train_MRI_unlabeled" / "part", made, f"{name}_0000.nii.gz", "")
        name = f"amos_{7200 + i}"
        made = draw(values, CORONAL, 20 + i, test=True)
        pair["mr"][name] = _both(
            root / "validation", made, f"MRI_imagesVal/{name}_0000.nii.gz", f"MRI_labelsVal/{name}.nii.gz"
        )
    return pair


# what the owner's values are called, written down a second time
HEART = {200: "myocardium", 500: "left ventricle", 600: "right ventricle"}
WHOLE_HEART = {205: "myocardium", 420: "left atrium", 421: "left atrium", 500: "left ventricle", 820: "ascending aorta"}
NAMES = "spleen,right kidney,left kidney,gallbladder,esophagus,liver,stomach,aorta,inferior vena cava,pancreas,right adrenal gland,left adrenal gland,duodenum"
AMOS = dict(enumerate(NAMES.split(","), 1))
FLARE = dict(
    enumerate(
        "liver,right kidney,spleen,pancreas,aorta,inferior vena cava,right adrenal gland,left adrenal gland,gallbladder,"
        "esophagus,stomach,duodenum,left kidney".split(","),
        1,
    )
)


@dataclass(frozen=True)
class Example:
    """A collection's made-up files, and the meaning of their values by domain."""

    collection: str
    source: str
    target: str
    make: Callable[[Path], Pair]
    meaning: dict[str, dict[int, str]]


def _same(collection: str, source: str, target: str, make: Callable[[Path], Pair], meaning: dict[int, str]) -> Example:
    return Example(collection, source, target, make, {source: meaning, target: meaning})


EXAMPLES = [
    _same("mscmr", "bssfp", "lge", mscmr, HEART),
    _same("mscmr-varda", "bssfp", "lge", mscmr_varda, HEART),
    _same("mmwhs", "mr", "ct", mmwhs, WHOLE_HEART),
    _same("mmwhs", "ct", "mr", mmwhs, WHOLE_HEART),
    Example(
        "chaos-btcv",
        "btcv",
        "chaos",
        chaos_btcv,
        {
            "btcv": {1: "spleen", 2: "right kidney", 3: "left kidney", 6: "liver"},
            "chaos": {63: "liver", 126: "right kidney", 189: "left kidney", 252: "spleen"},
        },
    ),
    _same("crossmoda", "cet1", "hrt2", crossmoda, {1: "vestibular schwannoma", 2: "cochlea"}),
    _same("brats", "t2", "flair", brats, {1: "non-enhancing tumor core", 2: "edema", 4: "enhancing tumor"}),
    _same("amos", "ct", "mr", amos, AMOS),
    _same("prostate", "runmc", "bmc", prostate, {1: "prostate", 2: "prostate"}),
    _same("prostate", "ucl", "bidmc", promise, {1: "prostate"}),
    _same("mms", "a", "b", mms, {1: "left ventricle", 2: "myocardium", 3: "right ventricle"}),
    _same("flare", "ct", "mr", flare, FLARE),
]
