"""What lies between the registries: TLS with tokens and redirects (`road`), round trips (`latency`), and a link of
bounded bandwidth (`link`). The delay, the pace and the redirects' file server are the rig's.
"""

import os

from ..bars import Bar, Fact, faster_than_best, figure, memory
from ..servers import Relays, RigTokens

LOOPS = ["crane", "oras", "skopeo-copy"]


class Road:
    name = "road"
    summary = "the set big over TLS, with tokens of 60 s, each blob by redirect to another server; docker-registry"
    step = "fresh"
    peers = ["crane", "crane-a", "oras", "skopeo-sync", "regsync", "hangar"]

    def run(self, session):
        images, servers = session.big(), session.servers
        _, root = session.source(images)
        servers.stop("source")
        tls = servers.certificates()
        tokens, token = self.tokens(session, tls)
        # Another port is another server, to which no credential may follow. Another name of loopback would not do:
        # consign follows a registry to an address that only this machine can mean when it is its own host alone.
        files = servers.rig("files", ["files", "--root", root], tls)
        source = servers.docker("source", root, tls=tls, token=token, redirect=f"https://{files.address}/")
        for number, row in session.every_round(session.rows("consign", *self.peers)):
            destination = session.fresh_destination(tls=tls, token=token)
            session.fresh_home()
            session.know(source.address, destination.address)
            task = session.task(images, source.address, destination.address, authority=tls.authority)
            session.copy((self.name, self.step, row, number), task,
                         {"source": source, "destination": destination, "files": files, "tokens": tokens})
        for name in ("source", "destination", "files", "tokens"):
            servers.stop(name)

    def tokens(self, session, tls):
        """The token service, and what docker-registry has to know of it."""
        issuer, service = "bench-tokens", "bench"
        bundle = os.path.join(session.work, "bundle.pem")
        server = session.servers.rig("tokens", ["tokens", "--bundle", bundle, "--issuer", issuer, "--service", service,
                                                "--lifetime", "60"], tls, RigTokens)
        return server, {"realm": f"https://{server.address}/token", "service": service, "issuer": issuer,
                        "rootcertbundle": bundle}

    def bars(self, results, session):
        failed = sorted({run["tool"] for run in results.failed(self.name)})
        told = [Fact(f"did not survive it: {', '.join(failed)}")] if failed else []
        survivors = [row for row in self.peers if row not in failed]
        return [*told, faster_than_best(results, self.name, self.step, survivors, 1.9), memory(results, self.name)]


class Latency:
    name = "latency"
    summary = ("round trips of 20 ms and 100 ms to both registries: 100 images of the set tiny and 10 of the set "
               "big; docker-registry behind delaying relays, 16 processes and 16 requests at once for the peers")
    processes = 16
    peers = [*LOOPS, "regsync", "hangar"]

    def run(self, session):
        pick, settings = session.settings.pick, session.settings
        sets = [("tiny", session.tiny().first(pick(100, 6))), ("big", session.big().first(pick(10, 2)))]
        for name, images in sets:
            source, _ = session.source(images)
            for delay in pick([20, 100], [20]):
                relays = Relays(session.servers, ["--delay-ms", str(delay)])
                near = relays.before(source)
                for number, row in session.every_round(session.rows("consign", *self.peers)):
                    destination = session.fresh_destination()
                    far = relays.before(destination)
                    session.fresh_home()
                    task = session.task(images, near.address, far.address, jobs=settings.latency_jobs,
                                        processes=self.processes)
                    watched = {"source": source, "destination": destination}
                    for step in ("fresh", "again"):
                        session.copy((self.name, f"{name} {delay} ms {step}", row, number), task, watched)
                relays.stop()

    def bars(self, results, session):
        answer = []
        for delay in session.settings.pick([20, 100], [20]):
            for name, times in (("tiny", 2.3), ("big", 2.8)):
                step = f"{name} {delay} ms fresh"
                answer.append(faster_than_best(results, self.name, step, self.peers, times))
        return [*answer, memory(results, self.name)]


class Link:
    name = "link"
    summary = ("a link of 1 Gbit/s with a round trip of 50 ms, at the source (`down`) or at the destination (`up`): "
               "two images of two layers of 256 MiB; registries that cost next to nothing")
    bits, delay, least = 1_000_000_000, 50, 0.9
    steps = ("down", "up")

    def images(self, session):
        return session.images("large", "--large-bytes", session.settings.pick(256, 8) << 20)

    def run(self, session):
        images = self.images(session)
        source = session.servers.registry("source", ["--layout", images.layout])
        destination = session.servers.registry("destination", [])
        for step in self.steps:
            relays = Relays(session.servers, ["--delay-ms", str(self.delay), "--bits-per-second", str(self.bits)])
            slow = relays.before(source if step == "down" else destination)
            places = (slow, destination) if step == "down" else (source, slow)
            task = session.task(images, *(place.address for place in places))
            for number, row in session.every_round(session.rows("consign", *LOOPS, "skopeo-sync", "regsync", "hangar")):
                destination.reset()
                session.fresh_home()
                session.copy((self.name, step, row, number), task, {"source": source, "destination": destination},
                             facts={"bytes": images.bytes})
            relays.stop()
        session.servers.stop("source")
        session.servers.stop("destination")

    def share(self, results, step, tool):
        """Which part of the link was used, from the start of the program to its end."""
        wall, size = (results.median(self.name, step, tool, field) for field in ("wall", "facts.bytes"))
        return size * 8 / wall / self.bits if wall and size else None

    def bars(self, results, session):
        answer = []
        for step in self.steps:
            answer.append(Bar(f"{step}: at least 90 % of the bandwidth", self.share(results, step, "consign"),
                              at_least=self.least))
            for tool in ("crane", "oras", "skopeo-copy", "skopeo-sync", "regsync"):
                share = self.share(results, step, tool)
                if share is not None:
                    answer.append(Fact(f"{step}: {tool} uses {figure(share * 100)} %"))
        return [*answer, memory(results, self.name)]
