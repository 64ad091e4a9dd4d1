"""Fresh copies between registries on loopback: `big` and `tiny` with docker-registry, `sink` and `shared` with a source
and a destination that cost next to nothing, so that the client is what is measured.

The attainable limit is that of a client that does what a client must: the CPU that both registries need for all blobs
(GET at the source, POST and PUT at the destination), measured with a client whose own CPU counts for nothing; plus one
SHA-256 over all bytes, plus reading them from a socket and writing them to one; all over the cores of the machine.
"""

import json
import os
import subprocess

from ..bars import Bar, Fact, faster, faster_than_best, figure, memory, ratio, requests
from ..programs import say

PEERS = ["crane", "crane-a", "oras", "skopeo-sync", "regsync", "hangar"]


def copy_fresh_and_again(session, case, images, rows):
    source, _ = session.source(images)
    for number, row in session.every_round([*rows, "limit"]):
        destination = session.fresh_destination()
        session.fresh_home()
        if row == "limit":
            limit(session, case, images, number, source, destination)
            continue
        task = session.task(images, source.address, destination.address)
        watched = {"source": source, "destination": destination}
        for step in ("fresh", "again"):
            session.copy((case, step, row, number), task, watched)


def limit(session, case, images, number, source, destination):
    """What no client can do without; a line of the results."""
    try:
        rig = session.programs.rig()
    except RuntimeError as error:
        say(f"no limit is measured: {error}")
        return
    facts = {"cores": os.cpu_count()}
    for role, server in (("source", source), ("destination", destination)):
        sides = {"source": "-", "destination": "-", role: f"http://{server.address}"}
        server.mark()
        done = subprocess.run([rig, "limit", "--layout", images.layout, "--source", sides["source"],
                               "--destination", sides["destination"]], capture_output=True, text=True, check=False,
                              timeout=session.settings.seconds)
        if done.returncode != 0:
            say(f"no limit is measured: {done.stderr[-200:]}")
            return
        facts[f"{role}_cpu"] = server.gained()["cpu"]
        own = json.loads(done.stdout)
    facts["sha256_cpu"], facts["sockets_cpu"] = own["sha256"]["cpu"], own["sockets"]["cpu"]
    parts = ("source_cpu", "destination_cpu", "sha256_cpu", "sockets_cpu")
    facts["seconds"] = sum(facts[part] for part in parts) / facts["cores"]
    session.note((case, "limit", "limit", number), facts)


def limit_bars(results, case, most):
    """How near to the limit; without a bar where `most` is None."""
    of = lambda name: results.median(case, "limit", "limit", f"facts.{name}")
    wall = results.median(case, "fresh", "consign", "wall")
    if of("seconds") is None or wall is None:
        return [Bar(f"fresh: at most {most} times the attainable limit", None)] if most else []
    told = Fact(f"the attainable limit is {figure(of('seconds'))} s: CPU of the source {figure(of('source_cpu'))}, of "
                f"the destination {figure(of('destination_cpu'))}, one SHA-256 {figure(of('sha256_cpu'))}, sockets "
                f"{figure(of('sockets_cpu'))}, over {of('cores'):.0f} cores")
    times = wall / of("seconds")
    if most is None:
        return [told, Fact(f"fresh: {figure(times)} times that, which counts no manifest")]
    return [told, Bar(f"fresh: at most {most} times the attainable limit", times, at_most=most)]


class Big:
    name = "big"
    summary = "40 images of 2 platforms and 5 layers, 3 of them shared by ten images, 1 GB unique; docker-registry"

    def run(self, session):
        copy_fresh_and_again(session, self.name, session.big(), session.rows("consign", *PEERS))

    def bars(self, results, session):
        return [
            faster(results, self.name, "fresh", "skopeo-sync", 2.3),
            faster(results, self.name, "fresh", "oras", 2.7),
            faster(results, self.name, "fresh", "regsync", 3),
            faster_than_best(results, self.name, "fresh", ["crane", "crane-a"], 3),
            *limit_bars(results, self.name, 1.2),
            memory(results, self.name),
        ]


