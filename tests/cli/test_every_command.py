"""What all commands share: help and version at once, and examples that their own parsers take."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
COMMANDS = dict(re.findall(r'^(nnUDA_\w+) = "([\w.]+):main"', PYPROJECT.read_text(encoding="utf-8"), re.MULTILINE))
HEAVY = ["torch", "numpy", "SimpleITK", "scipy", "pandas", "matplotlib", "skimage"]
LOOK = """
import contextlib, importlib, io, json, sys
said = {}
for name, module in json.loads(sys.argv[1]).items():
    command = importlib.import_module(module)
    shown = io.StringIO()
    for option in ("--help", "--version"):
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            command.main([option])
    said[name] = [shown.getvalue(), [heavy for heavy in json.loads(sys.argv[2]) if heavy in sys.modules]]
print(json.dumps(said))
"""

# What can be seen to be wrong before any image is read, and a part of what is said of it
WRONG = {
    "nnUDA_adapt -d 501 -t 502 -c 2d --budget 1 -o pyproject.toml": "-o: expected a folder to write in",
    "nnUDA_benchmark pyproject.toml -o out -n 0": "2",
    "nnUDA_check -d 501": "Expected --plan",
    "nnUDA_compare a b --preset flare": "Expected -gt with --preset",
    "nnUDA_configure -d 501 --as b --set training.epochs=3": "Did you mean training.num_epochs",
    "nnUDA_convert mmwhs in pyproject.toml": "OUTPUT: expected a folder to write in",
    "nnUDA_demo -o pyproject.toml": "-o: expected a folder to write in",
    "nnUDA_estimate nothing --predictions there": "fold_folder: expected a folder; nothing is not there",
    "nnUDA_evaluate pyproject.toml there": "gt_folder: expected a folder; pyproject.toml is a file",
    "nnUDA_export -d 501 -c 2d -tr X": "No dataset 501",
    "nnUDA_extract_fingerprint -d 501 -t 502": "No dataset 501",
    "nnUDA_find_best_configuration -d 501 -t 502": "No dataset 501",
    "nnUDA_features nothing -o a.png": "expected fold 0",
    "nnUDA_look -d 501 -t 502 --model nothing": "--model: expected a folder; nothing is not there",
    "nnUDA_plan_and_preprocess -d 501 -t 502 --set a.b=1": "Unknown setting 'a.b'",
    "nnUDA_plan_experiment -d 501 -t 502": "No dataset 501",
    "nnUDA_postprocess -d 501 -i nothing -o new": "-i: expected a folder; nothing is not there",
    "nnUDA_preprocess -d 501": "No dataset 501",
    "nnUDA_pseudo_label -d 501 -t 502 -m a -o 601 --confidence 2": "expected a number from 0 to 1",
    "nnUDA_report nothing": "fold_folder: expected a folder; nothing is not there",
    "nnUDA_text_similarity -d 501": "No dataset 501",
    "nnUDA_uncertainty nothing": "pred_folder: expected a folder; nothing is not there",
}
TRY = """
import importlib, json, shlex, sys
said = {}
modules = json.loads(sys.argv[1])
for line in json.loads(sys.argv[2]):
    name, *words = shlex.split(line)
    try:
        importlib.import_module(modules[name]).main(words)
        said[line] = "no error"
    except SystemExit as ended:
        said[line] = f"{'torch ' * ('torch' in sys.modules)}{ended.code}"
print("\\n" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, list]:
    """Help and version of each command, and the heavy modules that were there after it."""
    words = [sys.executable, "-c", LOOK, json.dumps(COMMANDS), json.dumps(HEAVY)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_help_imports_nothing_that_takes_seconds(said):
    assert len(COMMANDS) > 15
    loaded = {name: heavy for name, (_, heavy) in said.items() if heavy}
    first = next(iter(loaded), None)
    assert not loaded, (
        f"{first} imports {', '.join(loaded[first])} for its help: import what works in the function that needs it, "
        f"and move constants of the parser to a light module (nnuda/cli/__init__.py says how)"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_version(name, said):
    assert re.search(r"^nnuda \d+\.\d\S*, nnunetv2 2\.\d\S*, torch \d+\.\d\S*$", said[name][0], re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_its_own_parser_takes_every_example(name, said):
    _, _, rest = said[name][0].partition("\nexamples:\n")
    examples = re.findall(rf"^  ({name}\b(?:.*\\\n)*.*)$", rest, re.MULTILINE)
    assert examples, f"{name}: expected examples in its help, by nnuda.cli.parser.new_parser"
    build_parser = importlib.import_module(COMMANDS[name]).build_parser
    for example in examples:
        assert max(map(len, example.splitlines())) < 78, f"does not fit 80 columns: {example}"
        words = shlex.split(example.replace("\\\n", " "))
        try:
            build_parser().parse_args(words[1:])
        except SystemExit as ended:  # --list and the like print and end
            assert ended.code == 0, f"{name} does not take its own example: {example}"


def test_what_is_wrong_is_said_before_torch_is_imported(tmp_path):
    assert {line.split()[0] for line in WRONG} == set(COMMANDS), "WRONG: add what can be wrong with a new command"
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    words = [sys.executable, "-c", TRY, json.dumps(COMMANDS), json.dumps(list(WRONG))]
    shown = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=PYPROJECT.parent, env={**os.environ, **folders}
    )
    said = json.loads(shown.stdout.splitlines()[-1])
    for line, part in WRONG.items():
        assert said[line].startswith(("Error: ", "2")) and part in said[line], (line, said[line])
