from __future__ import annotations

import pytest

from nnuda.settings import effective_settings
from nnuda.training.loss_terms import LossTerm, loss_terms


@pytest.mark.parametrize("progress, weight", [(0.0, 0.0), (0.19, 0.0), (0.2, 0.0), (0.3, 1.0), (0.4, 2.0), (0.6, 4.0),
                                              (0.61, 4.0), (1.0, 4.0)])
def test_a_weight_starts_and_grows_linearly(progress, weight):
    assert LossTerm("a", weight=4.0, start=0.2, ramp=0.4).weight_at(progress) == pytest.approx(weight)


@pytest.mark.parametrize("progress, weight", [(0.49, 0.0), (0.5, 3.0), (1.0, 3.0)])
def test_without_a_ramp_a_weight_jumps(progress, weight):
    assert LossTerm("a", weight=3.0, start=0.5).weight_at(progress) == weight


def test_a_plain_weight_is_full_from_the_first_step():
    assert LossTerm("a", weight=3.0).weight_at(0.0) == 3.0


def test_terms_are_the_weights_above_0():
    terms = loss_terms({"x.a.weight": 2, "x.a.start": 0.1, "x.a.ramp": 0.2, "x.a.tau": 5, "x.b.weight": 0.0,
                        "x.b.start": 0.1, "teacher.weight": 0.5, "x.text.weight_decay": 0.01,
                        "training.num_epochs": 3})
    assert terms == {"a": LossTerm("a", 2, 0.1, 0.2), "teacher": LossTerm("teacher", 0.5, 0.0, 0.0)}


def test_terms_of_the_presets():
    assert loss_terms(effective_settings("source_only", {})) == {}
    terms = loss_terms(effective_settings("uuds", {"uuds.contrast.weight": 0}))
    assert terms.keys() == {"domain_distillation", "synthetic_distillation", "pseudo_label", "identity"}
    assert (terms["pseudo_label"].start, terms["pseudo_label"].ramp) == (0.1, 0.1)
