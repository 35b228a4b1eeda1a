"""A slider through the slices of volumes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, faults
from made_volumes import SHAPE, ball, make_volume_run, write_balls, write_noisy_images
from matplotlib.image import imread

from nnuda.evaluation.overlay import Stack
from nnuda.files import write_text
from nnuda.report.page import Picture, Slices
from nnuda.report.predictions import find_predictions
from nnuda.report.run import read_run
from nnuda.report.run_page import Request, report_html
from nnuda.report.slices import case_pictures, shown_slices

PHONE, LAPTOP = 390, 1366
CASES = {"a<i>": 0, "b": 3, "c": 8, "d": 20, "e": 5}  # the shift along x, in pixels: d is the worst one
SHOWN = ("d", "e", "a<i>")
SHOWS = """[...document.querySelectorAll('.slices')].map(figure => [figure.dataset.case,
    [...figure.querySelectorAll('img')].filter(image => image.checkVisibility()).map(image => image.alt),
    [...figure.querySelectorAll('.slice span')].filter(text => text.checkVisibility()).map(text => text.textContent).join(),
    figure.querySelector('.slider').checkVisibility()])"""


def stack(filled: list[int], length: int = 38) -> Stack:
    """Slices of grey values 0, 1, 2 ..., some of which hold a label."""
    labels = np.zeros((length, 6, 8), int)
    labels[filled, 2:4, 2:4] = 1
    return Stack(np.repeat(np.arange(float(length)), 48).reshape(length, 6, 8), {"this run": labels}, 1.0)


def test_slices_are_those_with_outlines_and_two_more_at_each_end() -> None:
    assert shown_slices(stack([10, 12]), 12) == [8, 9, 10, 11, 12, 13, 14]
    assert shown_slices(stack([0, 37], 38), 0)[-1] == 37 and shown_slices(stack([1], 3), 1) == [0, 1, 2]


@pytest.mark.parametrize("start", [0, 3, 51, 100, 199])
def test_at_most_24_slices_with_the_one_that_is_shown_first(start: int) -> None:
    shown = shown_slices(stack(list(range(200)), 200), start)
    assert len(shown) == 24 and start in shown and sorted(set(shown)) == shown
    assert max(np.diff(shown)) <= 2 * 199 / 23


def test_without_any_outline_all_slices_count() -> None:
    assert shown_slices(stack([], 5), 2) == [0, 1, 2, 3, 4]


def test_each_picture_is_of_its_slice_in_the_same_grey_values() -> None:
    drawn = case_pictures(stack([9, 10, 11], 20), {}, {}, (None, None), "case", "worst case", "below")
    assert isinstance(drawn, Slices) and (drawn.case, drawn.caption) == ("case", "below")
    assert [picture.caption for picture in drawn.pictures] == [f"slice {number} of 20" for number in range(8, 15)]
    assert drawn.start == 2  # of slices with as many voxels the first one: index 9, the 10th slice
    greys = [picture_of(picture)[..., :3].mean() / 255 for picture in drawn.pictures]
    low, high = 0.19, 18.81  # percentiles 1 and 99 of 0 to 19, each in 48 pixels
    np.testing.assert_allclose(greys, [(index - low) / (high - low) for index in range(7, 14)], atol=0.02)


def picture_of(picture: Picture) -> np.ndarray:
    assert picture.address.startswith("data:image/webp;base64,")
    return imread(io.BytesIO(picture.file), format="webp")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five predicted volumes, three of which are shown, thrice each."""
    root = tmp_path_factory.mktemp("volumes")
    run = read_run(str(make_volume_run(root / "results")))
    predictions = write_balls(root / "predictions", CASES)
    before = write_balls(root / "before", dict.fromkeys(CASES, 14))
    labels = write_balls(root / "labels", dict.fromkeys(CASES, 0))
    images = write_noisy_images(root / "images", list(CASES))
    given = find_predictions(run, str(predictions), str(before), str(labels), str(images))
    write_text(report_html(run, Request(given, histogram_cases=0)), str(root / "report.html"))
    return root / "report.html"


@pytest.fixture
def opened(page: Path, browser: Browser) -> Iterator[Browser]:
    browser.open(page, LAPTOP)
    yield browser
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_a_page_of_volumes_fits_is_small_and_loads_nothing(page: Path, browser: Browser, width: int) -> None:
    assert faults(browser, page, width) == []
    assert page.stat().st_size < 3e6
    assert len(re.findall("data:image/webp", page.read_text())) == 9 * 24


@pytest.mark.slow
def test_the_keyboard_moves_all_pictures_of_the_case_and_of_no_other(opened: Browser) -> None:
    widest = 1 + int(np.count_nonzero(ball(), axis=(1, 2)).argmax())
    label = f"slice {widest} of {SHAPE[0]}"
    first = opened.evaluate(SHOWS)
    assert [case for case, *_ in first] == [*SHOWN] * 3
    assert all(len(alts) == 1 and alts[0].endswith(label) and text == label for _, alts, text, _ in first)
    opened.evaluate("document.querySelector('.slices input:checked').focus()")
    opened.press("ArrowRight")
    moved = opened.evaluate(SHOWS)
    assert all(controls for *_, controls in moved)
    for (case, alts, text, _), (_, before, *_) in zip(moved, first):
        assert text == (f"slice {widest + 1} of {SHAPE[0]}" if case == "d" else label)
        assert len(alts) == 1 and alts[0].endswith(text) and (alts == before) == (case != "d")


@pytest.mark.slow
def test_a_click_beside_any_picture_of_a_case_moves_all_of_them_without_a_script(opened: Browser, page: Path) -> None:
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    opened.events.clear()
    opened.call("Page.navigate", url=page.resolve().as_uri())
    opened.wait_for("Page.loadEventFired")
    opened.evaluate("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
    assert opened.evaluate("document.scripts.length") == 0
    for end, label in (("first", 5), ("last", 33)):  # outlines from index 6 to 30, two more at each end, counted from 1
        opened.evaluate(
            f"[...document.querySelectorAll('.slices.c0')].at(-1).querySelector('label:{end}-of-type').click()"
        )
        shown = opened.evaluate(SHOWS)
        assert [text == f"slice {label} of {SHAPE[0]}" for _, _, text, _ in shown] == [True, False, False] * 3
        assert all(len(alts) == 1 and alts[0].endswith(text) for _, alts, text, _ in shown)


@pytest.mark.slow
def test_print_is_light_shows_the_chosen_slice_and_no_controls(opened: Browser, page: Path) -> None:
    opened.evaluate("document.querySelector('.slices label').click()")
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    opened.call("Emulation.setEmulatedMedia", media="screen", features=[dark])
    ground = "getComputedStyle(document.body).backgroundColor"
    assert opened.evaluate(ground) == "rgb(22, 24, 27)"
    opened.call("Emulation.setEmulatedMedia", media="print", features=[dark])
    assert opened.evaluate(ground) == "rgb(255, 255, 255)"
    assert opened.evaluate("getComputedStyle(document.querySelector('img.chart')).filter") == "none"
    shown = opened.evaluate(SHOWS)
    assert not any(controls for *_, controls in shown) and shown[0][2] == f"slice 5 of {SHAPE[0]}"
    assert all(len(alts) == 1 for _, alts, *_ in shown)
    assert not opened.evaluate("document.querySelector('nav').checkVisibility()")
    kept = "['figure', 'tr', '.table', '.fact'].map(of => getComputedStyle(document.querySelector(of)).breakInside)"
    assert set(opened.evaluate(kept)) == {"avoid"}
