"""Numbers outside their range end in the parser, before anything is looked at."""

from __future__ import annotations

import pytest

from nnuda.cli import (
    adapt,
    compare,
    convert,
    estimate,
    evaluate,
    export,
    extract_fingerprint,
    features,
    look,
    plan_and_preprocess,
    plan_experiment,
    preprocess,
    pseudo_label,
    report,
    text_similarity,
)

PAIR = ["-d", "701", "-t", "702"]
EVALUATE = (evaluate, ["gt", "pred"])
FEATURES = (features, ["results", "-o", "f.png"])
REPORT = (report, ["fold_0"])
PLAN = (plan_and_preprocess, PAIR)
EXPORT = (export, ["-d", "701", "-c", "2d", "-tr", "X"])
ADAPT = (adapt, [*PAIR, "-c", "2d"])
PSEUDO_LABEL = (pseudo_label, [*PAIR, "-m", "model", "-o", "601"])
CONVERT = (convert, ["mmwhs", "in", "out"])
WHOLE = ["0", "-3", "1.5", "1e3", "nan", "", "two", "9" * 400]
BAD = [
    *((*command, "-np", value) for command in (EVALUATE, PLAN, REPORT, (compare, ["a", "b"])) for value in WHOLE),
    *((module, PAIR, "-np", "-3") for module in (extract_fingerprint, plan_experiment)),
    (preprocess, ["-d", "701"], "-np", "-3"),
    *((*PLAN, "-gpu_memory_target", value) for value in ("-4", "0", "nan", "inf", "-inf", "0.0001", "1e300", "8GB")),
    *((*FEATURES, option, value) for option in ("--cases", "--voxels") for value in WHOLE),
    *((*FEATURES, "--seed", value) for value in ("-1", "4294967296", "1.5")),
    *((*FEATURES, "-f", value) for value in ("x", "-1", "../0", "")),
    *((*EXPORT, "-f", value) for value in ("x", "-1", "../0")),
    *((*REPORT, option, "-1") for option in ("--histogram-cases", "--feature-cases")),
    (*EVALUATE, "-o", "scores.csv"),
    (*REPORT, "-o", "page.pdf"),
    (features, ["results"], "-o", "f.xyz"),
    (text_similarity, ["-d", "701"], "-o", "x.doc"),
    *((look, PAIR, option, value) for option in ("--cases", "--model-cases") for value in ("0", "x")),
    (look, PAIR, "-f", "../0"),
    (look, PAIR, "-o", "page.pdf"),
    (estimate, ["fold_0", "--predictions", "pred"], "-o", "x.csv"),
    *((*ADAPT, option, "-3") for option in ("-np", "--epochs", "--budget", "-gpu_memory_target")),
    *((*ADAPT, "--budget", value) for value in ("0", "nan", "inf")),
    (*ADAPT, "-f", "../0"),
    *((*PSEUDO_LABEL, "-step_size", value) for value in ("0", "-1", "nan", "2")),
    *(
        (*PSEUDO_LABEL, option, value)
        for option in ("--agreement", "--keep-share")
        for value in ("-1", "2", "nan", "x")
    ),
    *((*PSEUDO_LABEL, option, "-1") for option in ("--size-spread", "-f", "-np")),
    *((*CONVERT, option, value) for option in ("-d", "-t") for value in ("0", "1000")),
    (*CONVERT, "-np", "-3"),
]


@pytest.mark.parametrize(
    ("module", "needed", "option", "value"), BAD, ids=[f"{b[0].__name__[10:]} {b[2]} {b[3][:9]}" for b in BAD]
)
def test_a_bad_value_is_refused_and_its_option_named(module, needed, option, value, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main([*needed, option, value])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and f"argument {option}" in said and "expected" in said and len(said) < 3000


def test_good_values_pass() -> None:
    parsed = plan_and_preprocess.build_parser().parse_args([*PAIR, "-np", "2", "-gpu_memory_target", "7.5"])
    assert (parsed.np, parsed.gpu_memory_target) == (2, 7.5)
    parsed = features.build_parser().parse_args(["r", "-o", "F.PNG", "-f", "all", "--seed", "4294967295"])
    assert (parsed.f, parsed.seed, parsed.cases) == ("all", 4294967295, 5)


@pytest.mark.parametrize(
    ("command", "options", "name"),
    [
        (PLAN, ["-c", "2d", ""], "-c"),
        (PLAN, ["-p", ""], "-p"),
        ((compare, ["a", ""]), [], "results"),
    ],
)
def test_an_empty_text_is_no_value(capsys, command, options, name):
    """As a script leaves it whose variable is not set."""
    module, arguments = command
    with pytest.raises(SystemExit) as ended:
        module.build_parser().parse_args([*arguments, *options])
    assert ended.value.code == 2 and f"argument {name}: expected a value, got an empty text" in capsys.readouterr().err
