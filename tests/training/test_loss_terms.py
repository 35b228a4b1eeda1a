from __future__ import annotations

import math

import pytest
from harness import make_trainer, train_steps

from nnuda.settings import effective_settings
from nnuda.training.loss_terms import LossTerm, LossTermError, loss_terms
from nnuda.training.trainer import finest, nnUDATrainer

TERMS = {"tcsa.text.start": 0, "tcsa.prototypes.start": 0.5, "training.num_epochs": 2}


@pytest.mark.parametrize(
    "progress, weight",
    [(0.0, 0.0), (0.19, 0.0), (0.2, 0.0), (0.3, 1.0), (0.4, 2.0), (0.6, 4.0), (0.61, 4.0), (1.0, 4.0)],
)
def test_a_weight_starts_and_grows_linearly(progress, weight):
    assert LossTerm("a", weight=4.0, start=0.2, ramp=0.4).weight_at(progress) == pytest.approx(weight)


@pytest.mark.parametrize("progress, weight", [(0.49, 0.0), (0.5, 3.0), (1.0, 3.0)])
def test_without_a_ramp_a_weight_jumps(progress, weight):
    assert LossTerm("a", weight=3.0, start=0.5).weight_at(progress) == weight


def test_a_plain_weight_is_full_from_the_first_step():
    assert LossTerm("a", weight=3.0).weight_at(0.0) == 3.0


def test_terms_are_the_weights_above_0():
    terms = loss_terms(
        {
            "x.a.weight": 2,
            "x.a.start": 0.1,
            "x.a.ramp": 0.2,
            "x.a.tau": 5,
            "x.b.weight": 0.0,
            "x.b.start": 0.1,
            "teacher.weight": 0.5,
            "x.text.weight_decay": 0.01,
            "training.num_epochs": 3,
        }
    )
    assert terms == {"a": LossTerm("a", 2, 0.1, 0.2), "teacher": LossTerm("teacher", 0.5, 0.0, 0.0)}


@pytest.mark.parametrize("alike, weight", [(True, 0.6), (False, 2)])
def test_a_term_may_count_less_where_there_is_no_shift(alike, weight):
    terms = loss_terms({"planning.alike": alike, "x.a.weight": 2, "x.a.without_shift": 0.3, "x.b.weight": 2})
    assert {name: term.weight for name, term in terms.items()} == {"a": weight, "b": 2}


def test_terms_of_the_presets():
    assert loss_terms(effective_settings("source_only", {})) == {}
    paper = loss_terms(effective_settings("uuds", {"training.recipe": "paper", "uuds.contrast.weight": 0}))
    assert paper.keys() == {"domain_distillation", "synthetic_distillation", "pseudo_label", "identity"}
    assert (paper["pseudo_label"].start, paper["pseudo_label"].ramp) == (0.1, 0.1)
    assert loss_terms(effective_settings("uuds", {})).keys() == {
        "teacher",
        "domain_distillation",
        "contrast",
        "identity",
    }


class Method(nnUDATrainer):
    """A method with TCSA's two terms; the second starts in the second epoch."""

    preset = "tcsa"

    def adaptation_losses(self, source, target, outputs):
        loss = finest(outputs.target).square().mean()
        return {name: loss for name in ("text", "prototypes") if self.active(name)}


def run(toy, losses, epoch: int = 0) -> None:
    """Two steps of a method that returns what `losses(trainer, loss)` makes of a loss."""

    def adaptation_losses(self, source, target, outputs):
        return losses(self, finest(outputs.target).square().mean())

    made = type("Method", (Method,), {} if losses is None else {"adaptation_losses": adaptation_losses})
    trainer = make_trainer(toy, made, "2d_toy", "contract", TERMS)
    trainer.current_epoch = epoch
    train_steps(trainer, 2)


def test_what_agrees_with_the_preset_trains(toy_environment):
    run(toy_environment, None)
    run(toy_environment, None, epoch=1)


@pytest.mark.parametrize(
    "losses, message",
    [
        (
            lambda self, loss: {"text": loss} if self.active("txt") else {},
            "Terms of the preset tcsa: teacher, text, prototypes, adversary; got 'txt'",
        ),
        (lambda self, loss: {"text": loss, "other": loss}, "Terms of the preset tcsa: .*; got 'other'"),
        (lambda self, loss: {}, "active in this step, text; missing: text; returned though off: none"),
        (lambda self, loss: {"text": loss, "prototypes": loss}, "missing: none; returned though off: prototypes"),
        (lambda self, loss: {"text": loss, "source": loss}, "got 'source'"),
        (lambda self, loss: {"text": loss.item()}, "expected a scalar tensor for the term text; got float 0"),
        (lambda self, loss: {"text": loss.expand(2)}, r"got a tensor of shape \(2,\)"),
        (lambda self, loss: {"text": loss.detach()}, "the term text has no graph"),
    ],
)
def test_what_does_not_agree_stops_in_the_first_step(toy_environment, losses, message):
    with pytest.raises(LossTermError, match=message):
        run(toy_environment, losses)


def test_a_term_that_starts_later_is_compared_when_it_starts(toy_environment):
    with pytest.raises(LossTermError, match="active in this step, prototypes, text; missing: prototypes"):
        run(toy_environment, lambda self, loss: {"text": loss}, epoch=1)


def test_a_term_that_is_off_is_no_unknown_name(toy_environment):
    run(toy_environment, lambda self, loss: {"text": loss} if not self.active("adversary") else {})


def test_a_sigmoid_ramp_is_that_of_mean_teachers():
    """exp(-5 (1 - x)^2) over the ramp: on from its first step, whole at its end."""
    made = loss_terms({"m.term.weight": 2.0, "m.term.start": 0.2, "m.term.ramp": 0.4, "m.term.ramp_shape": "sigmoid"})[
        "term"
    ]
    assert made.weight_at(0.1999) == 0
    for x in (0.0, 0.25, 0.5, 1.0):
        assert made.weight_at(0.2 + 0.4 * x) == pytest.approx(2 * math.exp(-5 * (1 - x) ** 2))
    assert made.weight_at(0.9) == 2
