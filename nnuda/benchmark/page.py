"""The comparison as one page, as CSV, and as Markdown for papers."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from nnuda.benchmark.description import Benchmark, Run
from nnuda.benchmark.places import FAILED, FINISHED, SCORES, STATE, own_error, read_state, run_folder
from nnuda.benchmark.table import FAILURE, METRIC, PairTable, RowResult, pair_table
from nnuda.evaluation.comparison import Comparison
from nnuda.evaluation.scores import load_scores
from nnuda.evaluation.table import spreadsheet_text
from nnuda.files import write_text
from nnuda.published.results import MEAN, Published, Result, load_published
from nnuda.report.comparison_plots import case_plot
from nnuda.report.page import Notes, Picture, Pictures, Section, Table, Text, page_html
from nnuda.stages.progress import duration

PAGE, CSV, MARKDOWN = "benchmark.html", "benchmark.csv", "benchmark.md"
COLUMNS = ("pair", "row", "seed", "fold", "trainer", "class", "cases", "dice", "dice_sd", "worst", "training_seconds")
NOT_COMPARABLE = (
    "Published, other networks and budgets: not comparable line by line. Papers differ in cases, crops, slices and in "
    "how an epoch is chosen."
)
Rows = list[list[str]]


def save_pages(folder: str, benchmark: Benchmark) -> list[str]:
    """Write page, CSV and Markdown of the runs that are there.

    Returns:
        Names of the runs that are not.
    """
    tables = [pair_table(folder, benchmark, pair) for pair in benchmark.pairs]
    for name, text in (
        (PAGE, _page(folder, benchmark, tables)),
        (CSV, csv_text(folder, benchmark)),
        (MARKDOWN, markdown_text(benchmark, tables)),
    ):
        write_text(text, os.path.join(folder, name))
    print(f"Written: {', '.join(os.path.join(folder, name) for name in (PAGE, CSV, MARKDOWN))}", flush=True)
    return [run.name for run in benchmark.runs if read_state(folder, run)["status"] != FINISHED]


# ---- tables ---------------------------------------------------------------------------------------------------------


def _number(value: float, spread: float | None = None) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" + (f" ± {spread:.3f}" if spread is not None and not math.isnan(spread) else "")


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def result_rows(table: PairTable) -> Rows:
    """Head and rows: mean and spread over the runs, each class, tests, gap, failures, cost."""
    classes = list(next((row.classes for row in table.rows if row.classes), {}))
    head = ["", "runs", "mean Dice", *classes, "worst class", "failures"]
    head += ["gap closed"] if table.gap else []
    head += [f"p over cases, against {table.against}", "p over seeds", "training"]
    return [head, *(_result_row(table, row, classes) for row in table.rows)]


def _result_row(table: PairTable, row: RowResult, classes: Sequence[str]) -> list[str]:
    cells = [row.title, str(len(row.means)) if len(row.means) == row.wanted else f"{len(row.means)} of {row.wanted}"]
    cells.append(_number(row.mean, row.spread))
    for name in classes:
        values = row.classes.get(name, [])
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        cells.append(_number(float(np.mean(values)) if values else math.nan, spread))
    worst, value = row.worst
    cells += [f"{worst} {_number(value)}" if row.classes else "-", "{} of {}".format(*row.failures)]
    if table.gap:
        gap = table.gap[row.name]
        cells.append("-" if math.isnan(gap) else f"{round(100 * gap)} %")
    test = table.tests.get(row.name)
    for kind, short in (("cases", "cases"), ("seeds", "seeds")):
        cells.append("-" if test is None else f"{_p(test[kind])} ({test[f'{kind}_n']} {short})")
    memory = "" if math.isnan(row.memory) else f", {row.memory:.1f} GB"
    return [*cells, "-" if math.isnan(row.seconds) else duration(row.seconds) + memory]


def notes(benchmark: Benchmark, table: PairTable) -> list[str]:
    """What a reader has to know beside the numbers."""
    cases, runs = len(table.pair.images), max((len(row.means) for row in table.rows), default=0)
    found = [
        f"{cases} cases of the target, scored with labels that no training saw. Dice is the mean over cases and classes; "
        f"± is the standard deviation over the runs of a row ({runs} at most), not over the cases.",
        f"p over cases: Wilcoxon's signed-rank test on each case's mean over the runs that both have, against {table.against}: would other "
        "patients say so too? p over seeds: paired t test on the means of runs with the same seed and fold: would other "
        "trainings? Both two-sided, after Holm's correction for the number of rows. A difference that passes one alone "
        "is not shown.",
        f"Failures: classes of a run whose mean Dice is below {FAILURE:g}, of all.",
    ]
    tests = len(table.tests)
    smallest = min(1.0, 2.0 ** (1 - cases) * max(tests, 1))
    if smallest > 0.05:
        found.append(
            f"With {cases} cases and {tests} tests no corrected p over cases can be below {smallest:.2g}: they are too few "
            "for 0.05, whatever the results."
        )
    if table.gap:
        found.append(f"Gap closed: 0 % is {table.against}, 100 % is the oracle, trained on labelled target cases.")
    if any(len(row.means) < row.wanted for row in table.rows):
        found.append("Some runs are missing or failed: rows are not means over the same seeds.")
    for kind, values in table.provenance.items():
        if len(values) > 1:
            found.append(f"The runs were made with more than one {kind}: {'; '.join(values)}.")
    return found


def _budget(benchmark: Benchmark) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in benchmark.budget.get("settings", {}).items())
    return (
        f"Budget of every run: configuration {benchmark.budget['configuration']}{f'; {settings}' if settings else ''}."
    )


# ---- figures of papers ----------------------------------------------------------------------------------------------


def published_rows(published: Published) -> Rows:
    """Head and rows: method, what it was trained with, mean Dice, each class, source."""
    classes = [name for name in published.classes if any(name in result.dice for result in published.results)]
    head = ["", "trained with", "mean Dice", *classes, "source"]
    return [head, *(_published_row(published, result, classes) for result in published.results)]


def _published_row(published: Published, result: Result, classes: Sequence[str]) -> list[str]:
    values = [_as_published(result.dice.get(name)) for name in (MEAN, *classes)]
    place = published.sources[result.source].place
    number = list(published.sources).index(result.source) + 1
    return [
        result.method,
        result.trained_with,
        *values,
        f"[{number}] {place}" + (f"; {result.note}" if result.note else ""),
    ]


def _as_published(value: float | None) -> str:
    """Three decimals, or four where the paper has them."""
    return "-" if value is None else f"{value:.4f}".removesuffix("0")


def published_notes(published: Published) -> list[str]:
    """What was scored, what is particular, and the sources by their numbers."""
    found = [f"Scored: {published.cases}.", *published.notes]
    for number, source in enumerate(published.sources.values(), 1):
        note = f" ({source.note})" if source.note else ""
        found.append(f"[{number}] {source.title}, {source.address}, {source.place}{note}.")
    return found


def published_section(pair: str, name: str) -> Section:
    """Apart from the benchmark's own rows, under a heading that says so."""
    rows = published_rows(published := load_published(name))
    table = Table(rows, words=frozenset({1, len(rows[0]) - 1}))
    return Section(f"Published: {pair}", [Text(NOT_COMPARABLE), table, Notes(published_notes(published))])


