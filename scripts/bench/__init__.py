"""The benchmark: consign beside its peers, on loopback, every row in turn in several rounds.

Entry: scripts/bench.sh (usage there, and by `scripts/bench.sh --help`). Standard library only, Linux only.

  programs   which programs there are, and the build of benches/rig
  servers    docker-registry, the rig's servers, their addresses, CPU and counters
  sets       the image sets, made once by scripts/gen_images.py and kept
  peers      how each tool is called for a list of images
  measure    one command: wall, CPU, memory, and what the registries beside it were asked
  session    what all cases share: the work folder, the results, the rounds
  cases      one module for each group of cases, with the bars of each
  table      the medians as Markdown

The results are JSON lines (BENCH_RESULTS, else below the work folder). One line is one measured run:

  {"case": "growth",          the name of the case
   "step": "images",          what of it; in `growth` what grows: "images", "blob-bytes", "jobs", "jobs-20ms"
   "tool": "consign",         the row
   "round": 1,                counted from 1
   "value": 1000,             in `growth` alone: how many images, bytes or jobs (a number above 0)
   "code": 0,                 the exit code; lines of another code have an "error" and count for no median
   "wall": 1.234,             seconds
   "cpu": 0.456,              CPU seconds of the command and of its children
   "peak_mb": 33.1,           peak of the resident memory of all its processes together, in 10^6 bytes
   "servers": {               each server that was watched: "source" and "destination"
     "source": {"cpu": 0.5, "requests": 120, "kinds": {"GET blob 200": 100, "GET manifest 200": 20},
                "bytes_in": 0, "bytes_out": 1000000},   bytes are left out where nothing counts them
     "destination": {}},
   "facts": {"bytes": 1052264136}}   numbers of the case, for its bars; may be absent

`rig plot --out DIR RESULTS.jsonl` reads of these the lines with `case` "growth" and `code` 0, and ignores every other
line and every other field. For each `step` it draws `value` (logarithmic axis) against the medians over rounds of
`wall`, `peak_mb` and the sum of `requests` of all servers, one curve for each `tool`.

A line with `tool` "limit" is no run: its `facts` are what the attainable limit is made of (see cases/copies.py).
"""
