"""`growth`: how wall, memory and requests grow with images, with the size of a blob, and with --jobs. `make
bench-plots` draws them. Registries cost next to nothing, so that what bends is the client.
"""

from .. import sets
from ..bars import Fact, figure
from ..servers import Relays

MIB = 1 << 20


class Growth:
    name = "growth"
    summary = "images, bytes of a blob, and jobs; registries that cost next to nothing"
    delay = 20

    def run(self, session):
        pick = session.settings.pick
        counts = pick([100, 300, 1000, 3000, 10_000], [10, 100])
        many = session.images("tiny", "--images", counts[-1], "--scale", "0.1", "--content", "synthetic")
        with_source = session.servers.registry("source", ["--layout", many.layout])
        self.grow(session, "images", with_source, [(count, many.first(count), {}) for count in counts])
        jobs = pick([1, 2, 4, 8, 16, 32, 64], [1, 8])
        some = many.first(pick(1000, 20))
        self.grow(session, "jobs", with_source, [(number, some, {"jobs": number}) for number in jobs])
        few = many.first(pick(200, 10))
        self.grow(session, "jobs-20ms", with_source, [(number, few, {"jobs": number}) for number in jobs],
                  ["--delay-ms", str(self.delay)])
        session.servers.stop("source")
        for size in pick([1, 4, 16, 64, 256, 1024, 4096], [1, 16]):
            images = sets.one_layer(session.images_folder, size * MIB)
            images.read()
            source = session.servers.serve("source", images.layout)
            self.grow(session, "blob-bytes", source, [(size * MIB, images, {})])
        session.servers.stop("source")
        session.servers.stop("destination")

    def grow(self, session, step, source, points, relay=None):
        """Measures some points of one curve; between relays, where one is described."""
        destination = session.servers.registry("destination", [])
        near, far = source, destination
        relays = Relays(session.servers, relay or [])
        if relay:
            near, far = relays.before(source), relays.before(destination)
        rows = session.rows("consign")
        for number in range(1, session.settings.rounds + 1):
            for value, images, more in points:
                for row in rows:
                    destination.reset()
                    session.fresh_home()
                    task = session.task(images, near.address, far.address, **more)
                    watched = {"source": source, "destination": destination}
                    session.copy((self.name, step, row, number), task, watched, value=value)
        relays.stop()

    def bars(self, results, session):
        """No bars: a line for each curve, from its first point to its last."""
        answer = []
        for step in dict.fromkeys(run["step"] for run in results.of(self.name)):
            runs = results.of(self.name, step, "consign")
            ends = [min(run["value"] for run in runs), max(run["value"] for run in runs)]
            told = []
            for field, unit in (("wall", "s"), ("peak_mb", "MB")):
                first, last = (sorted(run[field] for run in runs if run["value"] == end) for end in ends)
                told.append(f"{figure(first[len(first) // 2])} to {figure(last[len(last) // 2])} {unit}")
            answer.append(Fact(f"{step} from {ends[0]:,} to {ends[1]:,}: {', '.join(told)}"))
        return answer