def _published_lines(pair: str, published: Published) -> list[str]:
    rows = published_rows(published)
    notes_of = [f"- {note}" for note in published_notes(published)]
    return [f"### Published: {pair}", "", NOT_COMPARABLE, "", *_markdown_table(rows), "", *notes_of]


def _markdown_table(rows: Rows) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    cells.insert(1, ["---", *["---:"] * (len(cells[0]) - 1)])
    return [f"| {' | '.join(row)} |" for row in cells]


# ---- files ----------------------------------------------------------------------------------------------------------


def _page(folder: str, benchmark: Benchmark, tables: Sequence[PairTable]) -> str:
    sections = []
    for table in tables:
        name = f"{table.pair.name}: {table.pair.source.name} to {table.pair.target.name}"
        rows = result_rows(table)
        middle = rows[0].index("worst class")
        halves = [[row[:middle] for row in rows], [[row[0], *row[middle:]] for row in rows]]
        blocks = [*map(Table, halves), *_plots(folder, benchmark, table), Notes(notes(benchmark, table))]
        sections.append(Section(name, blocks))
    sections += [published_section(table.pair.name, table.pair.published) for table in tables if table.pair.published]
    sections.append(Section("Runs", [Table(_run_rows(folder, benchmark), words=frozenset({1, 4, 5}))]))
    made_with = {kind: values for table in tables for kind, values in table.provenance.items()}
    rows = [["", ""], *([kind, "; ".join(values)] for kind, values in made_with.items())]
    sections.append(Section("Made with", [Table(rows, words=frozenset({1}))]))
    return page_html(benchmark.title, [Text(_budget(benchmark))], sections, contents=True)


