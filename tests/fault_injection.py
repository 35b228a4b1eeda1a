"""Fault injection: every touch of a file fails once, or is the last of its process; and kill -9 at random moments.

After each fault every file is as it was before or as it is at the end, never anything else, and the same command (a
training: with --c) comes to the same end, bit for bit.

A run takes a few faults spread over each command. All of them: nnUDA_FAULTS=all; more kills: nnUDA_KILLS=50.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from faults import DIES, FAILS, Touches, forked, leftovers, touches_of
from harness import differences, make_trainer
from toy import CPU, SOURCE, TARGET, Toy, write_dataset

import nnuda.training.epochs as epochs_module
from nnuda.cli.plan_and_preprocess import main as plan_and_preprocess
from nnuda.cli.preprocess import main as preprocess
from nnuda.export.export_model import export_model
from nnuda.export.trained_model import find_model
from nnuda.planning import fingerprint
from nnuda.planning.raw_cases import NOTES
from nnuda.results import CHECKPOINTS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")]
ALL = os.environ.get("nnUDA_FAULTS") == "all"
FEW = 3  # faults of a kind and command
KILLS = int(os.environ.get("nnUDA_KILLS", "4"))
PLAN = ["-d", "501", "-t", "502", "-c", "2d", "-np", "1"]
SETTINGS = {"teacher.weight": 1, "teacher.start": 0, "training.recipe": "paper"}
RECORDED = ", case "  # between a record's name and a case that it speaks of
COUNTED = Path(os.environ.get("nnUDA_FAULT_COUNTS", os.devnull))


@dataclass
class Command:
    """What is run and what it leaves.

    Attributes:
        world: the folder in which it works, as it is before.
        work: runs it in a world.
        facts: of a world: a fact by name, which a fault may leave as it was before or as it is at the end.
        whole: stops where a world holds half of something.
        end: of the facts, compared after the command was run again; None: all.
    """

    world: Path
    work: Callable[[Path], None]
    facts: Callable[[Path], dict[str, object]]
    whole: Callable[[Path], None] = lambda world: None
    seconds: float = 0
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)

    def fresh(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self.world, folder))

    def undisturbed(self, folder: Path) -> int:
        """Learn how it ends, and how long it takes; returns the number of its touches."""
        world = self.fresh(folder)
        self.before = self.facts(world)
        begun = time.time()
        status, said = forked(lambda: self.work(world), Touches(world))
        self.seconds = time.time() - begun
        assert status == 0, said[-3000:]
        self.after = self.facts(world)
        assert self.after != self.before and leftovers(world) == []
        return touches_of(said)

    def after_a_fault(self, world: Path, what: str) -> None:
        """Check what it left, and that the same command comes to the same end."""
        self.whole(world)
        for name, fact in self.facts(world).items():
            allowed = [facts[name] for facts in (self.before, self.after) if name in facts]
            assert any(fact == one for one in allowed), f"{what}: {name} is neither the old nor the new one"
        for name in self.before.keys() & self.after.keys() - self.facts(world).keys():
            # a record does not speak of a case that has just to be made again
            assert RECORDED in name, f"{what}: {name} is gone"
        status, said = forked(lambda: self.work(world))
        assert status == 0, f"{what}: the same command failed:\n{said[-3000:]}"
        end = self.facts(world)
        wrong = [name for name in {**end, **self.after} if end.get(name) != self.after.get(name)]
        assert not wrong, f"{what}: not as without the fault: {wrong[:5]}"
        assert leftovers(world) == [], what


def digests(folder: Path) -> dict[str, str]:
    """Of the files below a folder; those of locks, logs and half-written files are not looked at. A record of cases
    grows with them: each of its cases is a fact of its own."""
    return {
        f"{path.relative_to(folder)}{part}": hashlib.sha256(content).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and ".tmp" not in str(path.relative_to(folder))
        for part, content in parts_of(path).items()
    }


def parts_of(path: Path) -> dict[str, bytes]:
    record = json.loads(path.read_text()) if path.suffix == ".json" else {}
    if not isinstance(record, dict) or "cases" not in record:
        return {"": content_of(path)}
    if path.name == NOTES:  # times of the raw files, and where they lie, are each copy's own
        del record["folder"]
        record["cases"] = {case: {**note, "stamp": ""} for case, note in record["cases"].items()}
    cases = {f"{RECORDED}{case}": str(content).encode() for case, content in record.pop("cases").items()}
    return {"": json.dumps(record).encode(), **cases}


def content_of(path: Path) -> bytes:
    """Bytes that are the same where a file says the same: pickles and blosc2 hold other things, too."""
    if path.suffix == ".b2nd":
        import blosc2

        return blosc2.open(str(path), mode="r")[:].tobytes()
    if path.suffix == ".pkl":
        return repr(pickle.loads(path.read_bytes())).encode()
    return path.read_bytes()


def no_half_cases(world: Path) -> None:
    for image in world.rglob("*.b2nd"):
        if ".tmp" not in str(image) and not image.name.endswith("_seg.b2nd"):
            for beside in (f"{image.stem}.pkl", f"{image.stem}_seg.b2nd"):
                assert image.with_name(beside).exists(), f"{image.stem} lacks {beside}"
    for file in world.rglob("*.json"):
        json.loads(file.read_text())


def set_folders(world: Path) -> None:
    os.environ.update({**CPU, "nnUNet_n_proc_DA": "1"})
    os.environ.update({f"nnUNet_{name}": str(world / name) for name in ("raw", "preprocessed", "results")})
    fingerprint.MAX_VOXELS = 10**5


# ---- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planning(tmp_path_factory) -> Command:
    """nnUDA_plan_and_preprocess of two small datasets, from nothing."""
    world = tmp_path_factory.mktemp("planning") / "world"
    for name, labelled in ((SOURCE, True), (TARGET, False)):
        write_dataset(world / "raw" / name, labelled=labelled, inverted=not labelled, cases=2, shape=(4, 32, 32))

    def work(folder: Path) -> None:
        set_folders(folder)
        plan_and_preprocess(PLAN)

    return Command(world, work, lambda folder: digests(folder / "preprocessed"), no_half_cases)


@pytest.fixture(scope="module")
def preprocessing(planning, tmp_path_factory) -> Command:
    """nnUDA_preprocess, where a case of each domain is missing."""
    world = planning.fresh(tmp_path_factory.mktemp("preprocessing") / "world")
    status, said = forked(lambda: planning.work(world))
    assert status == 0, said[-3000:]
    for file in (world / "preprocessed" / SOURCE).rglob("nnUNetPlans_2d/case0*"):
        file.unlink()

    def work(folder: Path) -> None:
        set_folders(folder)
        preprocess([*PLAN[:2], *PLAN[4:]])

    return Command(world, work, lambda folder: digests(folder / "preprocessed"), no_half_cases)


@pytest.fixture(scope="module")
def trained_world(toy: Toy, tmp_path_factory) -> Path:
    world = tmp_path_factory.mktemp("training") / "world"
    shutil.copytree(toy.root / "preprocessed", world / "preprocessed", symlinks=True)
    shutil.copytree(toy.raw, world / "raw")
    (world / "results").mkdir()
    return world


class World(Toy):
    """The toy's folders as they lie in a world."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}


