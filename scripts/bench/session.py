"""What all cases share: settings, the work folder, servers, results, and the rounds.

Everything that is made here is removed by `close`, on every way out. The measured programs get an empty home, so that
none remembers anything and none touches the files of who runs this.
"""

import json
import os
import shutil
import statistics
import tempfile

from . import measure, peers, sets
from .programs import Programs, cache_folder, say
from .servers import Servers

# What the largest case keeps in registries at once, with room for what it does not need, in bytes.
ROOM = 6 << 30
ROOM_QUICK = 1 << 30
# The code of a run that ended well and did not do what it was to do; no program ends with it.
INCOMPLETE = 1000
# A user and password that no registry here asks for by name: the rig's token service takes any.
CREDENTIAL = "YmVuY2g6YmVuY2g="


class Settings:
    """Numbers that the environment may change; scripts/bench.sh lists them."""

    def __init__(self, environment):
        def number(name, usual, quick):
            return int(environment.get(name, quick if self.quick else usual))

        self.quick = environment.get("BENCH_QUICK", "0") == "1"
        self.rounds = number("BENCH_ROUNDS", 3, 1)
        self.jobs = number("BENCH_JOBS", 16, 16)
        self.latency_jobs = number("BENCH_LATENCY_JOBS", 64, 64)
        self.processes = number("BENCH_PROCESSES", 4, 4)
        # How long one command may take.
        self.seconds = number("BENCH_SECONDS", 900, 120)
        tools = environment.get("BENCH_TOOLS", "").split()
        unknown = [tool for tool in tools if tool not in peers.ROWS and tool != "cosign"]
        if unknown:
            raise SystemExit(f"bench: unknown tools {' '.join(unknown)}; known are {' '.join(peers.ROWS)} cosign")
        self.tools = tools

    def pick(self, usual, quick):
        return quick if self.quick else usual


class Results:
    """The runs so far, by case, step and tool."""

    def __init__(self, path):
        self.path, self.runs = path, []

    def add(self, run):
        self.runs.append(run)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(run) + "\n")

    def load(self, path):
        """Takes in the results of an earlier run."""
        with open(path, encoding="utf-8") as f:
            self.runs = [json.loads(line) for line in f]

    def of(self, case, step=None, tool=None):
        """Runs that ended well."""
        return [run for run in self.runs if run["case"] == case and run["code"] == 0 and step in (None, run["step"])
                and tool in (None, run["tool"])]

    def failed(self, case=None):
        return [run for run in self.runs if run["code"] != 0 and case in (None, run["case"])]

    def median(self, case, step, tool, field):
        """The median of a field, or None where nothing has it. A field of a server is `source.cpu`."""
        values = [value for run in self.of(case, step, tool) if (value := field_of(run, field)) is not None]
        return statistics.median(values) if values else None


def field_of(run, field):
    server, _, name = field.rpartition(".")
    if not server:
        return run.get(field)
    if server == "facts":
        return run.get("facts", {}).get(name)
    return run.get("servers", {}).get(server, {}).get(name)


