"""Published figures: their schema, a page for each, sums that agree, and pairs that nnUDA_convert makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnuda.convert.collections import COLLECTIONS
from nnuda.files import schema_complaint
from nnuda.published.results import MEAN, SCHEMA, load_published, published_pairs

FILES = sorted((Path(__file__).parents[1] / "nnuda" / "published").glob("*.json"))


def test_every_pair_can_be_converted() -> None:
    known = {
        f"{name}_{source}_to_{target}"
        for name, collection in COLLECTIONS.items()
        for source in collection.domains
        for target in collection.domains
        if source != target
    }
    assert set(published_pairs()) <= known
    assert len(published_pairs()) == sum(len(json.loads(file.read_text())["pairs"]) for file in FILES)  # each once


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_figure_has_a_page_and_the_mean_is_that_of_the_classes(file: Path) -> None:
    content = json.loads(file.read_text())
    assert schema_complaint(content, SCHEMA) == "" and file.stem in content["pairs"]
    used = set()
    for result in content["results"]:
        used.add(result["source"])
        assert set(result["dice"]) <= {MEAN, *content["classes"]}, result
        values = [result["dice"].get(name) for name in content["classes"]]
        if MEAN in result["dice"] and None not in values:
            assert sum(values) / len(values) == pytest.approx(result["dice"][MEAN], abs=0.0011), result
    assert used == set(content["sources"])
    lines = [(result["method"], result["source"]) for result in content["results"]]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    "pair, method, name, value",
    [  # as they stand in the papers
        ("mmwhs_ct_to_mr", "SIFA v2", MEAN, 0.634),
        ("mscmr-varda_bssfp_to_lge", "SLAug, its authors' model", MEAN, 0.8669),
        ("mscmr_bssfp_to_lge", "supervised", MEAN, 0.8815),
        ("chaos-btcv_chaos_to_btcv", "SLAug with S2S2", "spleen", 0.8221),
        ("amos_ct_to_mr", "GIN", MEAN, 0.637),
        ("brats_t1ce_to_t1", "labelled target", MEAN, 0.686),
        ("crossmoda_cet1_to_hrt2", "COSMOS", "cochlea", 0.842),
        ("flare_ct_to_mr", "style translation and self-training", MEAN, 0.7942),
        ("brats_t2_to_flair", "UUDS", "whole tumour", 0.7522),
    ],
)
def test_figures_of_papers(pair: str, method: str, name: str, value: float) -> None:
    (result,) = (result for result in load_published(pair).results if result.method == method)
    assert result.dice[name] == value


@pytest.mark.parametrize(
    "change",
    [
        {"sources": {}},
        {"results": [{"method": "a", "trained_with": "source", "dice": {"mean": 0.5}}]},
        {"results": [{"method": "a", "trained_with": "source", "dice": {"mean": 50.0}, "source": "s"}]},
        {"results": [{"method": "a", "trained_with": "magic", "dice": {"mean": 0.5}, "source": "s"}]},
        {"sources": {"s": {"title": "a blog", "address": "https://example.org/x", "place": "Table 1"}}},
    ],
)
def test_the_schema_refuses(change: dict) -> None:
    content = json.loads(FILES[0].read_text())
    assert schema_complaint({**content, **change}, SCHEMA)
