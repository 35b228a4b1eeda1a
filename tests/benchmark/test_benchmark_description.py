"""What a description may say, and what stops before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy import SOURCE, write_dataset

from nnuda.benchmark.description import read_benchmark
from nnuda.errors import NnudaError

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
        ({"pairs": [{**PAIR, "oracle": 501}]}, "pair toy: expected labelled cases of the oracle .* case0, case1"),
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
    ],
)
def test_one_clear_error(described: Callable[..., str], changes: dict, message: str) -> None:
    with pytest.raises(NnudaError, match=message):
        read_benchmark(described(**changes))


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
    for file in folder.rglob("case*"):
        file.rename(file.with_name(file.name.replace("case", "other")))
    rows = [ROW, {**ROW, "name": "oracle", "on": "target"}]
    plain, oracle = read_benchmark(described(pairs=[{**PAIR, "oracle": 503}], rows=rows, seeds=[1])).runs
    assert (plain.domain.name, oracle.domain.name) == (SOURCE, "Dataset503_Oracle")
    assert plain.prepared != oracle.prepared
