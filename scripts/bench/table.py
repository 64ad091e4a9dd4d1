"""The results of a case as Markdown: a table for each step, and the bars.

A cell is the median, the least and the greatest of the rounds where they differ, and how many times that is what
consign needs: `5.81 [5.62, 6.03] ×1.9`.
"""

import statistics

from . import peers
from .session import field_of

# Heading, field, unit that it is divided by, digits behind the point.
COLUMNS = [
    ("wall s", "wall", 1, 2),
    ("client CPU s", "cpu", 1, 2),
    ("peak MB", "peak_mb", 1, 1),
    ("source CPU s", "source.cpu", 1, 2),
    ("destination CPU s", "destination.cpu", 1, 2),
    ("blobs' host CPU s", "files.cpu", 1, 2),
    ("requests source", "source.requests", 1, 0),
    ("requests destination", "destination.requests", 1, 0),
    ("tokens", "tokens.requests", 1, 0),
    ("MB from source", "source.bytes_out", 1e6, 1),
    ("MB to destination", "destination.bytes_in", 1e6, 1),
]
NOT_RUNS = ("limit", "perf")


def cell(runs, base, column):
    """One cell, from the runs of a row and of the first row."""
    _, field, unit, digits = column
    values, bases = ([value for run in some if (value := field_of(run, field)) is not None] for some in (runs, base))
    if not values:
        return "–"
    show = lambda value: f"{value / unit:.{digits}f}"
    middle, least, most = statistics.median(values), min(values), max(values)
    text = show(middle)
    if show(least) != show(most):
        text += f" [{show(least)}, {show(most)}]"
    if bases and statistics.median(bases) > 0:
        text += f" ×{middle / statistics.median(bases):.1f}"
    return text


def step_table(results, case, step):
    runs = [run for run in results.of(case, step) if run["tool"] not in NOT_RUNS]
    keys = list(dict.fromkeys((run["tool"], run.get("value")) for run in runs))
    if not keys:
        return []
    of = lambda key: [run for run in runs if (run["tool"], run.get("value")) == key]
    used = [column for column in COLUMNS if any(field_of(run, column[1]) is not None for run in runs)]
    head = [step, *(column[0] for column in used), "runs"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for key in keys:
        name = key[0] if key[1] is None else f"{key[0]} {key[1]:,}"
        cells = [cell(of(key), of(keys[0]), column) for column in used]
        lines.append("| " + " | ".join([name, *cells, str(len(of(key)))]) + " |")
    return [*lines, ""]


def case_text(case, results, session):
    """Everything of one case."""
    lines = [f"## {case.name}", "", f"{case.summary[0].upper()}{case.summary[1:]}.", ""]
    for step in dict.fromkeys(run["step"] for run in results.of(case.name)):
        lines += step_table(results, case.name, step)
    lines += [bar.line() for bar in case.bars(results, session)]
    failed = {}
    for run in results.failed(case.name):
        failed[(run["step"], run["tool"])] = failed.get((run["step"], run["tool"]), 0) + 1
    lines += [f"- {count} runs failed: {step}, {tool}" for (step, tool), count in failed.items()]
    return "\n".join([*lines, ""])


def legend(results):
    """What each row is."""
    rows = [row for row in peers.ROWS if any(run["tool"] == row for run in results.runs)]
    return "\n".join(["Rows:", "", *(f"- {row}: {peers.ROWS[row][2]}" for row in rows), ""])
