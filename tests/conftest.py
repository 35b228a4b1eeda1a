from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("nnUNet_compile", "f")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite has a process a core
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "training")]

from browser import Browser, find_browser  # noqa: E402
from toy import CPU, SOURCE, TARGET, Toy, write_dataset  # noqa: E402

# A test that uses one of these trains, builds a wheel, makes an environment or starts a browser: it is slow without having to say so.
SLOW_FIXTURES = {"toy", "variant", "ranks", "wheel", "sources", "plain", "browser"}


# Few tests that take minutes: begun last, one of them would keep a process busy while the others have nothing to do.
LONGEST = (
    "test_documented_roads.py",
    "test_fault_injection.py",
    "test_adapt_command.py",
    "test_stock_commands.py",
    "test_export_command.py",
    "test_packaging.py",
    "test_notebook.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, for pytest -m "not slow"; begin with the longest files."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    last = len(LONGEST)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else last)


@pytest.fixture(autouse=True)
def characters_stay() -> Iterator[None]:
    """Some library sets the C locale, after which files of later tests are read as ASCII."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Two toy domains, planned and preprocessed; the target has no labels on disk. Plans are shared: make variants."""
    folder = tmp_path_factory.mktemp("toy")
    if "NNUDA_TEST_TOY" in os.environ:  # tests/mutate.py runs pytest many times
        shutil.copytree(os.environ["NNUDA_TEST_TOY"], folder, dirs_exist_ok=True)
        return Toy(folder)
    made = Toy(folder)
    write_dataset(made.raw / SOURCE, labelled=True, inverted=False)
    write_dataset(made.raw / TARGET, labelled=False, inverted=True)
    made.plan()
    return made


@pytest.fixture
def toy_environment(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The toy's folders and the CPU's settings in this process's environment."""
    for name, value in {**CPU, **toy.folders}.items():
        monkeypatch.setenv(name, value)
    return toy


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one installed the test is skipped."""
    command = find_browser()
    if command is None:
        pytest.skip("no Chromium or Chrome is installed (Debian: apt-get install chromium): pages are not looked at")
    with Browser(command) as opened:
        yield opened
