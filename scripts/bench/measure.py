"""One command, measured, and what the servers beside it did meanwhile.

  wall      seconds from start to end
  cpu       CPU seconds of the command and of the children that it waited for
  peak_mb   peak of the summed resident memory of the whole process tree, sampled every 10 ms; memory that processes
            share is counted once for each of them

Requests of docker-registry are read from its access log, those of the rig's registry are asked for (servers.py).
"""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.01
# How long a command that was told to end may take for it.
END_SECONDS = 5
ERROR_CHARACTERS = 500
# Method, path, status and bytes of the answer, in the Apache combined format.
REQUEST = re.compile(rb'"([A-Z]+) (/v2/\S*) HTTP/[\d.]+" (\d+) (\d+|-)')
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
    """What an access log gained: ({"METHOD kind status": requests}, bytes of the answers)"""
    counts, sent = {}, 0
    with open(log, "rb") as f:
        f.seek(offset)
        for line in f:
            match = REQUEST.search(line)
            if match is None:
                continue
            method, path, status, size = (part.decode() for part in match.groups())
            key = f"{method} {request_kind(method, path)} {status}"
            counts[key] = counts.get(key, 0) + 1
            # The log names the size of a blob for a HEAD too, which has no body.
            if size != "-" and method != "HEAD":
                sent += int(size)
    return dict(sorted(counts.items())), sent


def end_group(process):
    """Ends a command with all its children, which are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; whoever of its group is left gets the second signal.


def run(command, environment, folder, seconds):
    """Runs a command in a folder for at most so many seconds: {code, wall, cpu, peak_mb, error}"""
    with tempfile.TemporaryFile(dir=folder) as stderr:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
        peak, ended, late = [0], threading.Event(), threading.Event()

        def sample():
            while not ended.is_set():
                peak[0] = max(peak[0], resident_bytes(process_tree(process.pid)))
                if time.monotonic() - start > seconds and not late.is_set():
                    late.set()
                    os.killpg(process.pid, signal.SIGKILL)
                ended.wait(SAMPLE_SECONDS)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            ended.set()
            sampler.join()
            if process.returncode is None:
                end_group(process)
        result = {"code": process.returncode, "wall": round(wall, 3), "cpu": round(usage.ru_utime + usage.ru_stime, 3),
                  "peak_mb": round(peak[0] / 1e6, 1)}
        if process.returncode != 0:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - ERROR_CHARACTERS))
            text = stderr.read().decode(errors="replace")
            result["error"] = f"was ended after {seconds} s: {text}" if late.is_set() else text
    return result
