"""Mutation testing of the trainers' glue: faults are put into the code one by one, and a test has to fail.

    python tests/mutate.py                          the named faults
    python tests/mutate.py --sample 40 --seed 1     and so many of all that can be generated

Nothing is written into the tree: a trainer's file is compiled with its fault, a function of nnuda/training gets the
code of its faulty twin, both in this process. Not part of the suite: a fault costs between 3 and 40 seconds. The exit
status is 1 where a fault survived.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import io
import os
import random
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HAND = "tests/trainers/test_step_by_hand.py"
# file -> tests that are to notice a fault in it, and which of them
FILES = {
    "trainers/nnUDATrainerTransMedSeg.py": ([HAND], "transmedseg or table"),
    "trainers/nnUDATrainerPrototypes.py": (
        [HAND, "tests/trainers/test_prototypes.py"],
        "prototypes or cycle or overflow or lacks",
    ),
    "trainers/nnUDATrainerTCSA.py": ([HAND], "tcsa"),
    "trainers/nnUDATrainerUUDS.py": ([HAND], "uuds"),
    "nnuda/training/trainer.py": ([HAND, "tests/training/test_warm_up.py", "tests/trainers/test_baselines.py"], ""),
    "nnuda/training/epochs.py": ([HAND, "tests/training/test_warm_up.py"], ""),
    "nnuda/training/teacher.py": (["tests/training/test_teacher.py", HAND], ""),
    "nnuda/training/loss_terms.py": (["tests/training/test_loss_terms.py", HAND], ""),
    "nnuda/training/optimizers.py": (["tests/training/test_optimizers.py", HAND], ""),
    "nnuda/training/forward.py": (["tests/training/test_forward.py", HAND], ""),
}
# What a step runs of the large files; their other functions (checkpoints, logging, planning's questions) have tests of
# their own, which train for minutes.
STEP = {
    "nnuda/training/trainer.py": {
        "adaptation_step", "train_step", "teacher_loss", "teacher_logits", "update", "adversary_step", "weight", "active",
        "progress", "reads_target", "begins", "configure_adaptation_optimizers", "configure_optimizers",
    },
    "nnuda/training/epochs.py": {"on_train_epoch_start"},
    "trainers/nnUDATrainerTransMedSeg.py": {
        "forward_domains", "teacher_output", "source_loss", "adaptation_losses", "update_statistics", "confident_labels",
        "table", "transferable_augmentation", "copy_paste", "structure",
    },
    "trainers/nnUDATrainerPrototypes.py": {
        "forward_domains", "forward_cycle", "adaptation_losses", "prototypes", "contrast", "cycle_losses",
        "generator_loss", "probabilities", "adversary_losses", "discriminate", "build_modules", "configure_adversary",
    },
    "trainers/nnUDATrainerTCSA.py": {
        "forward_domains", "adaptation_losses", "vision_language", "alignment", "prototypes", "entropy_map",
        "adversary_losses", "build_statistics", "configure_adversary",
    },
    "trainers/nnUDATrainerUUDS.py": {
        "forward_domains", "adaptation_losses", "distillation", "contrast", "configure_adaptation_optimizers",
    },
}  # fmt: skip
SWAPPED = {
    "source": "target", "target": "source", "student": "teacher", "teacher": "student", "student_s": "student_t",
    "student_t": "student_s", "image_s": "image_t", "image_t": "image_s", "here": "there", "there": "here",
    "label_s": "label_t", "label_t": "label_s", "scores_s": "scores_t", "scores_t": "scores_s", "weak": "image",
    "labelled": "unlabelled", "unlabelled": "labelled", "scores_real": "scores_fake", "scores_fake": "scores_real",
    "source_in_target": "target_in_source", "target_in_source": "source_in_target",
}  # fmt: skip


class NotApplied(Exception):
    """A fault that cannot be put into a running process."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        file: below the repository.
        what: was changed, with its line.
        source: text of the whole file with the fault.
    """

    file: str
    what: str
    source: str


# (name, file, text, its replacement); those that an audit of the first version found to survive, M16 and others apart
NAMED = [
    ("the teacher labels the strong view", "nnuda/training/trainer.py", "self.teacher(target.weak)", "self.teacher(target.image)"),
    ("gradients are not unscaled before the clip", "nnuda/training/trainer.py", "scaler.unscale_(self.optimizer)", "pass"),
    ("modules beside are not clipped", "nnuda/training/trainer.py", "in (self.network.parameters(), beside):", "in (self.network.parameters(),):"),
    ("modules beside are not optimised", "nnuda/training/trainer.py", "        if len(self.extra_modules):", "        if False:"),
    ("the discriminators' schedule is never stepped", "nnuda/training/epochs.py", "self.adversary_schedule.step(self.current_epoch)", "pass"),
    ("T: source and target swapped", "trainers/nnUDATrainerTransMedSeg.py", "shift = (there.mean - here.mean)", "shift = (here.mean - there.mean)"),
    ("T: covariance of the wrong domain", "trainers/nnUDATrainerTransMedSeg.py", "covariance = there.covariance", "covariance = here.covariance"),
    ("target statistics from the student", "trainers/nnUDATrainerTransMedSeg.py", '"target": teacher.features}', '"target": outputs.extra["target"].features}'),
    ("confidence of the target's statistics ignored", "trainers/nnUDATrainerTransMedSeg.py", 'self.settings["transmedseg.statistics.confidence"]', "0.0"),
    ("copy-paste: annotation and pseudo-labels swapped", "trainers/nnUDATrainerTransMedSeg.py", "            label_s[:size],\n            label_t,", "            label_t,\n            label_s[:size],"),
    ("L_cl against B_s alone", "trainers/nnUDATrainerPrototypes.py", "for dictionary in self.statistics.values())", 'for dictionary in [self.statistics["source"]] * 2)'),
    ("generators deceive the other discriminator", "trainers/nnUDATrainerPrototypes.py", 'self.generator_loss("image_t", cycle.source.image)', 'self.generator_loss("image_s", cycle.source.image)'),
    ("D: real and made swapped", "trainers/nnUDATrainerPrototypes.py", "least_squares_discriminator(scores_real, scores_fake)", "least_squares_discriminator(scores_fake, scores_real)"),
    ("L_seg_adv on source predictions", "trainers/nnUDATrainerPrototypes.py", "for stream in (cycle.target, cycle.target_in_source)", "for stream in (cycle.source, cycle.source_in_target)"),
    ("confident masks of the target's streams swapped", "trainers/nnUDATrainerPrototypes.py", "[cycle.target.logits, cycle.target_in_source.logits]", "[cycle.target_in_source.logits, cycle.target.logits]"),
    ("the cycle loss is an identity loss", "trainers/nnUDATrainerPrototypes.py", "identity_loss(cycle.source_in_target.image, seen(source))", "identity_loss(cycle.source.image, seen(source))"),
]  # fmt: skip


def named_faults() -> list[Fault]:
    """Those of NAMED.

    Raises:
        SystemExit: the code has changed; correct the list.
    """
    found = []
    for name, file, before, after in NAMED:
        text = (ROOT / file).read_text(encoding="utf-8")
        if text.count(before) != 1:
            sys.exit(
                f"tests/mutate.py, NAMED, {name}: expected {before!r} once in {file}; it is there {text.count(before)} times"
            )
        found.append(Fault(file, name, text.replace(before, after)))
    return found


def places(file: str) -> Iterator[tuple[str, int, int, int]]:
    """(file, line of the function, number of the node in it, number of the change) of all faults of a file, in the
    functions of STEP where it has some."""
    for function in functions_in(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if file in STEP and function.name not in STEP[file]:
            continue
        for number, node in enumerate(ast.walk(function)):
            for change, _ in enumerate(changes(node)):
                yield file, function.lineno, number, change


def functions_in(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def fault_at(file: str, line: int, number: int, change: int) -> Fault | None:
    """The fault of a place; None where it changes nothing."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    before = ast.unparse(tree)
    function = next(node for node in functions_in(tree) if node.lineno == line)
    node = list(ast.walk(function))[number]
    what, apply = list(changes(node))[change]
    apply(node)
    source = ast.unparse(ast.fix_missing_locations(tree))
    return None if source == before else Fault(file, f"{function.name}:{getattr(node, 'lineno', line)}: {what}", source)


def changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """(what is changed, function that changes the node in place)."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
        kind = other[type(node.ops[0])]
        yield f"{ast.unparse(node)} negated", lambda n: n.ops.__setitem__(0, kind())
    if isinstance(node, ast.BinOp) and type(node.op) in (ast.Add, ast.Sub, ast.Mult):
        kind = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}[type(node.op)]
        yield f"{ast.unparse(node)} with another sign", lambda n: setattr(n, "op", kind())
    if (
        isinstance(node, ast.Call)
        and len(node.args) >= 2
        and not any(isinstance(a, ast.Starred) for a in node.args[:2])
    ):
        yield f"{ast.unparse(node)[:70]}: arguments swapped", lambda n: n.args.__setitem__(slice(0, 2), n.args[1::-1])
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} + 1", lambda n: setattr(n, "value", n.value + 1)
    if isinstance(node, ast.Constant) and node.value in ("source", "target"):
        yield f"{node.value!r} swapped", lambda n: setattr(n, "value", SWAPPED[n.value])
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in SWAPPED:
        yield f"{node.id} is {SWAPPED[node.id]}", lambda n: setattr(n, "id", SWAPPED[n.id])
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in SWAPPED:
        yield f"{ast.unparse(node)} is .{SWAPPED[node.attr]}", lambda n: setattr(n, "attr", SWAPPED[n.attr])
    for block in ("body", "orelse"):
        statements = getattr(node, block, None)
        for i, statement in enumerate(statements if isinstance(statements, list) else []):
            call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            if call or isinstance(statement, ast.AugAssign):
                yield (
                    f"dropped: {ast.unparse(statement)[:70]}",
                    lambda n, b=block, i=i: getattr(n, b).__setitem__(i, ast.Pass()),
                )


def module_with(fault: Fault) -> types.ModuleType:
    """The file with its fault as a module of its own."""
    made = types.ModuleType(f"faulty_{Path(fault.file).stem}")
    made.__file__ = str(ROOT / fault.file)
    sys.modules[made.__name__] = made  # dataclasses look there
    exec(compile(fault.source, made.__file__, "exec"), made.__dict__)
    return made


@contextlib.contextmanager
def put_in(fault: Fault) -> Iterator[None]:
    """The fault is there inside the block."""
    import harness

    twin, find = module_with(fault), harness.trainer_class
    if fault.file.startswith("trainers/"):
        name = Path(fault.file).stem
        harness.trainer_class = lambda wanted: getattr(twin, name) if wanted == name else find(wanted)
        try:
            yield
        finally:
            harness.trainer_class = find
        return
    original = importlib.import_module(fault.file.removesuffix(".py").replace("/", "."))
    codes = [(f, f.__code__) for f in functions(original)]
    faulty = {f.__qualname__: f.__code__ for f in functions(twin)}
    try:
        for function, code in codes:
            if (other := faulty.get(function.__qualname__, code)).co_freevars != code.co_freevars:
                raise NotApplied  # without its super(), a function has no cell for its class
            function.__code__ = other
        yield
    finally:
        for function, code in codes:
            function.__code__ = code


def functions(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """Those that a module defines, methods and properties too."""
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            for member in vars(value).values():
                member = getattr(member, "fget", None) or getattr(member, "__func__", member)
                member = getattr(member, "__wrapped__", member)
                if isinstance(member, types.FunctionType):
                    yield member
        elif isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield getattr(value, "__wrapped__", value)


def caught(fault: Fault) -> bool:
    """Whether a test fails.

    Raises:
        RuntimeError: no test ran.
    """
    tests, which = FILES[fault.file]
    words = ["-q", "-x", "-p", "no:cacheprovider", "-n", "0", *(["-k", which] if which else [])]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        try:
            with put_in(fault):
                status = pytest.main([*words, *(str(ROOT / test) for test in tests)])
        except (SyntaxError, TypeError, ValueError):
            return True
    if status not in (0, 1):
        raise RuntimeError(f"pytest ended with {status} for {fault.file}: {fault.what}\n{printed.getvalue()[-2000:]}")
    return status == 1


def without_fault(file: str) -> Fault:
    """The control: a file as it is."""
    return Fault(file, "no fault", (ROOT / file).read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="of the generated faults; default: none")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; default: 0")
    parser.add_argument("--without-named", action="store_true", help="only the sample")
    parser.add_argument("--control", action="store_true", help="first see that the tests pass without a fault")
    parser.add_argument("--list", action="store_true", help="say which faults there are, run none")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further fault after so many")
    args = parser.parse_args()
    os.environ.pop("nnUNet_extTrainer", None)
    os.environ["nnUNet_extTrainer"] = str(ROOT / "trainers")
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "training"), str(ROOT)]
    faults = [] if args.without_named else named_faults()
    found = [place for file in FILES for place in places(file)]
    chosen = random.Random(args.seed).sample(found, min(args.sample, len(found)))
    faults += [fault for place in chosen if (fault := fault_at(*place)) is not None]
    if args.list:
        print(*(f"{fault.file}: {fault.what}" for fault in faults), f"{len(found)} can be generated", sep="\n")
        return
    from toy import cached_toy

    with tempfile.TemporaryDirectory() as folder:
        cached_toy(Path(os.environ.get("NNUDA_TEST_TOY", folder)))
        for file in sorted({fault.file for fault in faults}) if args.control else []:
            if caught(without_fault(file)):
                sys.exit(f"{file}: its tests fail without a fault: {' '.join(FILES[file][0])}")
        started, survived, done = time.time(), [], 0
        for fault in faults:
            if time.time() - started > args.seconds:
                break
            begun = time.time()
            try:
                found = caught(fault)
            except NotApplied:
                continue
            done += 1
            survived += [] if found else [fault]
            print(
                f"{'caught  ' if found else 'SURVIVED'} {time.time() - begun:4.0f} s  {fault.file}: {fault.what}",
                flush=True,
            )
    print(f"{done - len(survived)} of {done} caught")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