class Tiny:
    name = "tiny"
    summary = "400 small images of 2 platforms and 2 layers, in 40 repositories; docker-registry"

    def run(self, session):
        rows = session.rows("consign", "consign-image", *PEERS)
        copy_fresh_and_again(session, self.name, session.tiny(), rows)

    def bars(self, results, session):
        images, repositories = len(session.tiny().names), len(session.tiny().repositories())
        # With all that belongs to them: docs/PERFORMANCE.md has the formula. Nothing is attached to these.
        closure = 2 * repositories / images
        return [
            faster(results, self.name, "fresh", "regsync", 1.5),
            faster(results, self.name, "fresh", "crane-a", 1.6),
            faster(results, self.name, "fresh", "skopeo-sync", 4.5),
            *requests(results, self.name, "fresh", "consign-image", images, 7.2, 12.4),
            *requests(results, self.name, "fresh", "consign", images, 7.2 + closure, 12.4),
            *limit_bars(results, self.name, None),
            memory(results, self.name),
        ]


class Sink:
    name = "sink"
    summary = "the set big from a registry in memory into one that drops what it gets: the client is what is measured"
    steps = ("plain", "tls")

    def run(self, session):
        images, rows = session.big(), session.rows("consign", *PEERS)
        for step in self.steps:
            tls = session.servers.certificates() if step == "tls" else None
            source = session.servers.registry("source", ["--layout", images.layout], tls)
            destination = session.servers.registry("destination", [], tls)
            authority = tls.authority if tls else ""
            task = session.task(images, source.address, destination.address, authority=authority)
            for number, row in session.every_round(rows):
                destination.reset()
                session.fresh_home()
                session.copy((self.name, step, row, number), task, {"source": source, "destination": destination},
                             facts={"bytes": images.bytes})
            session.servers.stop("source")
            session.servers.stop("destination")

    def bars(self, results, session):
        answer = [faster_than_best(results, self.name, "plain", PEERS, 3)]
        for step, most in zip(self.steps, (1.15, 2.0)):
            cpu, size = (results.median(self.name, step, "consign", field) for field in ("cpu", "facts.bytes"))
            value = cpu / (size / 1e9) if cpu is not None and size else None
            answer.append(Bar(f"{step}: CPU of consign at most {most} s per GB", value, at_most=most, unit="s"))
        return [*answer, memory(results, self.name)]


class Shared:
    name = "shared"
    summary = "the same without TLS, by the bytes that were moved: unique bytes are needed once"
    step = "moved"

    def run(self, session):
        images, rows = session.big(), session.rows("consign", "crane", "oras", "skopeo-sync", "regsync", "hangar")
        source = session.servers.registry("source", ["--layout", images.layout])
        destination = session.servers.registry("destination", [])
        task = session.task(images, source.address, destination.address)
        # What is counted here does not vary as time does.
        for row in rows:
            destination.reset()
            session.fresh_home()
            session.copy((self.name, self.step, row, 1), task, {"source": source, "destination": destination},
                         facts={"bytes": images.bytes})
        session.servers.stop("source")
        session.servers.stop("destination")

    def bars(self, results, session):
        answer = []
        for side, field in (("source", "bytes_out"), ("destination", "bytes_in")):
            moved = results.median(self.name, self.step, "consign", f"{side}.{field}")
            size = results.median(self.name, self.step, "consign", "facts.bytes")
            # One in a hundred for manifests and what surrounds bodies.
            answer.append(Bar(f"each unique byte crosses the {side} once", moved / size if moved and size else None,
                              at_most=1.01, unit="times"))
            for tool in ("crane", "oras", "skopeo-sync", "regsync"):
                times = ratio(results, self.name, self.step, tool, f"{side}.{field}")
                if times is not None:
                    answer.append(Fact(f"{tool} moves {figure(times)} times as much at the {side}"))
        return answer
