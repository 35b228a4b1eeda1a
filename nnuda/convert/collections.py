"""The collections that can be converted. Facts about the layouts are from the owners' pages and from public programs
that read them; documentation/how-to/convert-public-datasets.md says what is left out, and why."""

from __future__ import annotations

from nnuda.convert.description import Collection, Domain, Part, Repair, Table

ORGANS = (  # in the order of both AMOS' and FLARE's papers; the numbers differ
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
)


def _numbered(names: tuple[str, ...]) -> dict[str, int]:
    return {"background": 0, **{name: i for i, name in enumerate(names, 1)}}


def _patients(first: int, last: int) -> frozenset[str]:
    return frozenset(f"patient{i}" for i in range(first, last + 1))


# ---- MS-CMRSeg 2019 ---------------------------------------------------------------------------------------------------

_MSCMR_CLASSES = {"background": 0, "myocardium": 1, "left ventricle": 2, "right ventricle": 3}
_MSCMR_VALUES = {0: 0, 200: 1, 500: 2, 600: 3}
_MSCMR_SPLIT = {"validation": _patients(1, 5), "test": _patients(6, 45)}
_MSCMR_CITATION = "Zhuang, IEEE TPAMI 41(12), 2019; Zhuang et al., Medical Image Analysis 81, 2022"

MSCMR = Collection(
    title="MS-CMRSeg 2019: cardiac MR, bSSFP to LGE",
    download="https://zmiclab.github.io/zxh/0/mscmrseg19, after registration: unpack C0LET2_nii45_for_challenge19, and "
    "C0LET2_gt_for_challenge19 where you have the test labels",
    classes=_MSCMR_CLASSES,
    domains={
        "bssfp": Domain(
            dataset="MSCMR_bSSFP",
            channel="bSSFP MR",
            parts=(
                Part(
                    "**/c0t2lge/{case}_C0.nii.gz",
                    ("**/c0gt/{case}_C0_manual.nii.gz",),
                    case=r"patient\d+",
                    cases=_patients(1, 35),
                ),
            ),
            values=_MSCMR_VALUES,
        ),
        "lge": Domain(
            dataset="MSCMR_LGE",
            channel="LGE MR",
            parts=(
                Part(
                    "**/c0t2lge/{case}_LGE.nii.gz",
                    ("**/lgegt/{case}_LGE_manual.nii.gz", "**/LGE_manual_35_TestData/{case}_LGE_manual.nii.gz"),
                    case=r"patient\d+",
                    unlabelled=True,
                ),
            ),
            values=_MSCMR_VALUES,
            split=_MSCMR_SPLIT,
        ),
    },
    source="bssfp",
    target="lge",
    split="the challenge's: 35 labelled bSSFP patients, LGE of all 45 without labels (transductive), patients 1 to 5 "
    "for validation, the others for the test",
    licence="for research, after registration with the organisers",
    citation=_MSCMR_CITATION,
    orientation=None,
    configuration="2d",
)

MSCMR_VARDA = Collection(
    title="MS-CMRSeg 2019 as the crops of VarDA: cardiac MR, bSSFP to LGE",
    download="https://github.com/FupingWu90/VarDA: its folder Dataset",
    classes=_MSCMR_CLASSES,
    domains={
        "bssfp": Domain(
            dataset="MSCMR_bSSFP",
            channel="bSSFP MR",
            parts=(Part("**/C0/{case}_C0.nii.gz", ("**/C0/{case}_C0_manual.nii.gz",), case=r"patient\d+"),),
            values=_MSCMR_VALUES,
            repair=Repair(1.0, 0.6, "the crops were resampled by 1/0.6 in plane, their headers were not"),
        ),
        "lge": Domain(
            dataset="MSCMR_LGE",
            channel="LGE MR",
            parts=(
                Part(
                    "**/LGE/{case}_LGE.nii.gz",
                    ("**/LGE/{case}_LGE_manual.nii.gz",),
                    case=r"patient\d+",
                    unlabelled=True,
                ),
            ),
            values=_MSCMR_VALUES,
            split=_MSCMR_SPLIT,
        ),
    },
    source="bssfp",
    target="lge",
    split="VarDA's: LGE of all 45 patients without labels (transductive), patients 1 to 5 for validation, the others for "
    "the test",
    licence="the repository's is MIT; the images are MS-CMRSeg's, for research",
    citation=f"Wu and Zhuang, IEEE TMI 40(12), 2021; {_MSCMR_CITATION}",
    orientation=None,
    configuration="2d",
)

# ---- MM-WHS 2017 ------------------------------------------------------------------------------------------------------

_MMWHS_VALUES = {0: 0, 205: 1, 420: 2, 421: 2, 500: 3, 820: 4, 550: 0, 600: 0, 850: 0}


