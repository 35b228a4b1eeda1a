"""Writes the tables of the pages from results.csv and estimates.csv: python documentation/benchmarks/tables.py

A page holds `<!-- benchmark: PAIR/BUDGET -->` and `<!-- end of benchmark -->`; what lies between is written here. In
place of PAIR/BUDGET, `summary/BUDGET` is a line for each pair, `from/BUDGET` the rows that start from a trained model,
`deployed/BUDGET` a line for each pair of these, `costs` a line for each trainer, and `one-piece` what postprocessing
changed. So are the tables of estimates.csv, between `<!-- estimates: PAIR/BUDGET -->`, or `<!-- estimates: summary -->`, and `<!-- end of estimates -->`.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections import defaultdict
from itertools import product
from operator import itemgetter
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "documentation").rglob("*.md"))]
_MARKED = re.compile(r"(<!-- benchmark: (\S+) -->\n).*?(<!-- end of benchmark -->)", re.DOTALL)
_ESTIMATES = re.compile(r"(<!-- estimates: (\S+) -->\n).*?(<!-- end of estimates -->)", re.DOTALL)
ESTIMATORS = {"soft_dice": "soft Dice", "atc": "ATC", "agreement": "agreement", "value": "**estimate**"}
BASELINES = ("source-only", "strong")
SUMMARY = {
    "image-free": "Map that sees no image",
    "source-only": "Source-only",
    "strong": "Strong augmentation",
    "strong-twice": "Strong, twice the iterations",
    "adapt": "`nnUDATrainerAdapt`",
}
DEPLOYED = {
    "source-only": "Trained nnU-Net (source-only)",
    "strong-from": "Then strong augmentation",
    "adapt-from": "Then `nnUDATrainerAdapt`",
}


def results() -> list[dict[str, str]]:
    """The lines of results.csv."""
    with (HERE / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def spread(values: list[float]) -> str:
    """Mean over the seeds, with their standard deviation where there is more than one."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def gain(row: dict[str, float], baseline: dict[str, float]) -> str:
    """Mean difference over the seeds that both have; blank without one."""
    shared = row.keys() & baseline.keys()
    return f"{statistics.mean(row[seed] - baseline[seed] for seed in shared):+.2f}" if shared else ""


Values = dict[str, dict[str, dict[str, float]]]  # row -> class -> seed -> Dice


Cost = dict[str, dict[tuple[str, str], float]]  # row -> (seed, machine) -> seconds of CPU


def read(pair: str, budget: str) -> tuple[Values, Cost, dict[str, int]]:
    """Dice; seconds of CPU by row; structures that were not found by row."""
    dice: Values = defaultdict(lambda: defaultdict(dict))
    cost: Cost = defaultdict(dict)
    failures: dict[str, dict[str, int]] = defaultdict(dict)
    for line in results():
        if (line["pair"], line["budget"]) == (pair, budget):
            dice[line["row"]][line["class"]][line["seed"]] = float(line["dice"])
            if line["class"] == "mean":
                failures[line["row"]][line["seed"]] = int(line["failures"])
                if line["cpu_seconds"]:
                    cost[line["row"]][line["seed"], line["machine"]] = float(line["cpu_seconds"])
    return dice, cost, {row: sum(seeds.values()) for row, seeds in failures.items()}


def relative(cost: Cost, row: str) -> list[float]:
    """CPU time of a row's trainings against source-only with the same seed on the same machine."""
    return [cost[row][seed] / cost["source-only"][seed] for seed in cost[row].keys() & cost["source-only"].keys()]


def described(kind: str) -> dict:
    """The pairs, budgets or rows of rows.json."""
    return json.loads((HERE / "rows.json").read_text(encoding="utf-8"))[kind]


def markdown(head: list[str], body: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body]) + "\n"


def table(pair: str, budget: str, chosen: str = "") -> str:
    """Rows, all or `chosen` with + between them, with the Dice of each class, seeds' spread, gain over the baselines with the same seeds, and cost."""
    dice, cost, failures = read(pair, budget)
    of_row = described("rows")
    rows = [
        row  # another start is another budget
        for row in of_row
        if row in dice and "from" not in of_row[row] and (not chosen or row in chosen.split("+"))
    ]
    if not rows:
        return "Not measured yet.\n"
    classes = [name for name in dice[rows[0]] if name != "mean"]
    head = [
        "",
        "Seeds",
        *(name.capitalize() for name in classes),
        "Mean Dice",
        "Against source-only",
        "Against strong",
        "Not found",
        "CPU time",
    ]
    body = []
    for row in rows:
        mean = dice[row]["mean"]
        times = relative(cost, row)
        against = [gain(mean, dice[name]["mean"]) if name in dice and name != row else "" for name in BASELINES]
        body.append(
            [
                of_row[row].get("title", row),
                str(len(mean)),
                *(spread(list(dice[row][name].values())) for name in classes),
                spread(list(mean.values())),
                *against,
                str(failures[row]),
                f"{statistics.mean(times):.1f}" if times else "",
            ]
        )
    return markdown(head, body)


