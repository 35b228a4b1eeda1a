"""Trains, predicts and scores the rows of rows.json, one after the other, and appends what came out to results.csv.

    python documentation/benchmarks/run.py --data DATA --work FOLDER [--only mscmr/2d_cpu/adapt ...] [--seeds 1 2] [--threads 1]

A row that results.csv holds for a seed is left out; a training that was interrupted is continued. DATA holds the pairs
as rows.json names them, in nnU-Net's raw format; everything else is written below FOLDER. `--threads 1` keeps a
training to one core, so that another can run beside it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from copy import copy
from importlib import import_module, metadata
from itertools import product
from pathlib import Path

from image_free import predict

HERE = Path(__file__).parent
FIELDS = (
    "pair",
    "budget",
    "row",
    "seed",
    "commit",
    "trainer",
    "settings",
    "epochs",
    "iterations",
    "batch",
    "threads",
    "cpu_seconds",
    "machine",
    "class",
    "cases",
    "dice",
    "dice_sd",
    "worst",
    "failures",
    "one_piece",
)
FAILURE = 0.1  # a structure with a smaller Dice than this was not found


class Pair:
    """One pair on one budget: source, target, reference labels, and nnU-Net's three folders made for them."""

    def __init__(
        self, name: str, description: dict, configuration: str, budget: dict, data: Path, work: Path, threads: int
    ):
        self.name, self.description, self.data = name, description, data
        self.configuration, self.budget, self.fold = configuration, budget, budget.get("fold", "all")
        self.root, self.threads = work / name / configuration, threads
        self.source, self.target = (int(Path(description[key]).name[7:10]) for key in ("source", "target"))
        self.environment = {
            **os.environ,
            "nnUNet_compile": "f",
            "nnUNet_def_n_proc": "1",
            "OMP_NUM_THREADS": str(threads),
            **{f"nnUNet_{kind}": str(self.root / kind) for kind in ("raw", "preprocessed", "results")},
        }

    def command(self, entry: str, *arguments: str, processes: int = 1) -> float:
        """Run a console script in a process of its own, its output in log.txt; returns the seconds of CPU it took."""
        environment = {**self.environment, "nnUNet_n_proc_DA": str(processes)}
        script = [sys.executable, __file__, "--as", entry, "--threads", str(self.threads), *arguments]
        before = cpu_seconds()
        with open(self.root / "log.txt", "a") as log:
            print("\n$", entry, *arguments, file=log, flush=True)
            if subprocess.run(script, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode:
                raise SystemExit(f"{entry} failed; see {self.root / 'log.txt'}")
        return cpu_seconds() - before

    def prepare(self) -> None:
        """Raw data, plan with the budget's configuration, preprocessed cases."""
        if (self.root / "ready").exists():
            return
        shutil.rmtree(self.root, ignore_errors=True)
        for kind in ("raw", "preprocessed", "results"):
            (self.root / kind).mkdir(parents=True)
        self.link_raw()
        self.plan()
        (self.root / "ready").touch()

    def plan(self) -> None:
        """Plan with the budget's configuration, preprocessed cases."""
        domains = ["-d", str(self.source), "-t", str(self.target)]
        self.command("nnUDA_extract_fingerprint", *domains)
        self.command("nnUDA_plan_experiment", *domains)
        self.add_configuration()
        self.command("nnUDA_preprocess", *domains[:2], "-p", "nnUNetPlans", "-c", self.configuration)

    def link_raw(self) -> None:
        """Links to the data; `labelled` splits one dataset into a labelled and an unlabelled part."""
        raw, labelled = self.root / "raw", self.description.get("labelled")
        source, target = (raw / Path(self.description[key]).name for key in ("source", "target"))
        if labelled is None:
            source.symlink_to((self.data / self.description["source"]).resolve())
            target.symlink_to((self.data / self.description["target"]).resolve())
            return
        origin = self.data / self.description["source"]
        cases = sorted(path.name[: -len(".nii.gz")] for path in (origin / "labelsTr").glob("*.nii.gz"))
        description = json.loads((origin / "dataset.json").read_text())
        for folder, chosen in ((source, cases[:labelled]), (target, cases[labelled:])):
            for kind in ("imagesTr", "labelsTr")[: 2 if folder == source else 1]:
                (folder / kind).mkdir(parents=True)
                for path in (origin / kind).iterdir():
                    if any(path.name in (f"{case}.nii.gz", f"{case}_0000.nii.gz") for case in chosen):
                        (folder / kind / path.name).symlink_to(path.resolve())
            (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": len(chosen)}))

    def add_configuration(self) -> None:
        """The budget's configuration, beside those that nnU-Net planned."""
        path = next((self.root / "preprocessed").glob(f"Dataset{self.source}_*")) / "nnUNetPlans.json"
        plans, name = json.loads(path.read_text()), self.configuration
        if name in plans["configurations"]:
            return
        budget = dict(self.budget["configuration"])
        parent = plans["configurations"][budget["inherits_from"]]
        architecture = json.loads(json.dumps(parent["architecture"]))
        architecture["arch_kwargs"] |= budget.pop("arch_kwargs")
        plans["configurations"][name] = {
            **budget,
            "data_identifier": f"nnUNetPlans_{name}",
            "architecture": architecture,
        }
        path.write_text(json.dumps(plans, indent=2))

    def labels(self) -> dict[str, Path]:
        """Reference labels by case."""
        if "labelled" in self.description:
            cases = sorted((self.data / self.description["source"] / "labelsTr").glob("*.nii.gz"))
            return {path.name: path for path in cases[self.description["labelled"] :]}
        return {path.name: path for path in sorted((self.data / self.description["labels"]).glob("*.nii.gz"))}

    def folders(self, name: str) -> tuple[dict[str, Path], Path, Path]:
        """Links to the scored cases: their first images by the name of the label, folder of images, folder of labels."""
        images, labels = (self.root / kind / name for kind in ("images", "labels"))
        for made_folder in (images, labels):
            shutil.rmtree(made_folder, ignore_errors=True)
            made_folder.mkdir(parents=True)
        target, first = next((self.root / "raw").glob(f"Dataset{self.target}_*")) / "imagesTr", {}
        for file, path in self.labels().items():
            (labels / file).symlink_to(path.resolve())
            for image in sorted(target.glob(f"{file[: -len('.nii.gz')]}_0*.nii.gz")):
                (images / image.name).symlink_to(image.resolve())
                first.setdefault(file, images / image.name)
        return first, images, labels

    def image_free(self) -> Path:
        """The floor: a map of the source's labels, whatever the image shows; returns the folder of predictions."""
        raw, predictions = self.root / "raw", self.root / "predictions/free"
        if not list(raw.glob("Dataset*")):
            raw.mkdir(parents=True, exist_ok=True)
            self.link_raw()
        source = next(raw.glob(f"Dataset{self.source}_*"))
        values = json.loads((source / "dataset.json").read_text())["labels"].values()
        predict(
            sorted((source / "labelsTr").glob("*.nii.gz")),
            [v for v in values if v],
            self.folders("free")[0],
            predictions,
        )
        shutil.copy(source / "dataset.json", predictions)
        return predictions

    def configure(self, name: str, settings: dict, plan: list[str]) -> None:
        """The plan of that name, with the settings."""
        made = [argument for key, value in settings.items() for argument in ("--set", f"{key}={json.dumps(value)}")]
        if not list((self.root / "preprocessed").glob(f"Dataset{self.source}_*/{name}.json")):
            self.command("nnUDA_configure", "-d", str(self.source), "-p", "nnUNetPlans", "--as", name, *made, *plan)

    def train_and_predict(self, name: str, trainer: str) -> tuple[Path, float]:
        """Train a plan of that name and predict the scored cases; the folder of predictions, and the training's seconds
        of CPU (NaN where it was continued)."""
        configuration, source = self.configuration, str(self.source)
        results = next((self.root / "raw").glob(f"Dataset{source}_*")).name
        folder = self.root / "results" / results / f"{trainer}__{name}__{configuration}" / f"fold_{self.fold}"
        common, seconds = ["-p", name, "-tr", trainer], float("nan")
        if not (folder / "checkpoint_final.pth").exists():
            go_on = ["--c"] if (folder / "checkpoint_latest.pth").exists() else []
            taken = self.command(
                "nnUNetv2_train", source, configuration, self.fold, *common, "-device", "cpu", *go_on, processes=0
            )
            seconds = seconds if go_on else taken
        _, images, _ = self.folders(name)
        predictions = self.root / "predictions" / name
        paths = ["-i", str(images), "-o", str(predictions)]
        one_process = ["-device", "cpu", "--disable_tta", "-npp", "1", "-nps", "1"]
        self.command(
            "nnUNetv2_predict", *paths, "-d", source, "-c", configuration, "-f", self.fold, *common, *one_process
        )
        return predictions, seconds

    def trained(self, row: str, seed: int) -> Path:
        """Results of a row with this seed, on the budget that this one starts from.

        Raises:
            SystemExit: it was not trained yet.
        """
        budget, plans = self.budget["start"], f"nnUNetPlans_{row.replace('-', '_')}_{seed}"
        results = self.root.parent / budget / "results"
        for found in results.glob(f"Dataset{self.source}_*/*__{plans}__{budget}/fold_{self.fold}/checkpoint_final.pth"):
            return found.parent
        raise SystemExit(f"{self.name}: expected {budget}/{row} with seed {seed} to start from; train it first.")

    def second_round(self, first: str, settings: dict) -> tuple[Path, float]:
        """Plain nnU-Net on the source and on the target's pseudo-labels, which the model of a row gives; returned as by
        `train_and_predict`."""
        seed = settings["training.seed"]
        number, plans = str(600 + seed), f"nnUNetPlans_{first.replace('-', '_')}_{seed}"
        model = next((self.root / "results").glob(f"Dataset{self.source}_*/*__{plans}__{self.configuration}"))
        domains, again = ["-d", str(self.source), "-t", str(self.target)], copy(self)
        options = ["-m", str(model), "-f", self.fold, "--disable_tta", "-device", "cpu", "-o", number]
        self.command("nnUDA_pseudo_label", *domains, *options)
        again.source, plan = number, ["-d", number, "-p", "nnUNetPlans"]
        self.command("nnUNetv2_extract_fingerprint", *plan[:2], "-np", "1")
        self.command("nnUNetv2_plan_experiment", *plan[:2])
        again.add_configuration()
        self.command("nnUNetv2_preprocess", *plan, "-c", self.configuration, "-np", "1")
        again.environment = {
            **self.environment,
            "nnUNet_benchmark": json.dumps(settings),
            "nnUNet_extTrainer": str(HERE / "trainers"),
        }
        return again.train_and_predict("nnUNetPlans", "nnUNetTrainerBudget")

    def run(self, row: str, description: dict, seed: int) -> list[dict]:
        """One row with one seed: train, predict, score; returns the lines of the table."""
        name, trainer, chosen = f"nnUNetPlans_{row.replace('-', '_')}_{seed}", "", description.get("settings", {})
        settings = {**self.budget["settings"], **chosen, "training.seed": seed, "training.save_every": 1}
        if description.get("image_free"):
            predictions, seconds, name = self.image_free(), float("nan"), "free"
        else:
            self.prepare()
            trainer = description["trainer"]
            if "round_of" in description:
                predictions, seconds = self.second_round(description["round_of"], settings)
            else:
                if "from" in description:
                    settings["training.init_from"] = str(self.trained(description["from"], seed))
                self.configure(name, settings, description.get("plan", []))
                predictions, seconds = self.train_and_predict(name, trainer)
            name = predictions.name
        labels, pieces = str(self.root / "labels" / name), self.root / "postprocessed" / name
        self.command("nnUDA_postprocess", "-d", str(self.source), "-i", str(predictions), "-o", str(pieces), "-np", "1")
        self.command("nnUDA_evaluate", labels, str(predictions), str(pieces), "-np", "1")
        facts = {
            "pair": self.name,
            "budget": self.configuration,
            "row": row,
            "seed": seed,
            "commit": commit(),
            "trainer": trainer,
            "settings": " ".join(f"{key}={json.dumps(value)}" for key, value in chosen.items()),
            "epochs": settings["training.num_epochs"] if trainer else 0,
            "iterations": settings["training.num_iterations_per_epoch"] if trainer else 0,
            "batch": settings.get("training.batch", "each"),
            "threads": self.threads,
            "cpu_seconds": round(seconds) if seconds == seconds else "",
            "machine": machine(),
        }
        one_piece = [line["dice"] for line in scores(pieces / "nnuda_scores.json")]
        lines = zip(scores(predictions / "nnuda_scores.json"), one_piece)
        return [{**facts, **line, "one_piece": dice} for line, dice in lines]


def oracle(pair: dict, data: Path) -> dict | None:
    """A pair whose source is the labelled target; None where there is none.

    Raises:
        SystemExit: it holds a case that is scored.
    """
    if "oracle" not in pair:
        return None
    trained = {path.name for path in (data / pair["oracle"] / "labelsTr").glob("*.nii.gz")}
    scored = {path.name for path in (data / pair["labels"]).glob("*.nii.gz")}
    if trained & scored:
        raise SystemExit(
            f"oracle {pair['oracle']}: expected labelled cases that are not scored; {', '.join(sorted(trained & scored))} "
            f"are also in {pair['labels']}. Take them out of that dataset."
        )
    return {**pair, "source": pair["oracle"]}


def scores(path: Path) -> list[dict]:
    """Dice of each class, and of a case's mean over the classes."""
    import numpy as np

    content = json.loads(path.read_text())
    table = np.array(
        [[case[name]["Dice"] for name in content["labels"]] for case in content["per_case"].values()], float
    )
    columns = dict(zip(content["labels"], table.T)) | {"mean": table.mean(1)}
    return [
        {
            "class": name,
            "cases": len(values),
            "dice": round(float(values.mean()), 4),
            "dice_sd": round(float(values.std()), 4),
            "worst": round(float(values.min()), 4),
            "failures": int(((table if name == "mean" else values) < FAILURE).sum()),
        }
        for name, values in columns.items()
    ]


def cpu_seconds() -> float:
    """Of the processes that have ended, whatever else ran beside them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine() -> str:
    """The same for all runs of this machine since it was started: only their times can be compared."""
    started = Path("/proc/sys/kernel/random/boot_id")
    return hashlib.sha256(started.read_bytes() if started.exists() else b"").hexdigest()[:6]


def commit() -> str:
    """The commit of the checkout that nnuda was installed from, else its version."""
    return os.environ.get("nnUDA_COMMIT") or metadata.version("nnuda")


def as_console_script(entry: str, arguments: list[str], threads: int) -> None:
    """Run an installed command in this process; nnU-Net takes as many threads as it sees cores."""
    multiprocessing.cpu_count = lambda: threads
    point = next(point for point in metadata.entry_points(group="console_scripts") if point.name == entry)
    sys.argv = [entry, *arguments]
    getattr(import_module(point.module), point.attr)()


def main() -> None:
    """The rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the pairs")
    parser.add_argument("--work", type=Path, required=True, help="folder for nnU-Net's three folders of each pair")
    parser.add_argument("--only", nargs="+", metavar="PAIR/BUDGET/ROW", help="these rows, in this order")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, default=HERE / "results.csv")
    arguments = parser.parse_args()
    described = json.loads((HERE / "rows.json").read_text())
    wanted = arguments.only or [
        "/".join(parts) for parts in product(*(described[kind] for kind in ("pairs", "budgets", "rows")))
    ]
    for given in arguments.seeds:
        for name in wanted:
            pair_name, budget, row = name.split("/")
            seed = 0 if described["rows"][row].get("image_free") else given  # it has none
            done = list(csv.DictReader(arguments.results.open())) if arguments.results.exists() else []
            if [pair_name, budget, row, str(seed)] in [
                [line[key] for key in ("pair", "budget", "row", "seed")] for line in done
            ]:
                continue
            print(time.strftime("%H:%M"), name, "seed", seed, flush=True)
            description, work = described["pairs"][pair_name], arguments.work
            if described["rows"][row].get("on") == "target":
                description, work = oracle(description, arguments.data), work / "oracle"
            if description is None:
                print(
                    f"{pair_name}: left out, it has no labelled target cases beside those that are scored", flush=True
                )
                continue
            pair = Pair(
                pair_name, description, budget, described["budgets"][budget], arguments.data, work, arguments.threads
            )
            lines = pair.run(row, described["rows"][row], seed)
            with arguments.results.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerows(lines)
            print(time.strftime("%H:%M"), {line["class"]: line["dice"] for line in lines}, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as"]:
        as_console_script(sys.argv[2], sys.argv[5:], int(sys.argv[4]))
    else:
        main()
