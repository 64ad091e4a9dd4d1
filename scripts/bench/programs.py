"""Which programs there are: consign, its peers, docker-registry, and the rig that is built from benches/rig.

A program is the value of its variable, else what scripts/counterparts.sh fetched (`make setup`), else what is on PATH.
What is nowhere is left out by its name; nothing is fetched or installed here.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Name: the variable, the program, and the argument that makes it tell its version.
KNOWN = {
    "registry": ("REGISTRY", "docker-registry", "--version"),
    "crane": ("CRANE", "crane", "version"),
    "oras": ("ORAS", "oras", "version"),
    "skopeo": ("SKOPEO", "skopeo", "--version"),
    "regsync": ("REGSYNC", "regsync", "version"),
    "hangar": ("HANGAR", "hangar", "version"),
    "cosign": ("COSIGN2", "cosign2", "version"),
    "perf": ("PERF", "perf", "--version"),
}
VERSION_SECONDS = 20


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("CONSIGN_TOOLS") or os.path.join(base, "consign-counterparts")


def find(variable, program):
    """The path of a program, or None."""
    if os.environ.get(variable):
        # A value that names nothing is a mistake, not a wish to go without.
        found = shutil.which(os.environ[variable])
        if found is None:
            raise SystemExit(f"bench: {variable} is {os.environ[variable]}, and that is no program")
        return os.path.abspath(found)
    fetched = os.path.join(cache_folder(), "bin", program)
    return fetched if os.access(fetched, os.X_OK) else shutil.which(program)


def built(program):
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    return os.path.join(target, "release", program)


def build_rig():
    """Builds benches/rig and returns the path of its program."""
    if os.environ.get("RIG"):
        return os.path.abspath(os.environ["RIG"])
    say("the rig is built")
    command = ["cargo", "build", "--release", "--locked", "--bench", "rig", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError("the rig cannot be built")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message.get("target", {}).get("name") == "rig":
            return message["executable"]
    raise RuntimeError("cargo names no program for the rig")


def version(path, argument):
    """What a program says of its version, in one line; it is part of the result."""
    try:
        done = subprocess.run([path, argument], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown version"
    # "GitVersion:    2.5.0", "VCSTag:        v0.11.7", "skopeo version 1.22.0", "1.3.3", "… v2.8.2+ds1"
    found = re.search(r"(?:^|\s)v?(\d+\.\d+\.\S+)", done.stdout + done.stderr)
    return found[1] if found else packaged(path)


def packaged(path):
    """The version of the Debian package that a program was unpacked from."""
    program = os.path.realpath(path)
    log = os.path.join(os.path.dirname(program), "..", "share", "doc", os.path.basename(program), "changelog.Debian.gz")
    try:
        with gzip.open(log, "rt", encoding="utf-8", errors="replace") as f:
            found = re.search(r"\(([^)]+)\)", f.readline())
    except OSError:
        return "unknown version"
    return found[1] if found else "unknown version"


class Programs:
    """What was found. `paths` has None for what is nowhere."""

    def __init__(self):
        self.paths = {name: find(variable, program) for name, (variable, program, _) in KNOWN.items()}
        self.paths["consign"] = os.path.abspath(os.environ.get("CONSIGN") or built("consign"))
        if not os.access(self.paths["consign"], os.X_OK):
            raise SystemExit(f"bench: there is no {self.paths['consign']}; see make build")
        if self.paths["registry"] is None:
            raise SystemExit("bench: there is no docker-registry; see make setup")
        self._rig = None
        for name in ("crane", "oras", "skopeo", "regsync", "hangar", "cosign"):
            if self.paths[name] is None:
                say(f"{name} is left out: there is no such program")

    def __getitem__(self, name):
        return self.paths[name]

    def rig(self):
        if self._rig is None:
            self._rig = build_rig()
        return self._rig

    def versions(self):
        """One line that names every program with its version."""
        told = [f"consign {version(self['consign'], 'version')}"]
        for name, (_, _, argument) in KNOWN.items():
            if self.paths[name] and name != "perf":
                told.append(f"{name} {version(self.paths[name], argument)}")
        return ", ".join(told)