def started(budget: str) -> str:
    """Of each pair: the trained nnU-Net itself, and what came of it in a training of this budget."""
    of_row, start = described("rows"), described("budgets")[budget]["start"]
    head = ["Pair", "", "Seeds", "Worst class", "Mean Dice", "Against the trained nnU-Net"]
    body = []
    for pair, facts in described("pairs").items():
        before, dice = read(pair, start)[0], read(pair, budget)[0]
        rows = [row for row in of_row if "from" in of_row[row] and row in dice]
        for origin in dict.fromkeys(of_row[row]["from"] for row in rows):
            later = {row: dice[row] for row in rows if of_row[row]["from"] == origin}
            for row, classes in {origin: before[origin], **later}.items():
                mean = classes["mean"]
                worst = min(statistics.mean(seeds.values()) for name, seeds in classes.items() if name != "mean")
                title = f"start: {of_row[row]['title']}" if row == origin else of_row[row]["title"]
                gained = "" if row == origin else gain(mean, before[origin]["mean"])
                name = facts["title"] if not any(facts["title"] in line for line in body) else ""
                body.append([name, title, str(len(mean)), f"{worst:.2f}", spread(list(mean.values())), gained])
    return markdown(head, body) if body else "Not measured yet.\n"


def summary(budget: str) -> str:
    """Mean Dice of the rows that matter, a line for each pair; rows that no pair has yet are left out."""
    return by_pair([budget], SUMMARY)


def deployed(budget: str) -> str:
    """The same of what starts from a trained model, with that model."""
    return by_pair([described("budgets")[budget]["start"], budget], DEPLOYED)


def by_pair(budgets: list[str], titles: dict[str, str]) -> str:
    """Mean Dice of these rows, each of the first budget that has it, and what the last gains over source-only."""
    last = list(titles)[-1]
    of_pair = {
        pair: {row: dice["mean"] for budget in reversed(budgets) for row, dice in read(pair, budget)[0].items()}
        for pair in described("pairs")
    }
    rows = [row for row in titles if any(row in mean for mean in of_pair.values())]
    body = []
    for pair, mean in of_pair.items():
        if {"source-only", last} <= mean.keys():
            cells = [spread(list(mean[row].values())) if row in mean else "" for row in rows]
            body.append([described("pairs")[pair]["title"], *cells, gain(mean[last], mean["source-only"])])
    return markdown(["", *(titles[row] for row in rows), "Adapt against source-only"], body)


def costs() -> str:
    """Of each trainer: CPU time of whole trainings, and memory of a step as planning counts it."""
    times: dict[str, list[float]] = defaultdict(list)
    for pair, budget in product(described("pairs"), described("budgets")):
        cost = read(pair, budget)[1]
        for row, facts in described("rows").items():
            if (
                "trainer" in facts
                and not {"on", "round_of", "from"} & facts.keys()
                and "teacher.weight" not in facts.get("settings", {})
            ):
                times[facts["trainer"]] += relative(cost, row)
    presets = {file.stem.replace("_", ""): json.loads(file.read_text()) for file in (ROOT / "plans").glob("*.json")}
    body = []
    for trainer, found in times.items():
        preset = presets[trainer.removeprefix("nnUDATrainer").lower()]
        memory = {**presets["base"], **preset}["planning.memory_factor"]["value"]
        ends = " to ".join(dict.fromkeys(f"{value:.1f}" for value in (min(found), max(found)))) if found else ""
        measured = f"{ends} ({len(found)})" if found else "not measured"
        body.append([f"`{trainer}`", measured, f"{memory:g}"])
    return markdown(["Trainer", "CPU time of a training (trainings)", "Memory of a step"], body)