def train(folder: Path) -> None:
    """Two epochs of nnUNetv2_train; with --c where there is a checkpoint."""
    set_folders(folder)
    os.environ["nnUNet_n_proc_DA"] = "0"
    epochs_module.plot_curves = lambda *_: None
    fold = fold_of(folder)
    there = next((str(fold / name) for name in CHECKPOINTS if (fold / name).exists()), None)
    trainer = make_trainer(
        World(folder), "nnUDATrainerSourceOnly", "2d_toy", "faults", SETTINGS, continue_training=there is not None
    )
    if there is not None:
        trainer.load_checkpoint(there)
    trainer.run_training()


def fold_of(folder: Path) -> Path:
    return folder / "results" / SOURCE / "nnUDATrainerSourceOnly__faults__2d_toy" / "fold_all"


def trained(folder: Path) -> dict[str, object]:
    """What a training leaves that does not tell the time."""
    fold, found = fold_of(folder), {}
    for path in fold.glob("checkpoint_*.pth"):
        content = torch.load(path, weights_only=False)  # whole, or this raises
        content["nnuda"].pop("selection")  # an epoch that was run again has not been selected again
        if path.name in ("checkpoint_final.pth", "checkpoint_selected.pth"):
            found[path.name] = Same({name: content[name] for name in ("network_weights", "optimizer_state", "nnuda")})
    if (fold / "selection.json").exists():
        found["epochs"] = [epoch["entropy"] for epoch in json.loads((fold / "selection.json").read_text())["epochs"]]
    for path in fold.parent.glob("*.json"):
        found[path.name] = path.read_bytes()
    return found


