"""Documentation: links, commands, options, settings and examples are those of the code. The roads of its pages run in
test_documented_roads.py."""

from __future__ import annotations

import argparse
import doctest
import importlib.util
import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from documentation_pages import (
    METHOD_PAGE,
    PAGES,
    ROADS,
    ROOT,
    TRAINERS_PAGE,
    Block,
    anchors,
    blocks,
    section,
    write_files,
)
from jsonschema import Draft202012Validator
from methods import predicting_network

from nnuda.find_trainer import find_trainer
from nnuda.plan_key import SCHEMA
from nnuda.registration import VARIABLE, trainers_folder
from nnuda.settings import parse_set_arguments
from nnuda.trainer_files import known_trainers, own_trainers

SCRIPTS = {
    entry.name: entry
    for package in ("nnuda", "nnunetv2")
    for entry in metadata.distribution(package).entry_points
    if entry.group == "console_scripts"
}
OURS = sorted(name for name, entry in SCRIPTS.items() if entry.dist.name == "nnuda")
COMMANDS_PAGE = ROOT / "documentation" / "reference" / "commands.md"
ROUND = "601"  # the pages' dataset of a self-training round, for plain nnU-Net
ALL_BLOCKS = blocks()


class Parsed(Exception):
    """Ends a command once its arguments are known."""


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """parse(words) -> the command's parser and its arguments; the command itself does not run."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path))
    write_files(METHOD_PAGE, tmp_path)  # its trainer and settings are known where that page's folder is
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(tmp_path / "my_methods"), trainers_folder()]))
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        raise Parsed(self, original(self, args, namespace))

    def run(words: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(Parsed) as parsed:
            SCRIPTS[words[0]].load()()
        return parsed.value.args

    return run


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_relative_links_resolve(page):
    for link in links(page):
        file, _, anchor = link.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.is_file(), link
        assert not anchor or anchor in anchors(there), link


def test_every_page_is_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        linked = (
            (page.parent / link.partition("#")[0]).resolve()
            for link in links(page)
            if link.partition("#")[0].endswith(".md")
        )
        todo += [page for page in linked if page not in seen]
    assert seen == set(PAGES)


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=lambda block: block.page)
def test_a_block_runs_or_says_why_not(block: Block):
    run_pages = {page for road in ROADS.values() for page in road}
    if block.marker.startswith("runs in "):
        page = block.marker.removeprefix("runs in ")
        there = {
            line
            for other in ALL_BLOCKS
            if other.page == page and not other.marker
            for line in other.script.splitlines()
        }
        assert page in run_pages and set(block.script.splitlines()) <= there
    elif block.marker:
        assert re.fullmatch(r"not run: \S.{10,}", block.marker)
    else:
        assert block.page in run_pages, (
            "in no road of documentation_pages.py: add the page, or mark the block with <!-- not run: reason -->"
        )


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=lambda block: block.page)
def test_the_arguments_of_every_command_parse(block: Block, parse):
    for words in block.commands:
        if words[0].startswith(("nnUDA_", "nnUNetv2_")):
            _, arguments = parse(words)
            parse_set_arguments(getattr(arguments, "settings", None) or [])
            dataset = getattr(arguments, "dataset_name_or_id", getattr(arguments, "d", None))
            plain = "_toDataset" in (getattr(arguments, "p", None) or "") or dataset == ROUND
            trainers = getattr(arguments, "tr", None) or "nnUDATrainer"  # several, of nnUDA_find_best_configuration
            known = {*known_trainers(), *["nnUNetTrainer"] * plain}
            assert {*([trainers] if isinstance(trainers, str) else trainers)} <= known


@pytest.mark.parametrize("name", OURS)
def test_help_needs_no_folders(name, monkeypatch, capsys):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        SCRIPTS[name].load()()
    assert ended.value.code == 0
    assert f"usage: {name}" in capsys.readouterr().out


REQUIRED = {
    "nnUDA_adapt": "-d 1 -t 2 -c 2d",
    "nnUDA_look": "-d 1 -t 2",
    "nnUDA_find_best_configuration": "-d 1 -t 2",
    "nnUDA_estimate": "fold_0 --predictions predictions",
    "nnUDA_plan_and_preprocess": "-d 1 -t 2",
    "nnUDA_extract_fingerprint": "-d 1 -t 2",
    "nnUDA_plan_experiment": "-d 1 -t 2",
    "nnUDA_preprocess": "-d 1",
    "nnUDA_configure": "-d 1 --as name",
    "nnUDA_text_similarity": "-d 1",
    "nnUDA_evaluate": "references predictions",
    "nnUDA_postprocess": "-d 501 -i predictions -o postprocessed",
    "nnUDA_compare": "one two",
    "nnUDA_report": "fold_0",
    "nnUDA_uncertainty": "predictions",
    "nnUDA_features": "results -o features.png",
    "nnUDA_pseudo_label": "-d 1 -t 2 -m results -o 601",
    "nnUDA_export": "-d 1 -c 2d -tr nnUDATrainerSourceOnly",
    "nnUDA_convert": "mmwhs input output",
    "nnUDA_benchmark": "benchmark.json -o out",
}


@pytest.mark.parametrize("name", OURS)
def test_the_reference_has_every_option_and_no_other(name, parse):
    parser, _ = parse([name, *REQUIRED.get(name, "").split()])
    text = section(COMMANDS_PAGE, name)
    real = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help", "--version"}
    assert set(re.findall(r"`(--?[A-Za-z][\w-]*)", text)) == real


def test_the_reference_lists_every_command():
    listed = re.findall(r"^\| \[`(nnUDA_\w+)`\]", COMMANDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == OURS
    declared = re.findall(r"^(nnUDA_\w+) = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert sorted(declared) == OURS


@pytest.mark.slow
def test_the_settings_page_is_what_the_presets_say():
    spec = importlib.util.spec_from_file_location("write_settings", ROOT / "documentation" / "write_settings.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.PAGE.read_text(encoding="utf-8") == writer.settings_page(), (
        "run python documentation/write_settings.py"
    )


def test_settings_that_pages_name_exist():
    keys = {
        key
        for page in PAGES
        for key in re.findall(
            r"`((?:training|teacher|augmentation|selection(?!\.json)|uuds|transmedseg|prototypes"
            r"|tcsa|planning)(?:\.[a-z_]+)+)(?:=[^`]*)?`",
            page.read_text(),
        )
    }
    known = set(
        re.findall(
            r"^\| `([\w.]+)` \|", (ROOT / "documentation" / "reference" / "settings.md").read_text(), re.MULTILINE
        )
    )
    assert keys and keys <= known, keys - known


def test_the_examples_in_python_run():
    page = ROOT / "documentation" / "reference" / "python.md"
    text = re.sub(r"^```\w*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, "python.md", str(page), 0)
    printed: list[str] = []
    try:
        found = doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    finally:
        torch.set_printoptions(profile="default")
    assert found.attempted > 60 and found.failed == 0, "".join(printed)


def test_every_loss_and_statistic_is_in_the_python_page():
    text = (ROOT / "documentation" / "reference" / "python.md").read_text(encoding="utf-8")
    modules = {
        f"nnuda.{room}.{path.stem}"
        for room in ("losses", "statistics")
        for path in (ROOT / "nnuda" / room).glob("*.py")
        if path.stem != "__init__"
    }
    missing = sorted(module for module in modules if f"from {module} import" not in text)
    assert not missing, f"documentation/reference/python.md shows no example of {', '.join(missing)}: add one"


def test_the_plan_keys_example_is_valid():
    page = ROOT / "documentation" / "reference" / "plan-key.md"
    example = json.loads(re.search(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1])
    Draft202012Validator(SCHEMA).validate(example)
    parse_set_arguments(f"{key}={json.dumps(value)}" for key, value in example["settings"].items())


def test_every_dependency_is_explained():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:dependencies|hf|benchmark|docs|test) = \[(.*?)\](?!\")", project, re.DOTALL | re.MULTILINE)
    assert len(lists) == 5
    declared = {name for text in lists for name in re.findall(r'"([\w-]+)[^"]*"', re.sub(r"#.*", "", text))} - {"nnuda"}
    explained = set(
        re.findall(
            r"^\| `([\w-]+)` \|", (ROOT / "documentation" / "explanation" / "dependencies.md").read_text(), re.MULTILINE
        )
    )
    assert explained == declared


@pytest.mark.parametrize("trainer", own_trainers())
def test_every_trainer_has_a_row_and_a_page(trainer):
    predicting_network(trainer)
    rows = section(TRAINERS_PAGE, "Trainers").splitlines()
    row = next(line for line in rows if line.startswith(f"| `{trainer}` |"))
    assert re.search(r"\]\(\.\./explanation/[\w-]+\.md\)", row), (
        f"{TRAINERS_PAGE.name}, row of {trainer}: it links no page of the method. Write documentation/explanation/"
        f"{find_trainer(trainer).preset}.md and link it in the row's second cell, "
        f"[METHOD](../explanation/{find_trainer(trainer).preset}.md)."
    )