def one_piece() -> str:
    """Dice before and after nnUDA_postprocess, a line for each row where both were measured; means over the seeds."""
    found: dict[tuple[str, str, str], dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in results():
        if line["one_piece"]:
            key = line["pair"], line["budget"], line["row"]
            found[key][line["class"]].append((float(line["dice"]), float(line["one_piece"])))
    head = [
        "Pair, budget",
        "Row",
        "Seeds",
        "Mean Dice",
        "In one piece",
        "Difference",
        "Smallest and largest of a class",
    ]
    body = []
    for (pair, budget, row), classes in found.items():
        changes = {name: statistics.mean(b - a for a, b in pairs) for name, pairs in classes.items()}
        means, change = classes["mean"], changes.pop("mean")
        before, after = (f"{statistics.mean(pair[i] for pair in means):.3f}" for i in (0, 1))
        extremes = f"{min(changes.values()):+.3f}, {max(changes.values()):+.3f}"
        title = described("rows")[row]["title"]
        body.append([f"{pair}, {budget}", title, str(len(means)), before, after, f"{change:+.3f}", extremes])
    return markdown(head, body) if body else "Not measured yet.\n"


def content(name: str) -> str:
    """What stands between the marks of this name."""
    first, *others = name.split("/")
    tables = {"one-piece": one_piece, "costs": costs, "summary": summary, "from": started, "deployed": deployed}
    return tables[first](*others) if first in tables else table(first, *others)


# ---- estimates ------------------------------------------------------------------------------------------------------


def estimates() -> list[dict[str, str]]:
    """The lines of estimates.csv."""
    with (HERE / "estimates.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def two(text: str) -> str:
    """Two decimals; blank for none."""
    return f"{float(text):.2f}" if text else ""


def estimate_table(pair: str, budget: str) -> str:
    """Every candidate in the order of its estimate, with its true Dice."""
    lines = [line for line in estimates() if (line["pair"], line["budget"], line["class"]) == (pair, budget, "mean")]
    lines = [
        line for line in lines if line["calibration"] == lines[-1]["calibration"]
    ]  # of today, where there are both
    if not lines:
        return "Not measured yet.\n"
    head = [
        "",
        "Candidate: row, seed",
        "Epoch",
        "Soft Dice",
        "ATC",
        "Agreement",
        "Estimate",
        "Interval",
        "True",
        "Verdict",
    ]
    body = [
        [
            f"{line['place']}{' =' if line['tie'] == '1' else ''}",
            line["rows"].replace("/", " "),
            line["checkpoint"],
            *(two(line[column]) for column in ESTIMATORS),
            f"{two(line['low'])} to {two(line['high'])}",
            two(line["true"]),
            line["verdict"],
        ]
        for line in sorted(lines, key=lambda line: int(line["place"]))
    ]
    return markdown(head, body)


def ranks(values: list[float]) -> list[float]:
    """Places; the mean place for equal ones."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def correlation(one: list[float], other: list[float]) -> str:
    """Spearman's; blank below three values or where all are equal."""
    if len(one) < 3 or len(set(one)) < 2 or len(set(other)) < 2:
        return ""
    return f"{statistics.correlation(ranks(one), ranks(other)):.2f}"


def estimate_summary() -> str:
    """For each pair and budget: errors over candidates and classes, rank correlation and regret over candidates."""
    head = ["Pair, budget", "", "Bias", "Mean absolute error", "Within the interval", "Rank correlation", "Regret"]
    head[5:5] = ["Error of single cases", "Cases within"]
    body = []
    of_group = itemgetter("pair", "budget", "calibration")
    for pair, budget, calibration in dict.fromkeys(map(of_group, estimates())):
        lines = [line for line in estimates() if of_group(line) == (pair, budget, calibration)]
        means = [line for line in lines if line["class"] == "mean"]
        true = [float(line["true"]) for line in means]
        for column, title in ESTIMATORS.items():
            classes = [line for line in lines if line["class"] != "mean" and line[column]]
            errors = [float(line[column]) - float(line["true"]) for line in classes]
            of_means = [(float(line[column]), float(line["true"])) for line in means if line[column]]
            if not errors or not of_means:
                continue
            within = [
                f"{statistics.mean(float(line[key]) for line in classes):.0%}".replace("%", " %")
                for key in ("within", "cases_within")
            ]
            case_error = f"{statistics.mean(float(line['case_error']) for line in classes):.2f}"
            chosen = max(of_means, key=lambda pair_of: pair_of[0])[1]
            body.append(
                [
                    f"{pair}, {budget}: {len(means)} candidates, {means[0]['cases']} cases, source images {calibration}"
                    * (column == "soft_dice"),
                    title,
                    f"{statistics.mean(errors):+.2f}",
                    f"{statistics.mean(map(abs, errors)):.2f}",
                    *([within[0], case_error, within[1]] if column == "value" else ["", "", ""]),
                    correlation(*map(list, zip(*of_means))),
                    f"{max(true) - chosen:.2f}",
                ]
            )
    return markdown(head, body) if body else "Not measured yet.\n"


def of_estimates(name: str) -> str:
    """The table that a page asks for."""
    return estimate_summary() if name == "summary" else estimate_table(*name.split("/"))


def filled(text: str) -> str:
    """A page with its tables as results.csv and estimates.csv have them."""
    text = _MARKED.sub(lambda match: f"{match[1]}\n{content(match[2])}\n{match[3]}", text)
    return _ESTIMATES.sub(lambda match: f"{match[1]}\n{of_estimates(match[2])}\n{match[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