class Same:
    """Compares nested tensors bit for bit."""

    def __init__(self, content: dict) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and differences(self.content, other.content) == []


@pytest.fixture(scope="module")
def training(trained_world) -> Command:
    return Command(trained_world, train, lambda folder: ends(trained(folder)))


def ends(facts: dict[str, object]) -> dict[str, object]:
    """Of a training that has not come to its end, only what cannot be another's: it is compared when it has."""
    return facts if "checkpoint_final.pth" in facts else {}


@pytest.fixture(scope="module")
def exporting(training, tmp_path_factory) -> Command:
    world = training.fresh(tmp_path_factory.mktemp("exporting") / "world")
    status, said = forked(lambda: train(world))
    assert status == 0, said[-3000:]
    (fold_of(world) / "validation").mkdir()

    def work(folder: Path) -> None:
        set_folders(folder)
        model = find_model("501", "nnUDATrainerSourceOnly", "faults", "2d_toy", ["all"], CHECKPOINTS[0])
        if not (folder / "results" / SOURCE / model.plain_folder_name).exists():
            export_model(model, None, torch.device("cpu"))

    def facts(folder: Path) -> dict[str, object]:
        whole = folder / "results" / SOURCE
        return {name: digest for name, digest in digests(whole).items() if not name.startswith("nnUDATrainer")}

    def all_or_nothing(folder: Path) -> None:
        for exported in (folder / "results" / SOURCE).glob("nnUNetTrainer__*__2d_toy"):
            assert (exported / "fold_all" / CHECKPOINTS[0]).exists()

    return Command(world, work, facts, all_or_nothing)


# ---- the tests ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["planning", "preprocessing", "training", "exporting"])
def command(request) -> Iterator[Command]:
    yield request.getfixturevalue(request.param)


@pytest.mark.parametrize("kind", [FAILS, DIES])
def test_the_nth_touch_of_a_file(command, kind, tmp_path, request):
    """It fails as a disk fails, or it is the last of its process."""
    touches = command.undisturbed(tmp_path / "undisturbed")
    numbers = range(1, touches + 1) if ALL else sorted({1 + (2 * i + 1) * touches // (2 * FEW) for i in range(FEW)})
    stopped = 0
    for number in numbers:
        world = command.fresh(tmp_path / "world")
        status, said = forked(lambda world=world: command.work(world), Touches(world, number, kind))
        stopped += status != 0
        assert kind == FAILS or status == -9, said[-1000:]
        command.after_a_fault(world, f"touch {number} of {touches} {kind}")
    with COUNTED.open("a") as file:
        print(request.node.name, f"touches {touches}, faults {len(numbers)}, stopped {stopped}", file=file)


def test_killed_at_random_moments(command, tmp_path, request):
    command.undisturbed(tmp_path / "undisturbed")
    generator, killed = random.Random(0), 0
    for number in range(KILLS):
        world = command.fresh(tmp_path / "world")
        seconds = generator.uniform(0, command.seconds)
        status, _ = forked(lambda world=world: command.work(world), seconds=seconds)
        killed += status == -9
        command.after_a_fault(world, f"kill {number} after {seconds:.2f} s")
    with COUNTED.open("a") as file:
        print(request.node.name, f"killed {killed} of {KILLS}, {command.seconds:.2f} s undisturbed", file=file)
