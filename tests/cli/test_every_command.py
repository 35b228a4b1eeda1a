"""What all commands share: help and version at once, and examples that their own parsers take."""

from __future__ import annotations

import importlib
import json
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