def _mmwhs(modality: str, channel: str, test: tuple[int, ...]) -> Domain:
    return Domain(
        dataset=f"MMWHS_{modality.upper()}",
        channel=channel,
        parts=(Part("**/{case}_image.nii.gz", ("**/{case}_label.nii.gz",), case=rf"{modality}_train_\d+"),),
        values=_MMWHS_VALUES,
        test=frozenset(f"{modality}_train_{i}" for i in test),
    )


MMWHS = Collection(
    title="MM-WHS 2017: whole heart, MR to CT or back",
    download="https://zmiclab.github.io/zxh/0/mmwhs, after registration: unpack ct_train and mr_train",
    classes={"background": 0, "myocardium": 1, "left atrium": 2, "left ventricle": 3, "ascending aorta": 4},
    domains={
        "ct": _mmwhs("ct", "CT", (1003, 1008, 1014, 1019)),
        "mr": _mmwhs("mr", "MR", (1007, 1009, 1018, 1019)),
    },
    source="mr",
    target="ct",
    split="that of SIFA and its successors: CT 1003, 1008, 1014, 1019 and MR 1007, 1009, 1018, 1019 are held out",
    licence="for research, after registration with the organisers",
    citation="Zhuang and Shen, Medical Image Analysis 31, 2016; Zhuang et al., Medical Image Analysis 58, 2019",
)

# ---- abdomen ----------------------------------------------------------------------------------------------------------

