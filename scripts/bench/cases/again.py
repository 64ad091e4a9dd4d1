"""`again-1000`: a run over 1,000 multi-arch images that are all there already, which is what a nightly run mostly is.

Two steps: `unsigned`, where nothing is attached to the images, and `signed`, where each index has a signature of
cosign's kind (a tag `sha256-….sig`) at both sides, so that what the signatures cost is seen too.
"""

import os

from .. import peers
from ..bars import faster, faster_than_best, memory, requests


class Again:
    name = "again-1000"
    summary = "1,000 images of 2 platforms, up to date at the destination; docker-registry"

    def images(self, session):
        count = session.settings.pick(1000, 20)
        return session.images("tiny", "--images", count, "--scale", "0.1", "--content", "synthetic")

    def run(self, session):
        images = self.images(session)
        # A copy of its own, since it is signed later.
        source, _ = session.source(images)
        destination = session.fresh_destination()
        session.fresh_home()
        task = session.task(images, source.address, destination.address)
        watched = {"source": source, "destination": destination}
        session.prepare(peers.command(session.programs, "consign", task))
        self.seed_for_sync(session, task)
        rows = session.rows("consign", "consign-image", "consign-digest", "regsync", "regsync-closure", "crane-a",
                            "skopeo-sync", "hangar")
        for number, row in session.every_round(rows):
            session.copy((self.name, "unsigned", row, number), task, watched)
        self.sign(session, task)
        session.prepare(peers.command(session.programs, "consign", task))
        for number, row in session.every_round(session.rows("consign", "consign-image", "regsync", "regsync-closure")):
            session.copy((self.name, "signed", row, number), task, watched)

    def seed_for_sync(self, session, task):
        """skopeo sync writes to other repositories; they are filled beforehand, by the fastest way."""
        if not session.rows("skopeo-sync"):
            return
        place = f"{task.destination}/{peers.SYNC_PREFIX}"
        line = lambda name: (f"{task.source}/{name.rsplit(':', 1)[0]} "
                             f"{place}/{name.rsplit('/', 1)[1].split(':')[0]} {name.rsplit(':', 1)[1]}")
        path = task.images.list(session.lists, "sync.txt", line)
        session.prepare([session.programs["consign"], "mirror", "-f", path, "-j", str(task.jobs),
                         "-o", os.path.join(session.lists, "failed.txt")])

    def sign(self, session, task):
        consign = session.programs["consign"]
        key = os.path.join(session.lists, "bench")
        session.prepare([consign, "generate-key", "--prefix", key, "--auto-yes"])
        session.prepare([consign, "sign", "-f", task.images.list(session.lists), "--registry", task.source,
                         "--key", f"{key}.key", "--subjects", "index", "--jobs", str(task.jobs),
                         "-o", os.path.join(session.lists, "failed.txt")])

    def bars(self, results, session):
        images, repositories = len(self.images(session).names), len(self.images(session).repositories())
        ask = lambda step, tool, *most: requests(results, self.name, step, tool, images, *most)
        once = repositories / images
        return [
            *ask("unsigned", "consign-image", 1, 1),
            *ask("unsigned", "consign-digest", 0, 1),
            faster(results, self.name, "unsigned", "regsync", 1, own="consign-image"),
            faster(results, self.name, "unsigned", "skopeo-sync", 15, own="consign-image"),
            # docs/PERFORMANCE.md: a list of tags and a question about referrers for each repository.
            *ask("unsigned", "consign", 1 + 2 * once, 1),
            faster_than_best(results, self.name, "unsigned", ["regsync-closure"], 1),
            # Besides, where a repository has any such tag, its indexes are read for their children; and the signature's
            # tag is looked at on both sides.
            *ask("signed", "consign", 3 + 2 * once, 2),
            faster_than_best(results, self.name, "signed", ["regsync-closure"], 1),
            memory(results, self.name),
        ]
