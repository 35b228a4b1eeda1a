from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from nnuda.evaluation.class_features import ClassFeatures
from nnuda.evaluation.feature_embedding import draw, embed, neighbours
from nnuda.evaluation.reading import EvaluationError

NAMES = ("background", "a", "b")


def clouds(apart: float, number: int = 40, left_out: int | None = None, names=NAMES) -> ClassFeatures:
    """A cloud a class and domain; those of the domains lie `apart`, those of the classes 100."""
    rng, parts = np.random.default_rng(0), []
    for k in range(len(names)):
        for domain in (0, 1):
            if (k, domain) != (left_out, 1):
                centre = 100 * np.eye(5)[k] + apart * domain * np.eye(5)[4]
                parts.append((rng.normal(centre, 1, (number, 5)), k, domain))
    values, classes, domains = zip(*((v, [k] * len(v), [d] * len(v)) for v, k, d in parts))
    return ClassFeatures(*map(np.concatenate, (values, classes, domains)), names, True)


def test_neighbours_tell_mixed_domains_from_separate_ones():
    other, same = neighbours(clouds(0))
    assert other == pytest.approx(0.5, abs=0.05) and same == 1
    assert neighbours(clouds(50)) == (0, 1)


def test_neighbours_equal_a_loop():
    found = clouds(1.5, number=12)
    other, same = [], []
    for i, value in enumerate(found.values):
        order = [j for j in np.argsort(np.square(found.values - value).sum(1)) if j != i][:15]
        other.append(np.mean(found.domains[order] != found.domains[i]))
        same.append(np.mean(found.classes[order] == found.classes[i]))
    assert neighbours(found) == pytest.approx((np.mean(other), np.mean(same)))


def test_a_class_of_one_domain_does_not_count_as_apart():
    found = clouds(0, left_out=1)
    assert found.missing(0) == [] and found.missing(1) == ["a"]
    assert neighbours(found)[0] == pytest.approx(0.5, abs=0.07)
    alone = clouds(0, left_out=0, names=NAMES[:1])
    assert np.isnan(neighbours(alone)[0])


def test_tsne_keeps_clouds_together():
    found = clouds(0, number=15)
    places = embed(found)
    assert places.shape == (90, 2) and np.array_equal(places, embed(found))
    nearest = np.square(places[:, None] - places[None]).sum(2) + 1e9 * np.eye(90)
    assert (found.classes[nearest.argmin(1)] == found.classes).all()
    with pytest.raises(EvaluationError, match="at least four voxels"):
        embed(ClassFeatures(found.values[:3], found.classes[:3], found.domains[:3], NAMES, True))


def test_the_picture_has_a_panel_a_network(tmp_path):
    found = clouds(0, number=5)
    places = np.random.default_rng(0).normal(size=(30, 2))
    shapes = {}
    for number in (1, 2):
        file = tmp_path / f"{number}.png"
        draw({f"network {i}": (found, places) for i in range(number)}, str(file))
        picture = matplotlib.image.imread(file)
        assert picture[..., :3].std() > 0.05
        shapes[number] = picture.shape
    assert shapes[2][1] == 2 * shapes[1][1] and [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []
    others = clouds(0, number=5, names=("background", "a", "c"))
    with pytest.raises(EvaluationError, match="the same classes"):
        draw({"one": (found, places), "two": (others, places)}, str(tmp_path / "x.png"))
