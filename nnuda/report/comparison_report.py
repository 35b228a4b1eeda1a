"""A comparison as CSV, Markdown and one HTML page that needs no other file."""

from __future__ import annotations

import csv
import io
import math
import os

import numpy as np

from nnuda.evaluation.comparison import ALL_CLASSES, Comparison, case_values, paired_tests, summary
from nnuda.evaluation.table import DECIMALS, metric_title, spreadsheet_text
from nnuda.files import write_text
from nnuda.report.comparison_plots import case_plot
from nnuda.report.page import PAGE_MARK, Fact, Facts, Notes, Picture, Pictures, Section, Table, Text, page_html

COLUMNS = ("result", "class", "metric", "mean", "std", "median", "n", "gap", "p", "p_holm", "pairs")
MARKS = {  # how files of ours begin
    "comparison.csv": ",".join(COLUMNS).encode(),
    "comparison.md": b"# Comparison\n",
    "comparison.html": PAGE_MARK,
}
LEVEL = 0.05  # a p below it counts as a difference
Rows = list[list[str]]


def _number(value: float, decimals: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def _p_value(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _mean_and_spread(values: dict, metric: str) -> str:
    return f"{_number(values['mean'], DECIMALS[metric])} ± {_number(values['std'], DECIMALS[metric])}"


def _unit(comparison: Comparison) -> str:
    return comparison.scores[comparison.against]["unit"]


def metric_table(comparison: Comparison, metric: str) -> Rows:
    """Head and rows of one metric: mean of the classes, each class, share of the gap, corrected p value."""
    classes = [ALL_CLASSES, *comparison.classes] if len(comparison.classes) > 1 else comparison.classes
    with_gap = comparison.source_only and comparison.oracle
    tests = paired_tests(comparison, metric)
    rows = [["", *classes, *(["gap closed"] if with_gap else []), f"p (Holm) against {comparison.against}", "pairs"]]
    for result in comparison.scores:
        cells = [_mean_and_spread(summary(comparison, result, metric, name), metric) for name in classes]
        if with_gap:
            gap = summary(comparison, result, metric)["gap"]
            cells.append("-" if math.isnan(gap) else f"{round(100 * gap)} %")
        test = tests.get(result, {"p_holm": math.nan, "pairs": "-"})
        rows.append([result, *cells, _p_value(test["p_holm"]), str(test["pairs"])])
    return rows


def notes(comparison: Comparison) -> list[str]:
    """What a reader has to know beside the numbers."""
    cases = len(comparison.cases)
    found = [
        f"{cases} cases; mean ± standard deviation over them. Labels of the target were used for these scores "
        "(oracle: true): no model may have been trained or chosen with them.",
        "There is no distance where a mask is empty: its mean is over fewer cases, and a case that lacks it for "
        "one of its classes is in no pair of the test. Read distances beside the Dice.",
    ]
    found += [
        f"{metric} is not shown: the scores of {', '.join(names)} lack it. Score them again with nnUDA_evaluate, or here "
        "with -gt."
        for metric, names in comparison.left_out.items()
    ]
    if comparison.source_only and comparison.oracle:
        found.append(f"Gap closed: 0 % is {comparison.source_only}, 100 % is {comparison.oracle}.")
    found.append(
        f"p: Wilcoxon's signed-rank test, two-sided, on the cases' means of the classes, against "
        f"{comparison.against}, after Holm's correction for the number of results; a metric at a time."
    )
    smallest = min(1.0, 2.0 ** (1 - cases)) * (len(comparison.scores) - 1)
    if smallest > 0.05:
        found.append(
            f"With {cases} cases and {len(comparison.scores) - 1} tests no corrected p can be below "
            f"{min(1.0, smallest):.2g}: this comparison cannot reach 0.05, whatever the results."
        )
    return found


def csv_text(comparison: Comparison) -> str:
    """One line a result, class and metric; p values in the lines of the mean of the classes."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for metric in comparison.metrics:
        tests = paired_tests(comparison, metric)
        for result in comparison.scores:
            for name in (ALL_CLASSES, *comparison.classes):
                row = {
                    "result": spreadsheet_text(result),
                    "class": spreadsheet_text(name),
                    "metric": metric,
                    **summary(comparison, result, metric, name),
                    **(tests.get(result, {}) if name == ALL_CLASSES else {}),
                }
                writer.writerow({key: "" if value != value else value for key, value in row.items()})
    return stream.getvalue()


def markdown_text(comparison: Comparison) -> str:
    """A table a metric, and the notes."""
    lines = ["# Comparison", ""]
    for metric in comparison.metrics:
        rows = [[cell.replace("|", "\\|") for cell in row] for row in metric_table(comparison, metric)]
        rows.insert(1, ["---", *["---:"] * (len(rows[0]) - 1)])
        lines += [f"## {metric_title(metric, _unit(comparison))}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in notes(comparison)), ""])


def _plots(comparison: Comparison, metric: str) -> Pictures:
    names = [ALL_CLASSES, *comparison.classes] if metric == "Dice" and len(comparison.classes) > 1 else [ALL_CLASSES]
    texts = {name: f"{metric} of each case, {name}" for name in names}
    return Pictures([Picture(case_plot(comparison, metric, name), text, text) for name, text in texts.items()])


def _facts(comparison: Comparison) -> list[Facts]:
    """The answers: which result is best by the Dice, where it is bad, and what to do; none without the Dice."""
    if "Dice" not in comparison.metrics:
        return []
    means = {name: summary(comparison, name, "Dice")["mean"] for name in comparison.scores if name != comparison.oracle}
    best = max(means, key=lambda name: (np.nan_to_num(means[name], nan=-1.0), name == comparison.against))
    p = paired_tests(comparison, "Dice").get(best, {"p_holm": math.nan})["p_holm"]
    return [Facts([_best(comparison, best, means, p), _bad(comparison, best), _next(comparison, best, p)])]


def _best(comparison: Comparison, best: str, means: dict[str, float], p: float) -> Fact:
    against = comparison.against
    more = [f"Dice {_number(means[best], 3)}"]
    if best != against:
        other = summary(comparison, against, "Dice")["mean"]
        more[0] += f", {against} {_number(other, 3)}; p {_p_value(p)} after correction"
    if comparison.source_only and comparison.oracle and not math.isnan(gap := summary(comparison, best, "Dice")["gap"]):
        more.append(f"{round(100 * gap)} % of the gap to {comparison.oracle} closed")
    return Fact("Which is best?", best, more, "good" if p < LEVEL else "")


def _bad(comparison: Comparison, best: str) -> Fact:
    classes = {name: summary(comparison, best, "Dice", name)["mean"] for name in comparison.classes}
    weakest = min(classes, key=lambda name: np.nan_to_num(classes[name], nan=2.0))
    cases = sorted(zip(np.nan_to_num(case_values(comparison.scores[best], "Dice"), nan=2.0), comparison.cases))
    worst = ", ".join(f"{case} {_number(value, 3)}" for value, case in cases[:3] if value <= 1)
    return Fact(
        "Where is it bad?", f"{weakest}, Dice {_number(classes[weakest], 3)}", [f"worst cases of {best}: {worst}"]
    )


def _next(comparison: Comparison, best: str, p: float) -> Fact:
    question = "What next?"
    if best == comparison.against:
        unadapted = best == comparison.source_only
        more = ["What to try: documentation/how-to/when-it-does-not-help.md."] if unadapted else []
        return Fact(question, f"Nothing is better than {best}", more, "bad" if unadapted else "")
    look = f"nnUDA_report shows them for {best}, given these predictions and the labels."
    if p < LEVEL:
        return Fact(question, "Look at the worst cases", [look])
    return Fact(question, "More cases: the difference is not shown", [f"It may be chance: p {_p_value(p)}.", look])


def html_text(comparison: Comparison) -> str:
    """One page with tables, plots of each case, and then how to read them; it loads nothing."""
    sections = [
        Section(
            metric_title(metric, _unit(comparison)),
            [Table(metric_table(comparison, metric)), _plots(comparison, metric)],
        )
        for metric in comparison.metrics
    ]
    in_plots = "In the plots a dot is a case, a grey line joins the dots of one case, an upright stroke is the mean."
    cases, *others = notes(comparison)
    return page_html(
        "Comparison",
        [*_facts(comparison), Text(cases)],
        [*sections, Section("How to read it", [Notes([*others, in_plots])])],
    )


def save_comparison(comparison: Comparison, folder: str) -> list[str]:
    """Writes comparison.csv, comparison.md and comparison.html, each whole or not at all; returns their paths."""
    paths = []
    for name, text in zip(MARKS, (csv_text, markdown_text, html_text)):
        path = os.path.join(folder, name)
        write_text(text(comparison), path)
        paths.append(path)
    return paths