def _plots(folder: str, benchmark: Benchmark, table: PairTable) -> list[Pictures]:
    """Every case of every row, of the first seed and fold that each has."""
    chosen = {row.title: next(iter(row.runs.values())) for row in table.rows if row.runs}
    if not chosen:
        return []
    scores = {title: load_scores(os.path.join(run_folder(folder, run), SCORES)) for title, run in chosen.items()}
    comparison = Comparison(scores, None, None, next(iter(scores)))
    names = [*comparison.classes] if len(comparison.classes) > 1 else []
    texts = {name: f"{METRIC} of each case, {name}; first seed" for name in ("mean of classes", *names)}
    return [Pictures([Picture(case_plot(comparison, METRIC, name), text, text) for name, text in texts.items()])]


def _run_rows(folder: str, benchmark: Benchmark) -> Rows:
    head = ["", "state", "mean Dice", "training", "report", "more"]
    return [head, *(_run_row(folder, run) for run in benchmark.runs)]


def _run_row(folder: str, run: Run) -> list[str]:
    state, place = read_state(folder, run), run_folder(folder, run)
    done = state["status"] == FINISHED
    mean = load_scores(os.path.join(place, SCORES))["foreground_mean"][METRIC] if done else math.nan
    error = own_error(state.get("error") or "")[:200] if state["status"] == FAILED else ""
    starts = len(state.get("starts", []))
    return [
        run.name,
        state["status"] + (f": {error}" if error else "") + (f", begun {starts} times" if starts > 1 else ""),
        _number(mean),
        duration(state["cost"]["training_seconds"]) if done else "-",
        _link(folder, os.path.join(place, "report.html"), "report"),
        _link(folder, os.path.join(place, STATE), "provenance")
        + " "
        + _link(folder, os.path.join(place, "logs"), "logs"),
    ]


def _link(folder: str, path: str, text: str) -> Markup:
    relative = os.path.relpath(path, folder)
    return Markup(f'<a href="{escape(relative)}">{text}</a>') if os.path.exists(path) else Markup("-")


def csv_text(folder: str, benchmark: Benchmark) -> str:
    """One line a finished run and class, and one for the mean of the classes."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in benchmark.runs:
        state = read_state(folder, run)
        if state["status"] != FINISHED:
            continue
        scores = load_scores(os.path.join(run_folder(folder, run), SCORES))
        facts = {"pair": run.pair.name, "row": run.row.name, "seed": run.seed, "fold": run.fold}
        facts |= {"trainer": run.row.trainer, "training_seconds": round(state["cost"]["training_seconds"], 1)}
        for name in scores["per_class"]:
            values = np.array([case[name][METRIC] for case in scores["per_case"].values()], float)
            values = values[~np.isnan(values)]
            found = scores["per_class"][name][METRIC]
            line = {"cases": found["n"], "dice": found["mean"], "dice_sd": found["std"]}
            line["worst"] = values.min() if values.size else math.nan
            _write(writer, {**facts, "class": spreadsheet_text(name), **line})
        mean = {"class": "mean", "cases": len(scores["per_case"]), "dice": scores["foreground_mean"][METRIC]}
        _write(writer, {**facts, **mean})
    return stream.getvalue()


def _write(writer: csv.DictWriter, line: dict) -> None:
    writer.writerow(
        {
            key: "" if value != value else round(value, 6) if isinstance(value, float) else value
            for key, value in line.items()
        }
    )


def markdown_text(benchmark: Benchmark, tables: Sequence[PairTable]) -> str:
    """A table a pair, and the notes."""
    lines = [f"# {benchmark.title}", "", _budget(benchmark), ""]
    for table in tables:
        lines += [f"## {table.pair.name}: {table.pair.source.name} to {table.pair.target.name}", ""]
        lines += [*_markdown_table(result_rows(table)), ""]
        lines += [*(f"- {note}" for note in notes(benchmark, table)), ""]
        if table.pair.published:
            lines += [*_published_lines(table.pair.name, load_published(table.pair.published)), ""]
    made_with = json.dumps({kind: values for table in tables for kind, values in table.provenance.items()})
    return "\n".join([*lines, f"Made with {made_with}.", ""])
