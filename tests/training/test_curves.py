from __future__ import annotations

import math

import matplotlib
import matplotlib.image
import numpy as np
import pytest
import torch

from nnuda.results import LOGGED
from nnuda.training.curves import EpochMeans, plot_curves


def test_means_of_an_epoch():
    means = EpochMeans(torch.device("cpu"))
    for value in (1.0, 2.0, 6.0):
        means.update("a", torch.tensor(value))
    means.update("b", torch.tensor(5.0, dtype=torch.float16))
    means.update("b", 7.0)
    assert means.compute(["b", "a"]) == {"b": 6.0, "a": 3.0}
    assert list(means.compute(["b", "a"])) == ["b", "a"]


def test_a_value_counts_where_there_is_one():
    means = EpochMeans(torch.device("cpu"))
    for value, counted in ((1.0, True), (50.0, False), (3.0, True)):
        means.update("a", torch.tensor(value), torch.tensor(counted))
    means.update("never", torch.tensor(0.0), torch.tensor(False))
    computed = means.compute(["a", "never"])
    assert computed["a"] == 2.0 and math.isnan(computed["never"])


def test_a_name_without_a_value_is_nan():
    means = EpochMeans(torch.device("cpu"))
    means.update("a", 1.0)
    computed = means.compute(["a", "off"])
    assert computed["a"] == 1.0 and math.isnan(computed["off"])


def test_a_new_epoch_starts_empty():
    means = EpochMeans(torch.device("cpu"))
    means.update("a", 1.0)
    means.reset()
    assert math.isnan(means.compute(["a"])["a"])
    means.update("a", 4.0)
    assert means.compute(["a"]) == {"a": 4.0}


def test_no_graph_is_kept():
    means, value = EpochMeans(torch.device("cpu")), torch.tensor(2.0, requires_grad=True)
    means.update("a", value * 3)
    assert not means.sums["a"].requires_grad


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_a_picture_of_any_number_of_curves(tmp_path, count):
    logged = {f"{LOGGED}term{i}": [1.0, float("nan"), 0.5] for i in range(count)}
    plot_curves(logged, str(tmp_path))
    picture = matplotlib.image.imread(tmp_path / "nnuda_progress.png")
    rows, columns = math.ceil(count / 3), min(count, 3)
    assert picture.shape[0] == pytest.approx(rows * 3.2 * 80, abs=1) and picture.shape[1] == pytest.approx(
        columns * 5 * 80, abs=1
    )
    assert np.unique(picture[..., :3]).size > 2
    assert not matplotlib.pyplot.get_fignums()


def test_lines_of_a_group_share_a_panel(tmp_path, monkeypatch):
    monkeypatch.setattr("nnuda.training.curves.plt.close", lambda figure: None)
    names = ("source", "cosine/text", "cosine/source")
    plot_curves({f"{LOGGED}{name}": [1.0, 2.0] for name in names}, str(tmp_path))
    first, second = matplotlib.pyplot.gcf().axes
    monkeypatch.undo()
    matplotlib.pyplot.close()
    assert (first.get_title(), first.get_legend()) == ("source", None)
    assert second.get_title() == "cosine"
    assert [text.get_text() for text in second.get_legend().texts] == ["text", "source"]


@pytest.mark.parametrize("values", [[], [float("nan")], [float("nan")] * 3])
def test_a_term_that_never_ran_does_not_stop_the_picture(tmp_path, values):
    plot_curves({f"{LOGGED}off": values}, str(tmp_path))
    assert (tmp_path / "nnuda_progress.png").is_file()