CHAOS_BTCV = Collection(
    title="BTCV and CHAOS: abdomen, CT to T2-SPIR MR",
    download="https://www.synapse.org/Synapse:syn3193805 (RawData.zip of the abdomen) and "
    "https://chaos.grand-challenge.org (CHAOS_Train_Sets.zip): unpack both below one folder",
    classes={"background": 0, "liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4},
    domains={
        "btcv": Domain(
            dataset="BTCV_CT",
            channel="CT",
            parts=(
                Part(
                    "**/Training/img/img{case}.nii.gz",
                    ("**/Training/label/label{case}.nii.gz",),
                    case=r"\d{4}",
                    name="btcv_{case}",
                ),
            ),
            values={0: 0, 6: 1, 2: 2, 3: 3, 1: 4, 4: 0, 5: 0, (7, 13): 0},
        ),
        "chaos": Domain(
            dataset="CHAOS_MR",
            channel="T2-SPIR MR",
            parts=(
                Part(
                    "**/Train_Sets/MR/{case}/T2SPIR/DICOM_anon/*.dcm",
                    ("**/Train_Sets/MR/{case}/T2SPIR/Ground/*.png",),
                    case=r"\d+",
                    name="chaos_{case}",
                ),
            ),
            values={0: 0, (55, 70): 1, (110, 135): 2, (175, 200): 3, (240, 255): 4},
        ),
    },
    source="btcv",
    target="chaos",
    split="papers share none (most draw 80 % and 20 % of the cases, or 70, 10 and 20 %): all target cases are in imagesTr",
    licence="BTCV: for research, after registration at Synapse; CHAOS: CC BY-SA 4.0 as far as known, see its page",
    citation="Landman et al., MICCAI multi-atlas labeling beyond the cranial vault, 2015; Kavur et al., Medical Image "
    "Analysis 69, 2021",
)

_AMOS_VALUES = {**{i: i for i in range(14)}, 14: 0, 15: 0}


def _amos(dataset: str, channel: str, numbers: str) -> Domain:
    return Domain(
        dataset=dataset,
        channel=channel,
        parts=(
            Part("**/imagesTr/{case}.nii.gz", ("**/labelsTr/{case}.nii.gz",), case=numbers),
            Part("**/imagesVa/{case}.nii.gz", ("**/labelsVa/{case}.nii.gz",), case=numbers, test=True, optional=True),
        ),
        values=_AMOS_VALUES,
    )


AMOS = Collection(
    title="AMOS22: abdomen, CT to MR",
    download="https://zenodo.org/records/7262581 (amos22.zip): unpack it",
    classes=_numbered(ORGANS),
    domains={
        "ct": _amos("AMOS_CT", "CT", r"amos_0(?:[0-4]\d\d|500)"),  # 1 to 500
        "mr": _amos("AMOS_MR", "MR", r"amos_0(?:50[1-9]|5[1-9]\d|600)"),  # 501 to 600
    },
    source="ct",
    target="mr",
    split="the challenge's: imagesVa is held out",
    licence="CC BY 4.0",
    citation="Ji et al., AMOS: a large-scale abdominal multi-organ benchmark, NeurIPS 2022",
)

_FLARE_NUMBERS = (3, 2, 13, 9, 10, 1, 11, 5, 6, 4, 7, 8, 12)  # of ORGANS
_FLARE_VALUES = {0: 0, **{value: i for i, value in enumerate(_FLARE_NUMBERS, 1)}}
_FLARE_CASE = r"[\w.-]+?"
_FLARE_VALIDATION = Part(
    "**/validation/MRI_imagesVal/{case}_0000.nii.gz",
    ("**/validation/MRI_labelsVal/{case}.nii.gz",),
    case=_FLARE_CASE,
    test=True,
    unlabelled=True,
    optional=True,
)


def _flare_mr(dataset: str, images: str) -> Domain:
    return Domain(dataset, "MR", (Part(images, case=_FLARE_CASE), _FLARE_VALIDATION), _FLARE_VALUES)


FLARE = Collection(
    title="FLARE task 3: abdomen, CT to MR",
    download="https://huggingface.co/datasets/FLARE-MedFM/FLARE-Task3-DomainAdaption, after consent: the folder with "
    "train_CT_gt_label, with the archives in it unpacked",
    classes=_numbered(ORGANS),
    domains={
        "ct": Domain(
            dataset="FLARE_CT",
            channel="CT",
            parts=(
                Part(
                    "**/train_CT_gt_label/imagesTr/{case}_0000.nii.gz",
                    (
                        "**/train_CT_gt_label/labelsTr/{case}.nii.gz",
                        "**/train_CT_gt_label/labelsTr/{case}_0000.nii.gz",
                    ),
                    case=_FLARE_CASE,
                ),
            ),
            values=_FLARE_VALUES,
        ),
        "mr": _flare_mr("FLARE_MR", "**/train_MRI_unlabeled/**/{case}_0000.nii.gz"),
        "mr100": _flare_mr("FLARE_MR100", "**/MRI_unlabeled_100_random/**/{case}_0000.nii.gz"),
    },
    source="ct",
    target="mr",
    split="the challenge's: its public validation is held out",
    licence="see the challenge's page; images of several public collections, each with its own",
    citation="Ma et al., FLARE22, The Lancet Digital Health 6(11), 2024, and what the challenge's page asks for",
)

# ---- head -------------------------------------------------------------------------------------------------------------

_SCHWANNOMA = {0: 0, 1: 1, 2: 2}
CROSSMODA = Collection(
    title="CrossMoDA 2021 and 2022: schwannoma and cochlea, ceT1 to hrT2",
    download="https://zenodo.org/records/6504722 (2022), or https://crossmoda.grand-challenge.org for 2021: unpack all",
    classes={"background": 0, "vestibular schwannoma": 1, "cochlea": 2},
    domains={
        "cet1": Domain(
            dataset="CrossMoDA_ceT1",
            channel="ceT1 MR",
            parts=(
                Part(
                    "**/training_source*/{case}_ceT1.nii.gz",
                    ("**/training_source*/{case}_Label.nii.gz",),
                    optional=True,
                ),
                Part(
                    "**/source_training*/{case}_ceT1.nii.gz",
                    ("**/source_training*/{case}_Label.nii.gz",),
                    optional=True,
                ),
            ),
            values=_SCHWANNOMA,
        ),
        "hrt2": Domain(
            dataset="CrossMoDA_hrT2",
            channel="hrT2 MR",
            parts=(
                Part("**/training_target*/{case}_hrT2.nii.gz", optional=True),
                Part("**/target_training*/{case}_hrT2.nii.gz", optional=True),
                Part("**/validation*/{case}_hrT2.nii.gz", test=True, optional=True),
                Part("**/target_validation*/{case}_hrT2.nii.gz", test=True, optional=True),
            ),
            values=_SCHWANNOMA,
        ),
    },
    source="cet1",
    target="hrt2",
    split="the challenge's: its validation is held out; target labels are not public",
    licence="CC BY-NC-SA 4.0 (2022), see the page of the year",
    citation="Dorent et al., Medical Image Analysis 83, 2023; Shapey et al., Scientific Data 8, 2021",
)


def _brats(channel: str) -> Domain:
    return Domain(
        dataset=f"BraTS_{channel}",
        channel=f"{channel.upper()} MR",
        parts=(
            Part(f"**/{{case}}/{{case}}_{channel}.nii.gz", ("**/{case}/{case}_seg.nii.gz",), case=r"[Bb]ra[Tt][Ss]\w+"),
        ),
        values={0: 0, 2: 1, 1: 2, 4: 3},
    )


BRATS = Collection(
    title="BraTS 2018 to 2021: glioma, one MR channel to another",
    download="the training data of the year, after registration (https://www.synapse.org): unpack it",
    classes={"background": 0, "edema": 1, "non-enhancing tumor core": 2, "enhancing tumor": 3},
    domains={channel: _brats(channel) for channel in ("t1", "t1ce", "t2", "flair")},
    source="t2",
    target="flair",
    split="papers share none; source and target are different patients, every other one of the sorted names",
    licence="for research, see the page of the year",
    citation="Menze et al., IEEE TMI 34(10), 2015; Bakas et al., Scientific Data 4, 2017; for 2021 Baid et al., "
    "arXiv:2107.02314",
    same_patients=True,
)

# ---- prostate ---------------------------------------------------------------------------------------------------------


def _nci(dataset: str, prefix: str) -> Domain:
    return Domain(
        dataset=f"Prostate_{dataset}",
        channel="T2 MR",
        parts=(
            Part(
                "**/{case}/*/*/*.dcm",
                ("**/{case}.nrrd", "**/{case}_truth.nrrd", "**/{case}_correctedLabels.nrrd"),
                case=rf"{prefix}-\d\d-\d{{4}}",
            ),
        ),
        values={0: 0, 1: 1, 2: 1},
    )


def _promise(dataset: str, numbers: tuple[int, ...]) -> Domain:
    return Domain(
        dataset=f"Prostate_{dataset}",
        channel="T2 MR",
        parts=(
            Part(
                "**/{case}.mhd",
                ("**/{case}_segmentation.mhd",),
                case=r"Case\d\d",
                cases=frozenset(f"Case{i:02d}" for i in numbers),
            ),
        ),
        values={0: 0, 1: 1},
    )


PROSTATE = Collection(
    title="Prostate T2 MR of several hospitals: NCI-ISBI 2013 and PROMISE12",
    download="https://doi.org/10.7937/K9/TCIA.2015.zF0vlOPv (images with the NBIA Data Retriever, and the three zips of "
    "labels) and https://promise12.grand-challenge.org (training data): unpack what your pair needs below one folder",
    classes={"background": 0, "prostate": 1},
    domains={
        "runmc": _nci("RUNMC", "Prostate3T"),
        "bmc": _nci("BMC", "ProstateDx"),
        "ucl": _promise("UCL", (1, *range(26, 38))),
        "bidmc": _promise("BIDMC", (0, *range(2, 13))),
        "hk": _promise("HK", tuple(range(38, 50))),
    },
    source="runmc",
    target="bmc",
    split="papers share none: all target cases are in imagesTr",
    licence="NCI-ISBI: CC BY 3.0; PROMISE12: for research, see its page",
    citation="Bloch et al., NCI-ISBI 2013 challenge, TCIA, 2015; Litjens et al., Medical Image Analysis 18(2), 2014",
    skip={"ProstateDx-01-0055": "image and label do not match"},
)

# ---- M&Ms -------------------------------------------------------------------------------------------------------------


def _mms(vendor: str) -> Domain:
    labels = ("**/{case}/{case}_sa_gt.nii.gz",)
    return Domain(
        dataset=f"MMs_{vendor}",
        channel="cine MR",
        parts=(
            Part("**/Training/Labeled/{case}/{case}_sa.nii.gz", labels, optional=True),
            Part("**/Training/Unlabeled/{case}/{case}_sa.nii.gz", optional=True),
            Part("**/Validation/{case}/{case}_sa.nii.gz", labels, test=True, optional=True, unlabelled=True),
            Part("**/Testing/{case}/{case}_sa.nii.gz", labels, test=True, optional=True, unlabelled=True),
        ),
        values={0: 0, 1: 1, 2: 2, 3: 3},
        table=Table("**/*Dataset_information*.csv", "External code", "Vendor", vendor, {"ED": "ED", "ES": "ES"}),
    )


MMS = Collection(
    title="M&Ms: cardiac cine MR, one vendor to another",
    download="https://www.ub.edu/mnms: the folder OpenDataset with Training, Validation, Testing and the CSV",
    classes={"background": 0, "left ventricle": 1, "myocardium": 2, "right ventricle": 3},
    domains={vendor: _mms(vendor.upper()) for vendor in "abcd"},
    source="a",
    target="b",
    split="the challenge's: Validation and Testing are held out, but of a target without training cases (vendor d), whose "
    "images are all in imagesTr (transductive)",
    licence="for research, see the challenge's page",
    citation="Campello et al., IEEE TMI 40(12), 2021",
    orientation=None,
    configuration="2d",
)

COLLECTIONS = {
    "mscmr": MSCMR,
    "mscmr-varda": MSCMR_VARDA,
    "mmwhs": MMWHS,
    "chaos-btcv": CHAOS_BTCV,
    "crossmoda": CROSSMODA,
    "brats": BRATS,
    "amos": AMOS,
    "prostate": PROSTATE,
    "mms": MMS,
    "flare": FLARE,
}
