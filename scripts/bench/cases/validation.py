"""`validate`: 10,000 manifests of platforms, signed by `consign sign` under cosign's tags, in a registry that costs next
to nothing; `cosign verify` in a parallel loop over a part of them, one process for each manifest, as it is made.

`first` has an empty cache, `second` is the night after, with nothing changed, `uncached` neither reads nor writes one.
`part` is cosign's, beside which nothing else stands, as it is of fewer manifests.
"""

import os
import re
import subprocess

from .. import measure, peers
from ..bars import Bar, Fact, figure, memory
from ..programs import say

# Functions that compute digests and check signatures, as they are called in the crates that do it.
VERIFYING = re.compile(r"p256|p384|p521|primeorder|elliptic_curve|ecdsa|crypto_bigint|sha2|sha256|ring_core|nistz256"
                       r"|aws_lc|ed25519|curve25519|\brsa\b")
REPORTED = re.compile(r"^\s*([\d.]+)%\s+(.*)$")


class Validate:
    name = "validate"
    summary = "10,000 manifests of platforms with a signature each; a registry that costs next to nothing"

    def images(self, session):
        return session.images("tiny", "--images", session.settings.pick(5000, 30), "--scale", "0.1", "--content",
                              "synthetic")

    def run(self, session):
        images = self.images(session)
        registry = session.servers.registry("source", ["--layout", images.layout])
        session.fresh_home()
        keys = self.sign(session, images, registry)
        manifests = [f"{registry.address}/{name.rsplit(':', 1)[0]}@{digest}"
                     for name in images.names for digest in images.manifests(name)]
        sample = os.path.join(session.lists, "sample.txt")
        count = session.settings.pick(200, 10)
        with open(sample, "w", encoding="utf-8") as f:
            f.writelines(f"{manifest}\n" for manifest in manifests[:: max(1, len(manifests) // count)][:count])
        own = self.command(session, images, registry, keys)
        rows = session.rows("consign")
        if session.programs["cosign"] and (not session.settings.tools or "cosign" in session.settings.tools):
            rows.append("cosign")
        for number, row in session.every_round(rows):
            session.fresh_home()
            watched = {"source": registry}
            if row == "cosign":
                command = peers.loop(sample, session.settings.jobs,
                                     [session.programs["cosign"], "verify", "--key", f"{keys}.pub",
                                      "--insecure-ignore-tlog", "{}"])
                session.measure((self.name, "part", row, number), command, watched, facts={"manifests": count})
                continue
            for step, more in (("first", []), ("second", []), ("uncached", ["--no-cache"])):
                session.measure((self.name, step, row, number), [*own, *more], watched,
                                facts={"manifests": len(manifests)})
        self.profile(session, own)
        session.servers.stop("source")

    def sign(self, session, images, registry):
        """Signs every platform of every image; returns where the keys are."""
        consign, keys = session.programs["consign"], os.path.join(session.lists, "bench")
        session.prepare([consign, "generate-key", "--prefix", keys, "--auto-yes"])
        session.prepare([consign, "sign", "-f", images.list(session.lists), "--registry", registry.address,
                         "--key", f"{keys}.key", "--subjects", "platforms", "--jobs", str(session.settings.jobs),
                         "-o", os.path.join(session.lists, "failed.txt")])
        return keys

    def command(self, session, images, registry, keys):
        return [session.programs["consign"], "validate", "-f", images.list(session.lists), "--registry",
                registry.address, "--key", f"{keys}.pub", "--arch", "all", "--jobs", str(session.settings.jobs),
                "-o", os.path.join(session.lists, "failed.txt")]

    def profile(self, session, command):
        """Which part of consign's CPU is verification, by sampling one more run; where perf is there."""
        if not session.programs["perf"] or not session.rows("consign"):
            say("perf is left out: there is no such program, or consign is not asked for")
            return
        data = os.path.join(session.work, "perf.data")
        session.fresh_home()
        record = [session.programs["perf"], "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", data, "--", *command]
        if measure.run(record, session.environment(), session.lists, session.settings.seconds)["code"] != 0:
            say("perf may not sample here: the share of verification is not measured")
            return
        done = subprocess.run([session.programs["perf"], "report", "-i", data, "--stdio", "--no-children",
                               "--percent-limit", "0", "-F", "overhead,sym"], capture_output=True, text=True,
                              check=False)
        os.remove(data)
        shares = [(float(found[1]), found[2]) for line in done.stdout.splitlines() if (found := REPORTED.match(line))]
        if shares:
            share = sum(percent for percent, symbol in shares if VERIFYING.search(symbol)) / 100
            session.note((self.name, "profile", "perf", 1), {"verification": round(share, 4)})

    def bars(self, results, session):
        of = lambda step, tool, field: results.median(self.name, step, tool, field)
        rate = lambda step, tool, field="wall": of(step, tool, "facts.manifests") / of(step, tool, field) \
            if of(step, tool, field) else None
        answer = [Bar("first: at least 5,000 manifests a second", rate("first", "consign"), at_least=5000)]
        per_cpu, theirs = rate("first", "consign", "cpu"), rate("part", "cosign")
        if per_cpu:
            answer.append(Fact(f"first: {figure(2 * per_cpu)} a second, if the registry took nothing of two cores"))
        if rate("second", "consign"):
            answer.append(Fact(f"second: {figure(rate('second', 'consign'))} manifests a second"))
        if theirs and rate("first", "consign"):
            answer.append(Fact(f"cosign verify: {figure(theirs)} manifests a second; consign does "
                               f"{figure(rate('first', 'consign') / theirs)} times as many"))
        answer.append(Bar("first: verification at most a third of the client's CPU",
                          of("profile", "perf", "facts.verification"), at_most=1 / 3))
        return [*answer, *self.second_night(results), memory(results, self.name)]

    def second_night(self, results):
        """What the second run read again, which it need not, and what it asked."""
        runs = results.of(self.name, "second", "consign")
        if not runs:
            return [Bar("second: manifests and blobs that are read again", None)]
        kinds = runs[-1]["servers"]["source"]["kinds"]
        again = sum(number for kind, number in kinds.items() if kind in ("GET manifest 200", "GET blob 200"))
        asked = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        return [Bar("second: manifests and blobs that are read again", again, at_most=0), Fact(f"second asks: {asked}")]
