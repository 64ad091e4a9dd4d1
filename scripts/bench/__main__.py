"""`python3 -m bench [CASE...]`: runs cases and prints their tables; scripts/bench.sh has the usage."""

import http.client
import os
import signal
import subprocess
import sys

from . import programs, table
from .cases import ALL, USUAL
from .servers import NotStarted
from .session import Session

# What ends this from outside, as an exit code of its own.
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# What a case may fail by without ending the others.
FAULTS = (NotStarted, RuntimeError, OSError, ValueError, KeyError, subprocess.SubprocessError,
          http.client.HTTPException)


def leave(number, _frame):
    raise SystemExit(128 + number)


def machine():
    """The machine in one line: what is measured is only worth something beside that."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    with open("/proc/meminfo", encoding="utf-8") as f:
        memory = int(f.readline().split()[1]) / (1 << 20)
    return f"{len(models)} × {models[0] if models else 'unknown CPU'}, {memory:.0f} GiB, Linux {os.uname().release}"


def head(session):
    settings = session.settings
    print(f"Machine: {machine()}.\n\nPrograms: {session.programs.versions()}.\n\nRounds: {settings.rounds}; consign -j "
          f"{settings.jobs} (latency: {settings.latency_jobs}); {settings.processes} processes for loops."
          f"{' Small sets: no figure of these counts.' if settings.quick else ''}\n", flush=True)


def run(session, names):
    """Runs cases, each of which may fail without ending the others; returns the exit code."""
    head(session)
    code = 0
    for name in names:
        case = ALL[name]
        try:
            case.run(session)
        except FAULTS as error:
            programs.say(f"{name} could not be measured: {type(error).__name__}: {error}")
            code = 1
        finally:
            # A case that failed leaves its servers behind, and each what it copied.
            session.clear()
        print(table.case_text(case, session.results, session), flush=True)
    print(table.legend(session.results), flush=True)
    if os.environ.get("BENCH_PLOTS") and not draw(session, os.environ["BENCH_PLOTS"]):
        code = 1
    # That a peer fails is a result; that consign does is a fault.
    own = [entry for entry in session.results.failed() if entry["tool"].startswith("consign")]
    return 1 if own else code


def draw(session, folder):
    """Plots of the case growth; whether that went well."""
    os.makedirs(folder, exist_ok=True)
    done = subprocess.run([session.programs.rig(), "plot", "--out", folder, session.results.path], check=False)
    programs.say(f"drawn into {folder}" if done.returncode == 0 else f"nothing could be drawn into {folder}")
    return done.returncode == 0


def show(session, path):
    """The tables of an earlier run, from its results."""
    session.results.load(path)
    for name, case in ALL.items():
        if any(run["case"] == name for run in session.results.runs):
            print(table.case_text(case, session.results, session))
    print(table.legend(session.results))
    return 0


def main(arguments):
    earlier = None
    if arguments[:1] == ["--show"]:
        if len(arguments) != 2:
            print("bench: --show wants the results of an earlier run", file=sys.stderr)
            return 2
        earlier, arguments = arguments[1], []
    # Each once: some change the images that they began with.
    names = list(dict.fromkeys(arguments or os.environ.get("CASES", "").split() or USUAL))
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"bench: unknown case {' '.join(unknown)}; known are {' '.join(ALL)}", file=sys.stderr)
        return 2
    for number in SIGNALS:
        signal.signal(number, leave)
    # A shell that starts this in the background leaves the interrupt ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    session = Session(os.environ)
    try:
        return show(session, earlier) if earlier else run(session, names)
    finally:
        # A second signal must not break off the clean-up.
        for number in (*SIGNALS, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        session.close()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
