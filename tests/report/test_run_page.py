"""The whole page, and the page of a training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import Browser, faults
from harness import make_trainer, run_epochs
from made_run import make_run, write_images, write_predictions
from toy import Toy

from nnuda.files import write_text
from nnuda.report.predictions import find_predictions
from nnuda.report.run import read_run
from nnuda.report.run_page import NO_PREDICTIONS, Request, report_html

PHONE, LAPTOP = 390, 1366
LONG = "a_case_with_a_very_long_name_of_a_hospital_and_a_scanner_and_a_date"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all that a report can have."""
    root = tmp_path_factory.mktemp("report")
    run = read_run(str(make_run(root / "results")))
    cases = {LONG: 0, "b<i>": 2, "c": 8}
    labels = write_predictions(root / "labels", dict.fromkeys(cases, 0))
    predictions = write_predictions(root / "predictions", cases, dict.fromkeys(cases, 0.8))
    before = write_predictions(root / "before", dict.fromkeys(cases, 9))
    images = write_images(root / "images", list(cases))
    names = ("this run", "source-only")
    given = find_predictions(run, *map(str, (predictions, before, labels, images)), names)
    request = Request(given, {0: str(before), 1: str(predictions)}, histogram_cases=0)
    write_text(report_html(run, request), str(root / "report.html"))
    return root / "report.html"


@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_it_fits_shows_its_pictures_and_loads_nothing(page: Path, browser: Browser, width: int) -> None:
    assert faults(browser, page, width) == []
    assert len(browser.open(page, width)["pictures"]) >= 9 + 6 + 6 + 3 + 1


def test_answers_come_first(page: Path) -> None:
    text = page.read_text()
    assert page.stat().st_size < 5e6 and "<i>b" not in text and "b&lt;i&gt;" in text
    first = re.sub(r"<[^>]+>", "", text[text.index('<div class="facts">') : text.index("<nav>")])
    for answer in (
        "What was adapted",
        "nnUDATrainerPrototypes",
        "terms on the target: similarity, contrast",
        "2 settings differ from the preset",
        "oracle: true",
        "better than source-only in 3 of 3 cases",
        "worst case: c, ",
        "c is the worst case; its pictures are the first below.",
        "2 alarms",
        "disc has vanished (epoch 1).",
    ):
        assert answer in first, answer
    questions = ("Did it work?", "Is anything wrong?", "What next?", "What was adapted")
    assert sorted(questions, key=first.index) == list(questions)
    titles = re.findall(r'<section id="([^"]+)">', text)
    assert titles[0] == "target-cases" and all(f'href="#{title}"' in text for title in titles)


def test_without_predictions_the_answer_is_that_nothing_is_known(tmp_path: Path) -> None:
    text = report_html(
        read_run(str(make_run(tmp_path, "checkpoint_latest.pth", with_selection=False))), Request(histogram_cases=0)
    )
    assert "Not known without target labels" in text and NO_PREDICTIONS in text and "oracle" not in text
    assert "Predict target images" in text
    assert "training is not over" in re.sub(r"<wbr>", "", text) and "nothing watched for a collapse" in text


def test_of_a_training(toy_environment: Toy, browser: Browser, tmp_path: Path) -> None:
    trainer = make_trainer(
        toy_environment, "nnUDATrainerPrototypes", "2d_toy", "report", {"prototypes.target.start": 0}
    )
    run_epochs(trainer, 2)
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    run = read_run(trainer.output_folder)
    page = tmp_path / "report.html"
    request = Request(histogram_cases=2, feature_cases=1)
    write_text(report_html(run, request), str(page))
    assert faults(browser, page, PHONE) == []
    text = re.sub(r"<[^>]+>", " ", page.read_text())
    for found in (
        "MR",
        "1.5 × 1 × 1",
        "12 × 40 × 40",
        "common area",
        "ZScoreNormalization",
        "similarity",
        "not measured on the CPU",
        "selected while training",
        "a training step (median)",
        "this run: of the nearest neighbours",
        "what the network predicts",
    ):
        assert found in text, found
    assert "were not found" not in text and "Not drawn" not in text
