#!/usr/bin/env python3
"""Run one command and measure it and the registries beside it; prints one line of JSON.

  measure.py --label LABEL [--registry NAME=PID:LOG]... -- COMMAND [ARGUMENT]...

  wall           seconds from start to end
  cpu            CPU seconds of the command and of the children that it waited for
  peak_rss_mb    peak of the summed resident memory of the whole process tree, sampled every 10 ms
  NAME_cpu       CPU seconds that a registry process used meanwhile
  NAME_requests  requests that its access log gained
  NAME_kinds     the same by method, kind and status
  error          the end of stderr, where the command failed

Memory that processes share is counted once for each of them. The exit code is the command's. Linux only.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.01
# A registry writes its log just after it has answered.
LOG_SETTLES_SECONDS = 0.2
REQUEST = re.compile(rb'"([A-Z]+) (/v2/\S*) HTTP/[\d.]+" (\d+)')
KINDS = [("/blobs/uploads", "upload"), ("/blobs/", "blob"), ("/manifests/", "manifest"), ("/referrers/", "referrers"),
         ("/tags/", "tags")]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        # The name of the program is in parentheses and may hold blanks.
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def process_tree(pid):
    found, to_do = [], [pid]
    while to_do:
        process = to_do.pop()
        found.append(process)
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children", encoding="ascii") as f:
                    to_do += [int(child) for child in f.read().split()]
        except OSError:
            pass  # It has ended meanwhile.
    return found


def resident_bytes(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as f:
                total += int(f.read().split()[1])
        except OSError:
            pass
    return total * PAGE


def request_kind(method, path):
    if method == "POST" and "mount=" in path:
        return "mount"
    if path == "/v2/":
        return "ping"
    return next((kind for part, kind in KINDS if part in path), "other")


def requests_since(log, offset):
    counts = {}
    with open(log, "rb") as f:
        f.seek(offset)
        for match in REQUEST.finditer(f.read()):
            method, path, status = (part.decode() for part in match.groups())
            key = f"{method} {request_kind(method, path)} {status}"
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


class Registry:
    """A registry process and its access log, from `NAME=PID:LOG`."""

    def __init__(self, text):
        self.name, _, rest = text.partition("=")
        pid, _, self.log = rest.partition(":")
        self.pid = int(pid)
        self.cpu_before = cpu_seconds(self.pid)
        self.log_before = os.path.getsize(self.log)

    def gained(self):
        kinds = requests_since(self.log, self.log_before)
        return {
            f"{self.name}_cpu": round(cpu_seconds(self.pid) - self.cpu_before, 3),
            f"{self.name}_requests": sum(kinds.values()),
            f"{self.name}_kinds": kinds,
        }


def run(command):
    """Runs the command: (exit code, wall seconds, CPU seconds, peak bytes, stderr)"""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, ended = [0], threading.Event()

    def sample():
        while not ended.is_set():
            peak[0] = max(peak[0], resident_bytes(process_tree(process.pid)))
            ended.wait(SAMPLE_SECONDS)

    sampler = threading.Thread(target=sample)
    sampler.start()
    stderr = process.stderr.read()
    code = process.wait()
    wall = time.monotonic() - start
    ended.set()
    sampler.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return code, wall, cpu, peak[0], stderr.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", default="")
    parser.add_argument("--registry", action="append", default=[], type=Registry, metavar="NAME=PID:LOG")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    code, wall, cpu, peak, stderr = run(args.command)
    result = {"label": args.label, "code": code, "wall": round(wall, 3), "cpu": round(cpu, 3),
              "peak_rss_mb": round(peak / 1e6, 1)}
    time.sleep(LOG_SETTLES_SECONDS)
    for registry in args.registry:
        result.update(registry.gained())
    if code != 0:
        result["error"] = stderr[-500:]
    print(json.dumps(result), flush=True)
    # A command that a signal ended has a negative code here.
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
