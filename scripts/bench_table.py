#!/usr/bin/env python3
"""Print the medians of a benchmark as a table in Markdown.

  bench_table.py RESULTS

RESULTS has one line of scripts/measure.py a run, with labels `SET PASS TOOL`. Ratios are to the tool that was run
first, consign unless it is missing or failed. Runs that failed are left out of the medians and
counted; the exit code is then 1.
"""

import json
import statistics
import sys

HEAD = ["set", "pass", "tool", "wall s", "ratio", "CPU s", "ratio", "peak MB", "requests source", "destination", "runs"]


def ratio(value, base):
    return f"{value / base:.1f}" if base else "-"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    runs, failed = {}, {}
    with open(sys.argv[1], encoding="utf-8") as f:
        for line in f:
            run = json.loads(line)
            if run["code"] == 0:
                runs.setdefault(run["label"], []).append(run)
            else:
                failed[run["label"]] = failed.get(run["label"], 0) + 1
    print("| " + " | ".join(HEAD) + " |")
    print("| --- | --- | --- |" + " ---: |" * (len(HEAD) - 3))
    # One table row a label, the rows of one set and pass together, as they were run first.
    base = {}
    order = list(dict.fromkeys(label.rsplit(" ", 1)[0] for label in runs))
    for label in sorted(runs, key=lambda label: order.index(label.rsplit(" ", 1)[0])):
        def median(field, rows=runs[label]):
            return statistics.median(row[field] for row in rows)

        group, tool = label.rsplit(" ", 1)
        wall, cpu = median("wall"), median("cpu")
        first_wall, first_cpu = base.setdefault(group, (wall, cpu))
        cells = [*group.split(), tool, f"{wall:.2f}", ratio(wall, first_wall), f"{cpu:.2f}", ratio(cpu, first_cpu),
                 f"{median('peak_rss_mb'):.0f}", f"{median('source_requests'):.0f}",
                 f"{median('destination_requests'):.0f}", str(len(runs[label]))]
        print("| " + " | ".join(cells) + " |")
    for label, count in failed.items():
        print(f"bench: {label}: {count} runs failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
