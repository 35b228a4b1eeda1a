"""Every converter on made-up files in its owner's layout: what comes out loads, carries the right labels at the right
places, and keeps the target's labels apart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from owner_files import EXAMPLES, Example, Made

from nnuda.benchmark.description import read_benchmark
from nnuda.convert.collections import COLLECTIONS
from nnuda.convert.engine import LABELS_TARGET, PROVENANCE, SPLIT, Request, convert
from nnuda.datasets import label_files, load_dataset
from nnuda.published.results import published_pairs

CHECKED = 60  # voxels a volume


def world(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (affine @ np.append(index, 1))[:3]


def same_places(made: Made, array: np.ndarray, path: Path) -> list[tuple[float, float]]:
    """(owner's value, converted value) at the same places of the world."""
    converted = nibabel.load(path)
    back, values = np.linalg.inv(converted.affine), np.asanyarray(converted.dataobj)
    rng, pairs = np.random.default_rng(0), []
    for _ in range(CHECKED):
        index = np.array([rng.integers(n) for n in array.shape])
        there = world(back, world(made.affine, index))
        nearest = np.round(there).astype(int)
        assert np.abs(there - nearest).max() < 0.01
        pairs.append((array[tuple(index)], values[tuple(nearest)]))
    return pairs


def test_every_collection_has_an_example():
    assert {example.collection for example in EXAMPLES} == set(COLLECTIONS)


@pytest.fixture(params=EXAMPLES, ids=lambda e: f"{e.collection}-{e.source}-{e.target}")
def done(request, tmp_path, monkeypatch) -> tuple[Example, dict, Path, Path]:
    example: Example = request.param
    owner, raw = tmp_path / "owner", tmp_path / "raw"
    owner.mkdir()
    made = example.make(owner)
    if example.collection == "mscmr-varda":  # what is right after the repair
        for case, one in made["bssfp"].items():
            made["bssfp"][case] = Made(one.image, one.label, np.diag([0.75, 0.75, 8, 1]))
    pair = convert(Request(example.collection, str(owner), str(raw), example.source, example.target, (701, 702)))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return example, made, raw, Path(pair)


def test_the_datasets_are_right(done):
    example, made, raw, pair = done
    for number, domain in ((701, example.source), (702, example.target)):
        dataset = load_dataset(number)
        assert set(dataset.images) == {case for case, one in made[domain].items() if not one.test}
        assert dataset.dataset_json["numTraining"] == len(dataset.images)
        for case, one in made[domain].items():
            folder = "imagesTs" if one.test else "imagesTr"
            image = raw / dataset.name / folder / f"{case}_0000.nii.gz"
            assert all(a == b for a, b in same_places(one, one.image, image)), case
    source, target = load_dataset(701), load_dataset(702)
    classes = source.dataset_json["labels"]
    assert classes == target.dataset_json["labels"] and classes["background"] == 0
    labels = {case: Path(path) for case, path in label_files(source).items()}
    for domain, number in ((example.source, 701), (example.target, 702)):
        for case, one in made[domain].items():
            path = labels.get(case) if number == 701 else pair / LABELS_TARGET / f"{case}.nii.gz"
            if one.label is None:
                assert not path.exists()
                continue
            path = path or raw / source.name / "labelsTs" / f"{case}.nii.gz"
            for owner, converted in same_places(one, one.label, path):
                name = example.meaning[domain].get(int(owner), "background")
                assert converted == classes[name], (case, owner)
    assert not [path for path in (raw / target.name).iterdir() if path.name.startswith("labels")]
    if COLLECTIONS[example.collection].orientation:
        codes = {nibabel.aff2axcodes(nibabel.load(path).affine) for path in raw.glob("*/images*/*.nii.gz")}
        assert codes == {("L", "P", "S")}


def test_split_and_provenance(done):
    example, made, raw, pair = done
    split = json.loads((pair / SPLIT).read_text())
    held = {case for case, one in made[example.target].items() if one.test}
    assert set(split["target"]["training"]) == set(made[example.target]) - held
    assert set(split["target"]["labelled"]) == {c for c, one in made[example.target].items() if one.label is not None}
    if example.collection.startswith("mscmr"):
        assert set(split["target"]["validation"]) == {"patient1", "patient2"} & set(made["lge"])
        assert set(split["target"]["test"]) == set(made["lge"]) - {"patient1", "patient2"}
    else:
        assert set(split["target"].get("test", [])) == held
    provenance = json.loads((pair / PROVENANCE).read_text())
    owner = raw.parent / "owner"
    for record in (record for cases in provenance["cases"].values() for record in cases.values()):
        for path, entry in record["inputs"].items():
            content = (owner / path).read_bytes()
            assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (named,) = provenance["benchmark_pair"].values()
    assert (raw / named["source"] / "labelsTr").is_dir() and (raw / named["target"] / "imagesTr").is_dir()
    assert (raw / named["labels"]).is_dir() == bool(split["target"]["labelled"])


@pytest.mark.slow
def test_the_benchmark_scores_what_is_held_out(done):
    example, made, raw, pair = done
    split = json.loads((pair / SPLIT).read_text())["target"]
    if not split["labelled"]:
        assert not (pair / "benchmark.json").exists()
        return
    benchmark = read_benchmark(str(pair / "benchmark.json"))
    (scored,) = benchmark.pairs
    held = set(split.get("test", [])) & set(split["labelled"])
    assert set(scored.images) == (held or set(split["labelled"]))
    assert (scored.source.name, scored.target.name) == tuple(d.name for d in (load_dataset(701), load_dataset(702)))
    assert scored.published == (pair.name if pair.name in published_pairs() else None)
    assert [row.trainer for row in benchmark.rows][-1] == "nnUDATrainerAdapt" and len(benchmark.runs) == 9
    stacks = ("mscmr", "mscmr-varda", "mms")
    assert benchmark.budget["configuration"] == ("2d" if example.collection in stacks else "3d_fullres")


def test_a_second_time_nothing_is_done(done, capsys):
    example, _, raw, _ = done
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    convert(
        Request(example.collection, str(raw.parent / "owner"), str(raw), example.source, example.target, (701, 702))
    )
    assert "Already converted" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in raw.rglob("*")}


def test_channels_say_hounsfield_units_where_they_are():
    ct = {f"{name}/{key}" for name, c in COLLECTIONS.items() for key, d in c.domains.items() if d.channel == "CT"}
    assert ct == {"mmwhs/ct", "chaos-btcv/btcv", "amos/ct", "flare/ct"}
