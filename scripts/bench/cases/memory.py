"""`memory`: how much memory consign takes for a list of 10,000 lines, and for one blob of 4 GiB."""

from .. import sets
from ..bars import memory

GIB = 1 << 30


class Memory:
    name = "memory"
    summary = "10,000 small images fresh and again, and one layer of 4 GiB; registries that keep little"

    def run(self, session):
        pick = session.settings.pick
        self.lines(session, session.images("tiny", "--images", pick(10_000, 100), "--scale", "0.1", "--content",
                                           "synthetic"))
        self.blob(session, sets.one_layer(session.images_folder, pick(4 * GIB, GIB // 16)))

    def lines(self, session, images):
        source = session.servers.registry("source", ["--layout", images.layout])
        destination = session.servers.registry("destination", [])
        task = session.task(images, source.address, destination.address)
        for number, row in session.every_round(session.rows("consign")):
            destination.reset()
            session.fresh_home()
            for step in ("lines fresh", "lines again"):
                session.copy((self.name, step, row, number), task, {"source": source, "destination": destination})
        session.servers.stop("source")

    def blob(self, session, images):
        # The rig holds what it serves in memory; this is read from disk.
        images.read()
        source = session.servers.serve("source", images.layout)
        destination = session.servers.registry("destination", [])
        task = session.task(images, source.address, destination.address)
        for number, row in session.every_round(session.rows("consign", "crane", "oras", "skopeo-copy", "regsync")):
            destination.reset()
            session.fresh_home()
            session.copy((self.name, "blob", row, number), task, {"destination": destination})
        session.servers.stop("source")
        session.servers.stop("destination")

    def bars(self, results, session):
        return [memory(results, self.name, 64)]
