"""--rounds of nnUDA_adapt: its options, what they must be, and what is said at the end."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nnuda.cli import pseudo_label
from nnuda.cli.ranges import whole
from nnuda.datasets import Domain
from nnuda.errors import AdaptError
from nnuda.planning.choice import STOCK_CONFIGURATIONS
from nnuda.results import read_estimate

if TYPE_CHECKING:
    from nnuda.stages.road import Road, Rounds
    from nnuda.stages.rounds import Round

MOST = 9
OF_ROUNDS = ("round_datasets", "round_configuration", "round_trainer")
RULES = ("confidence", "keep_share", "all_components", "size_spread")
DO_NOT_USE = "do not use"


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """--rounds and what belongs to it."""
    group = parser.add_argument_group(
        "self-training rounds", "each: pseudo-labels, then a plain nnU-Net of both domains"
    )
    group.add_argument(
        "--rounds", type=whole(0, MOST), default=0, metavar="N", help="rounds after the adaptation (default: 0)"
    )
    group.add_argument(
        "--round-datasets",
        nargs="+",
        metavar="NUMBER",
        help="datasets to write, one a round (default: the first free numbers from 601 on)",
    )
    group.add_argument(
        "--round-configuration", metavar="CONFIGURATION", help="of nnU-Net's own plan (default: that of -c)"
    )
    group.add_argument(
        "--round-trainer",
        metavar="TRAINER",
        help="one of nnU-Net's own (default: nnUNetTrainer, or nnUNetTrainer_Xepochs, whose steps come nearest to the "
        "adaptation's)",
    )
    pseudo_label.add_rules(group)


def check_rounds(args: argparse.Namespace) -> None:
    """What can be seen to be wrong in the options alone.

    Raises:
        AdaptError: options that do not go together; a configuration that nnU-Net's planner does not make.
    """
    given = [f"--{name.replace('_', '-')}" for name in OF_ROUNDS if getattr(args, name) is not None]
    given += [word for word in _rules(args) if word.startswith("--")]
    if not args.rounds:
        if given:
            raise AdaptError(f"{given[0]}: expected --rounds N with it, N from 1 on. Add it, or leave {given[0]} out.")
        return
    if args.source_free:
        raise AdaptError(
            "--rounds: expected a labelled source, to which a round adds target cases; got --source-free. Leave one of "
            "the two out."
        )
    pseudo_label.parse_confidence(args.confidence)
    configuration = args.round_configuration or args.c
    if configuration not in STOCK_CONFIGURATIONS:
        option = "-c" if args.round_configuration is None else "--round-configuration"
        raise AdaptError(
            f"{option}: expected one of {', '.join(STOCK_CONFIGURATIONS)} with --rounds, as nnU-Net's own plan has them; got "
            f"{configuration}. Name one with --round-configuration."
        )


def read_rounds(args: argparse.Namespace, source: Domain, target: Domain) -> Rounds | None:
    """What the options ask for, of `check_rounds`; None without rounds.

    Raises:
        AdaptError, DatasetError, RoundError: a round would fail later.
    """
    if not args.rounds:
        return None
    from nnuda.selftraining.dataset import target_cases
    from nnuda.selftraining.round import class_confidences
    from nnuda.stages.road import Rounds

    _check_trainer(args.round_trainer)
    words = _rules(args)
    options = pseudo_label.options_of(
        pseudo_label.build_parser().parse_args(["-t", target.name, "-m", "MODEL", "-o", "601", *words])
    )
    target_cases(source, target)
    class_confidences(options.confidence, source.dataset_json)
    return Rounds(
        args.rounds,
        _datasets(args, source, target),
        args.round_configuration or args.c,
        args.round_trainer,
        words,
        options,
    )


def _rules(args: argparse.Namespace) -> list[str]:
    """The rules as words of nnUDA_pseudo_label, where they are not the default."""
    parser, words = pseudo_label.build_parser(), []
    for name in RULES:
        value = getattr(args, name)
        if value != parser.get_default(name):
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else value if isinstance(value, list) else [f"{value:g}"]
    return words


def _check_trainer(name: str | None) -> None:
    if name is None:
        return
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from nnuda.trainer_files import known_trainers

    try:
        known = name not in known_trainers() and recursive_find_trainer_class_by_name(name) is not None
    except RuntimeError:
        known = False
    if not known:
        raise AdaptError(
            f"--round-trainer: expected a trainer of nnU-Net's own, such as nnUNetTrainer_250epochs; got {name}. nnuda's "
            "adapt to a target, which a round has among its training cases."
        )


def _datasets(args: argparse.Namespace, source: Domain, target: Domain) -> list[str]:
    from nnuda.selftraining.dataset import output_name

    if args.round_datasets is None:
        return []
    names = list(dict.fromkeys(output_name(word, source.name, target.name) for word in args.round_datasets))
    if len(names) != args.rounds:
        raise AdaptError(
            f"--round-datasets: expected {args.rounds} different numbers, one a round; got "
            f"{' '.join(args.round_datasets)}. Name as many as --rounds says, or leave it out."
        )
    return names


# ---- at the end -----------------------------------------------------------------------------------------------------


def print_rounds(road: Road, rounds: Sequence[Round]) -> None:
    """Every model with its estimate, and which to use."""
    estimates = [read_estimate(one.estimate) for one in (road, *rounds)]
    print("\nModels, with the Dice that each may be expected to have on the target:")
    for i, (one, estimate) in enumerate(zip((road, *rounds), estimates)):
        print(f"  {f'round {i}' if i else 'adapted'}: {_expected(estimate['mean'])}, {estimate['verdict'].upper()}")
        print(f"    {one.model_folder}, fold {one.fold}, {one.chosen_checkpoint()}")
    print(
        "These estimates do not say which is better: a round is estimated by cases that it was trained on, and is sure of "
        "the errors that it has learnt."
    )
    last = rounds[-1]
    print(f"The last round's predictions: {last.predictions}\nBeside the adapted model's:   {last.report}")
    print(advice([estimate["verdict"] for estimate in estimates]))


def _expected(mean: dict[str, Any]) -> str:
    if mean["value"] is None:
        return "no estimate"
    return f"{mean['value']:.2f}, from {mean['low']:.2f} to {mean['high']:.2f}"


def advice(verdicts: Sequence[str]) -> str:
    """Which model to use, as far as that can be known without labels.

    Args:
        verdicts: of the adapted model and of each round.
    """
    if verdicts[0] == DO_NOT_USE:
        return "Use none of them before you have scored it with labels: rounds learn the errors of the adapted model."
    if DO_NOT_USE in verdicts:
        bad = verdicts.index(DO_NOT_USE)
        before = "the adapted model" if bad == 1 else f"the model of round {bad - 1}"
        return f"Use {before} at most: the estimate speaks against round {bad}, and what follows has learnt from it."
    return (
        "Whether a round gained anything is not known without labels. Score a few labelled cases with nnUDA_evaluate and "
        "use the better model; without any, use the last round's only if its worst cases look better to you."
    )
