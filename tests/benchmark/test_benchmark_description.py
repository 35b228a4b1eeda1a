"""What a description may say, and what stops before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk
from planning_pairs import Folders
from toy import SOURCE, write_dataset
from whole_plan import whole_plan

from nnuda.benchmark.added import check_plan_there, with_configuration
from nnuda.benchmark.description import BenchmarkError, read_benchmark
from nnuda.benchmark.engine import freeze
from nnuda.benchmark.places import DESCRIPTION
from nnuda.cli.benchmark import check_planning
from nnuda.datasets import load_dataset
from nnuda.errors import NnudaError
from nnuda.planning.choice import plan_file

ROW = {"name": "plain", "trainer": "nnUDATrainerSourceOnly"}
PAIR = {"name": "toy", "source": 501, "target": 502, "labels": "labels"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [{**ROW, "trainer": "nnUDATrainerSourceOnli"}]}, "row plain: -tr: expected one of nnuda's trainers"),
        (
            {"rows": [{**ROW, "settings": {"training.augmentatio": "strong"}}]},
            "row plain: .*Did you mean training.augm",
        ),
        ({"rows": [{**ROW, "settings": {"training.augmentation": "stronk"}}]}, 'row plain: .*got "stronk"'),
        ({"budget": {"configuration": "2d", "settings": {"training.epochs": 2}}}, "Unknown setting 'training.epochs'"),
        ({"rows": [ROW, ROW]}, "rows: expected a name of its own for each; plain is there twice"),
        ({"pairs": [PAIR, PAIR]}, "pairs: expected a name of its own for each; toy is there twice"),
        ({"pairs": [{**PAIR, "source": 777}]}, "pair toy: No dataset 777"),
        ({"pairs": [{**PAIR, "labels": "nowhere"}]}, "pair toy: labels: expected a folder with reference labels"),
        (
            {"pairs": [{**PAIR, "oracle": 501}]},
            "pair toy: oracle: expected labelled cases of the target; .* the source",
        ),
        (
            {"pairs": [{**PAIR, "published": "mmwhs"}]},
            "pair toy: published: expected one of .*mmwhs_ct_to_mr.*got mmwhs",
        ),
        ({"rows": [{**ROW, "on": "target"}]}, "row plain is trained on the target, and no pair has an oracle"),
        ({"rows": [{**ROW, "settings": {"training.seed": 3}}]}, "training.seed is set by seeds"),
        ({"against": "oracle"}, "against: expected one of the rows plain, strong; got oracle"),
        ({"budget": None}, "'budget' is a required property"),
        ({"seed": [1]}, "'seed' was unexpected"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"rows": [{**ROW, "name": "a/b"}]}, "a/b"),
        ({"budget": {"configuration": "small", "add": {"spacing": [1, 1]}}}, "budget.add: .*'inherits_from'"),
        ({"budget": {"configuration": "small"}}, "budget: expected one of .* 2d, 3d_fullres, 3d_lowres, .*; got small"),
        ({"budget": {"configuration": "3d_cascade_fullres"}}, "got 3d_cascade_fullres"),
        ({"budget": {"configuration": "2d", "add": {"inherits_from": "2d"}}}, "got 2d, which inherits from 2d"),
        ({"budget": {"configuration": "a", "add": {"inherits_from": "a"}}}, "got a, which inherits from a"),
        (
            {"budget": {"configuration": "a", "add": {"inherits_from": "2d", "batch_size": 0}}},
            "budget.add: .*batch_size",
        ),
        ({"seeds": [2**32]}, "seeds.0: 4294967296 is greater"),
    ],
)
def test_one_clear_error(described: Callable[..., str], changes: dict, message: str) -> None:
    with pytest.raises(NnudaError, match=message):
        read_benchmark(described(**changes))


TEXTS = {"classes": {"nobody": "x"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"rows": [{**ROW, "plan": [*words]}]}, f"row plain: .*{message}")
            for words, message in (
                (["--nope"], "plan: unrecognized arguments: --nope. Expected some of --text-model, "),
                (["--help"], "unrecognized arguments: --help"),
                (["-d", "502"], "unrecognized arguments: -d 502"),
                (["--as", "x"], "unrecognized arguments: --as x"),
                (["--set", "training.seed=1"], "unrecognized arguments: --set"),
                (["--text-model"], "expected one argument"),
                (["--text-model", ""], "--text-model: expected a value, got an empty text"),
                (["--text-model", "random:-1"], "expected a whole number from 0"),
                (["--text-model", "ngrams", "--class-texts", "texts.json"], "texts.json: class 'nobody' is unknown"),
                (["--class-embeddings=nope.json"], "nope.json: .*got no file"),
            )
        ),
        (
            {"rows": [{**ROW, "trainer": "nnUDATrainerTCSA"}]},
            "row plain: nnUDATrainerTCSA reads class embeddings, and none",
        ),
        ({"rows": [{**ROW, "settings": {"training.init_from": "nope.pth"}}]}, "row plain: .*nope.pth is not there"),
        ({"pairs": [{**PAIR, "target": 501}]}, "pair toy: Target .* is the source"),
        ({"folds": ["all", 3]}, "pair toy: folds: expected a fold all, since 2 cases are too few .*; got 3"),
    ],
)
def test_what_the_first_run_would_stop_with(
    described: Callable[..., str], tmp_path: Path, changes: dict, message: str
) -> None:
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    file = described(**changes)
    with pytest.raises(NnudaError, match=message):
        check_planning(file, read_benchmark(file))


ADDED = {"configuration": "mine", "add": {"inherits_from": "2d"}}


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"configuration": "3d_lowres"}, "budget: expected one of the plan's configurations 2d, .*; got 3d_lowres"),
        (
            {"configuration": "mine", "add": {"inherits_from": "3d_lowres"}},
            "budget: .* got mine, which inherits from 3d_lowres",
        ),
        *(
            ({**ADDED, "add": {**ADDED["add"], "arch_kwargs": arguments}}, f"budget.add: expected arch_kwargs .*{says}")
            for arguments, says in (
                ({"nope": 0}, "argument 'nope'"),
                ({"n_stages": 0}, ""),
                ({"strides": [[1, 1]]}, ""),
            )
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_the_plan_that_is_there_would_stop_with(
    described: Callable[..., str], monkeypatch: pytest.MonkeyPatch, budget: dict, message: str
) -> None:
    monkeypatch.setattr("nnuda.benchmark.added._plan_there", lambda *_: whole_plan(SOURCE, "nnUNetPlans"))
    monkeypatch.setattr("nnuda.benchmark.added._made_of", lambda *_: True)
    file = described(budget=budget)
    with pytest.raises(NnudaError, match=f"pair toy: {message}"):
        check_planning(file, read_benchmark(file))


def test_a_plan_counts_where_a_run_would_make_the_same(planned: Folders) -> None:
    source, target = load_dataset(701, labelled=True), load_dataset(702)
    file = Path(plan_file(source.name, "nnUNetPlans"))
    plans = json.loads(file.read_text())
    added = with_configuration({**ADDED, "add": {"inherits_from": "2d", "batch_size": 2}}, plans, source.dataset_json)
    assert added["configurations"].keys() - plans["configurations"].keys() == {"mine"}
    file.write_text(json.dumps(added))  # a user's own: a run's plan will not have it

    def is_refused() -> bool:
        check_plan_there({"configuration": "2d"}, source, target)
        try:
            check_plan_there({"configuration": "mine"}, source, target)
        except BenchmarkError:
            return True
        return False

    assert is_refused()
    for change in (
        lambda key: key["target"].update(name="Dataset703_C"),
        lambda key: key.update(made_with={"planner": "nnUDAPlannerResEncL", "gpu_memory_target": None}),
        lambda key: key["settings"].update({"planning.memory_factor": 9.0}),
    ):
        other = json.loads(json.dumps(added))
        change(other["domain_adaptation"])
        file.write_text(json.dumps(other))
        assert not is_refused()
    file.write_text(json.dumps(added))
    image = Path(source.images[next(iter(source.images))][0])
    image.write_bytes(image.read_bytes() + b"\0")
    assert not is_refused()


def moved(label: sitk.Image) -> sitk.Image:
    label.SetOrigin((5.0, 0.0, 0.0))
    return label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "case1.nii.gz: expected a label file"),
        (lambda label: label * 0 + 7, "case1.nii.gz also holds .7.0.. These files are of another dataset"),
        (lambda label: label[:, :, :2], r"Case case1: .* shape: reference \(2, 12, 12\), image \(4, 12, 12\)"),
        (moved, r"Case case1: .* origin: reference \[5.0, 0.0, 0.0\]"),
    ],
    ids=["damaged", "value", "shape", "origin"],
)
def test_a_label_that_could_not_be_scored(
    described: Callable[..., str], tmp_path: Path, change: Callable | None, message: str
) -> None:
    file, label = described(), tmp_path / "labels" / "case1.nii.gz"
    if change is None:
        label.write_bytes(b"x")
    else:
        sitk.WriteImage(change(sitk.ReadImage(str(label))), str(label))
    with pytest.raises(NnudaError, match=f"pair toy: .*{message}"):
        check_planning(file, read_benchmark(file))


def test_what_can_be_planned(described: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "texts.json").write_text(json.dumps({"classes": {"left box": "a box"}}))
    words = ["--text-model", "ngrams", "--class-texts=texts.json"]
    file = described(rows=[{**ROW, "trainer": "nnUDATrainerTCSA", "plan": words}], seeds=[2**32 - 1])
    benchmark = read_benchmark(file)
    check_planning(file, benchmark)
    assert benchmark.rows[0].plan == [*words[:2], "--class-texts", str(tmp_path / "texts.json")]
    freeze(str(tmp_path), file, benchmark)  # where runs read it, from another folder
    assert read_benchmark(str(tmp_path / DESCRIPTION), benchmark.values).rows[0].plan == benchmark.rows[0].plan
    assert "3 classes" in capsys.readouterr().out


def test_a_label_without_an_image_is_named(described: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "labels" / "case9.nii.gz").write_bytes(b"")
    with pytest.raises(NnudaError, match="1 of 3 have none in .*: case9"):
        read_benchmark(described())


def test_runs_are_rows_times_seeds_times_folds(described: Callable[..., str]) -> None:
    benchmark = read_benchmark(described(folds=[0, "all"]))
    names = [run.name for run in benchmark.runs]
    wanted = {
        f"toy_{row}_seed{seed}_fold{fold}" for row in ("plain", "strong") for seed in (1, 2) for fold in (0, "all")
    }
    assert set(names) == wanted and len(names) == 8
    assert len({run.plans for run in benchmark.runs}) == 8


def test_an_oracle_is_trained_on_the_labelled_target(described: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "Dataset503_Oracle"
    write_dataset(folder, labelled=True, inverted=True, cases=2, shape=(4, 12, 12))
    with pytest.raises(NnudaError, match="pair toy: expected labelled cases of the oracle .* case0, case1"):
        read_benchmark(described(pairs=[{**PAIR, "oracle": 503}]))
    for file in folder.rglob("case*"):
        file.rename(file.with_name(file.name.replace("case", "other")))
    rows = [ROW, {**ROW, "name": "oracle", "on": "target"}]
    plain, oracle = read_benchmark(described(pairs=[{**PAIR, "oracle": 503}], rows=rows, seeds=[1])).runs
    assert (plain.domain.name, oracle.domain.name) == (SOURCE, "Dataset503_Oracle")
    assert plain.prepared != oracle.prepared
