"""Tests of what needs no server: `python3 -m unittest bench.test_bench` in scripts, which `make lint-scripts` runs."""

import hashlib
import json
import os
import signal
import tempfile
import time
import unittest

from . import measure, peers, sets, table
from .bars import Bar, faster_than_best, requests
from .session import Results, Settings

LOG = b"""127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "HEAD /v2/a/blobs/sha256:1 HTTP/1.1" 200 900 "" "x/1"
127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /v2/a/blobs/sha256:1 HTTP/1.1" 200 900 "" "x/1"
127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "POST /v2/a/blobs/uploads/?mount=sha256:1&from=b HTTP/1.1" 201 0 "" "x/1"
127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "POST /v2/a/blobs/uploads/ HTTP/1.1" 202 0 "" "x/1"
a line of another kind
"""


def results(*runs):
    """Results of runs (step, tool, wall), all of one case and well."""
    some = Results(os.devnull)
    some.runs = [{"case": "c", "step": step, "tool": tool, "round": 1, "code": 0, "wall": wall,
                  "servers": {"source": {"requests": 801}, "destination": {"requests": 400}}}
                 for step, tool, wall in runs]
    return some


class Tests(unittest.TestCase):
    def test_the_access_log_is_counted_by_kind_from_where_a_run_began(self):
        with tempfile.NamedTemporaryFile() as f:
            f.write(LOG)
            f.flush()
            counts, sent = measure.requests_since(f.name, 0)
            later, _ = measure.requests_since(f.name, LOG.index(b"\n") + 1)
        self.assertEqual(counts, {"GET blob 200": 1, "HEAD blob 200": 1, "POST mount 201": 1, "POST upload 202": 1})
        self.assertEqual(sent, 900, "a HEAD has no body")
        self.assertNotIn("HEAD blob 200", later)

    def test_a_command_is_measured_with_its_children_and_ended_when_it_is_late(self):
        with tempfile.TemporaryDirectory() as folder:
            work = measure.run(["sh", "-c", "python3 -c 'x = b\"x\" * 60_000_000; sum(range(3_000_000))' && true"],
                               os.environ, folder, 60)
            self.assertEqual(work["code"], 0)
            self.assertGreater(work["peak_mb"], 60)
            self.assertGreater(work["cpu"], 0.01)
            failed = measure.run(["sh", "-c", "echo no >&2; exit 3"], os.environ, folder, 60)
            self.assertEqual((failed["code"], failed["error"]), (3, "no\n"))
            start = time.monotonic()
            late = measure.run(["sh", "-c", "sleep 60 & sleep 60"], os.environ, folder, 0.2)
            self.assertEqual(late["code"], -signal.SIGKILL)
            self.assertLess(time.monotonic() - start, 30)

    def test_a_bar_is_met_at_its_edge_and_says_when_nothing_was_measured(self):
        self.assertTrue(Bar("", 3.0, at_least=3).reached())
        self.assertFalse(Bar("", 2.99, at_least=3).reached())
        self.assertTrue(Bar("", 12.4025, at_most=12.4, digits=1).reached())
        self.assertFalse(Bar("", 12.45001, at_most=12.4, digits=1).reached())
        self.assertTrue(Bar("x", None, at_least=3).line().startswith("- not measured: x"))

    def test_the_fastest_of_the_peers_is_what_is_compared_with(self):
        some = results(("s", "consign", 2.0), ("s", "crane", 9.0), ("s", "oras", 6.0))
        bar = faster_than_best(some, "c", "s", ["crane", "oras", "regsync"], 3)
        self.assertEqual(bar.value, 3.0)
        self.assertIn("(oras)", bar.text)
        self.assertIsNone(faster_than_best(some, "c", "s", ["regsync"], 3).value)

    def test_requests_are_told_for_each_image(self):
        source, destination = requests(results(("s", "consign", 1)), "c", "s", "consign", 400, 2.0, 0.9)
        self.assertTrue(source.reached(), "one question a run is less than a digit")
        self.assertFalse(destination.reached())

    def test_a_cell_has_the_median_the_spread_and_the_ratio(self):
        runs = [{"wall": wall} for wall in (3.0, 1.0, 2.0)]
        column = ("wall s", "wall", 1, 2)
        self.assertEqual(table.cell(runs, [{"wall": 0.5}], column), "2.00 [1.00, 3.00] ×4.0")
        self.assertEqual(table.cell(runs[:1], [{"wall": 0}], column), "3.00")
        self.assertEqual(table.cell([{}], [{"wall": 1}], column), "–")

    def test_a_sparse_layer_has_the_digest_that_it_is_named_by(self):
        with tempfile.TemporaryDirectory() as folder:
            images = sets.one_layer(folder, 3_000_001, 2)
            self.assertEqual(images.names, ["zeros/app000:v1", "zeros/app001:v1"])
            blobs = os.path.join(images.layout, "blobs", "sha256")
            for name in os.listdir(blobs):
                with open(os.path.join(blobs, name), "rb") as f:
                    self.assertEqual(hashlib.sha256(f.read()).hexdigest(), name)
            self.assertGreater(images.bytes, 6_000_000)
            self.assertEqual(sets.one_layer(folder, 3_000_001, 2).digests, images.digests, "it is kept")

    def test_skopeo_sync_gets_every_tag_and_is_looked_for_where_it_writes(self):
        with tempfile.TemporaryDirectory() as folder:
            images = sets.Images("", {"a/b:1": "", "a/b:2": "", "c:1": ""})
            command = peers.command({"skopeo": "skopeo"}, "skopeo-sync", peers.Task(images, "s:1", "d:1", folder))
            with open(os.path.join(folder, "sync.yml"), encoding="utf-8") as f:
                self.assertEqual(json.load(f)["s:1"]["images"], {"a/b": ["1", "2"], "c": ["1"]})
            self.assertEqual(command[-1], f"d:1/{peers.SYNC_PREFIX}")
        self.assertEqual(peers.place("skopeo-sync")("a/b:1"), "mirror/b:1")

    def test_a_tool_that_nobody_knows_is_refused(self):
        with self.assertRaises(SystemExit):
            Settings({"BENCH_TOOLS": "consign krane"})
        self.assertEqual(Settings({"BENCH_QUICK": "1"}).rounds, 1)


if __name__ == "__main__":
    unittest.main()