class Session:
    def __init__(self, environment):
        self.settings = Settings(environment)
        self.programs = Programs()
        self.work = tempfile.mkdtemp(prefix="consign-bench.", dir=self._place(environment))
        try:
            self.images_folder = environment.get("BENCH_IMAGES") or os.path.join(cache_folder(), "images")
            path = environment.get("BENCH_RESULTS") or os.path.join(self.work, "results.jsonl")
            self.results = Results(os.path.abspath(path))
            # That it cannot be written shall not be found out after the first hour.
            open(self.results.path, "a", encoding="utf-8").close()
            self.servers = Servers(self.programs, self.work)
            self.home = os.path.join(self.work, "home")
            self.lists = os.path.join(self.work, "lists")
            os.mkdir(self.lists)
        except BaseException:
            shutil.rmtree(self.work, ignore_errors=True)
            raise

    def _place(self, environment):
        if environment.get("BENCH_WORK"):
            os.makedirs(environment["BENCH_WORK"], exist_ok=True)
            return environment["BENCH_WORK"]
        # In memory, where that is large enough: the disk is none of what is measured. Twice the room, for what is
        # there is also the memory that the programs themselves want.
        room = self.settings.pick(ROOM, ROOM_QUICK)
        if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 * room:
            return "/dev/shm"
        return None

    def close(self):
        try:
            self.servers.stop_all()
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def clear(self):
        """Ends what a case left running, and removes what it copied."""
        self.servers.stop_all()
        shutil.rmtree(os.path.join(self.work, "destination"), ignore_errors=True)

    def rows(self, *usual):
        """The rows of a case: of the usual ones those that were asked for and whose program is there."""
        wanted = [row for row in usual if not self.settings.tools or row in self.settings.tools]
        return peers.present(self.programs, wanted)

    def images(self, name, *options):
        return sets.generate(self.images_folder, name, [str(option) for option in options])

    def big(self):
        return self.images("big", *self.settings.pick([], ["--images", 4, "--scale", 0.05]))

    def tiny(self):
        return self.images("tiny", "--images", self.settings.pick(400, 20))

    def fresh_home(self):
        """An empty home, with a credential for each registry in Docker's file."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(os.path.join(self.home, ".docker"))

    def know(self, *addresses):
        """Puts a credential for registries where every tool looks for one."""
        with open(os.path.join(self.home, ".docker", "config.json"), "w", encoding="utf-8") as f:
            json.dump({"auths": {address: {"auth": CREDENTIAL} for address in addresses}}, f)

    def environment(self, authority=""):
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        kept.update({name: self.home for name in ("HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME",
                                                  "XDG_CONFIG_HOME")})
        kept.update({"DOCKER_CONFIG": os.path.join(self.home, ".docker"), "COSIGN_PASSWORD": "bench",
                     # So that skopeo, run by root, keeps what it knows of blobs in this home, not in /var/lib.
                     "_CONTAINERS_ROOTLESS_UID": "1000"})
        if authority:
            kept["SSL_CERT_FILE"] = authority
        return kept

    def source(self, images, name="source"):
        """docker-registry with a set in it. Sets stay until the end, for several cases have the same."""
        root = os.path.join(self.work, f"set-{os.path.basename(images.layout)}")
        seeded = f"{root}.seeded"
        server = self.servers.docker(name, root)
        if not os.path.exists(seeded):
            sets.push(images.layout, f"http://{server.address}")
            open(seeded, "w", encoding="utf-8").close()
        return server, root

    def fresh_destination(self, **extra):
        """docker-registry with nothing in it."""
        self.servers.stop("destination")
        root = os.path.join(self.work, "destination")
        shutil.rmtree(root, ignore_errors=True)
        return self.servers.docker("destination", root, **extra)

    def task(self, images, source, destination, **more):
        return peers.Task(images=images, source=source, destination=destination, folder=self.lists,
                          **{"jobs": self.settings.jobs, "processes": self.settings.processes, **more})

    def measure(self, label, command, watched, authority="", wrong=lambda: None, **more):
        """One measured run. label: (case, step, tool, round); watched: {role: server}; wrong: says afterwards what the
        command left undone, if anything; more: `facts`, `value`."""
        case, step, tool, number = label
        for server in watched.values():
            server.mark()
        result = measure.run(command, self.environment(authority), self.lists, self.settings.seconds)
        for server in watched.values():
            server.settle()
        run = {"case": case, "step": step, "tool": tool, "round": number, **more, **result,
               "servers": {role: server.gained() for role, server in watched.items()}}
        if run["code"] == 0 and (error := wrong()):
            run.update(code=INCOMPLETE, error=error)
        self.results.add(run)
        end = f"{run['wall']:.2f} s" if run["code"] == 0 else f"failed ({run['code']}): {run['error'][-200:].strip()}"
        say(f"{case}, {step}, {tool}, round {number}: {end}")
        return run

    def copy(self, label, task, watched, **more):
        """One measured copy of a task by the row that the label names."""
        command = peers.command(self.programs, label[2], task)
        destination, place = watched["destination"], peers.place(label[2])

        def missing():
            """What is not there, although the program said nothing: a fast way to copy is to leave things out."""
            lost = [name for name in task.images.names if destination.digest(place(name)) != task.images.digests[name]]
            return f"{len(lost)} of {len(task.images.names)} images are missing, {lost[0]} first" if lost else None

        return self.measure(label, command, watched, task.authority, missing, **more)

    def prepare(self, command, authority=""):
        """Something that must be done and is not measured."""
        result = measure.run(command, self.environment(authority), self.lists, self.settings.seconds)
        if result["code"] != 0:
            raise RuntimeError(f"{' '.join(command[:2])} did not end well: {result['error']}")

    def note(self, label, facts):
        """A line of the results that is no run."""
        case, step, tool, number = label
        self.results.add({"case": case, "step": step, "tool": tool, "round": number, "code": 0, "facts": facts})

    def every_round(self, rows):
        """(round, row): every row in turn, in several rounds, so that the noise of the machine hits all alike."""
        for number in range(1, self.settings.rounds + 1):
            for row in rows:
                yield number, row
