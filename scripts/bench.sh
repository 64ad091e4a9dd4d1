#!/usr/bin/env bash
# Measures consign beside its peers on loopback. What each case is and has to show stands in docs/PERFORMANCE.md.
#
# Usage: scripts/bench.sh [CASE...]         prints tables in Markdown; progress goes to stderr
#        scripts/bench.sh --show RESULTS    the tables of an earlier run, from what BENCH_RESULTS kept of it
#        BENCH_QUICK=1 scripts/bench.sh     small sets and one round, to see that all works; its figures mean nothing
#
# Cases: big tiny sink shared again-1000 road latency link memory validate growth; all but growth unless named, here or
# by CASES. Every row of a case runs in turn, in several rounds, so that the noise of the machine hits all alike. Under
# each table stands which bar was reached. The exit code is 1 where a run of consign failed or a case could not be
# measured.
#
#   CONSIGN [target/release/consign]     the program under test; a release build must be there
#   REGISTRY CRANE ORAS SKOPEO REGSYNC HANGAR COSIGN2 PERF   the programs, else those of scripts/counterparts.sh, else
#                                        those on PATH; what is nowhere is left out, by name, but docker-registry
#   RIG                                  the rig, else it is built from benches/rig
#   BENCH_TOOLS                          the rows, else all that a case has: consign consign-image consign-digest crane
#                                        crane-a oras skopeo-copy skopeo-sync regsync regsync-closure hangar cosign
#   BENCH_ROUNDS [3] BENCH_JOBS [16] (consign -j) BENCH_LATENCY_JOBS [64] (in the case latency) BENCH_PROCESSES [4]
#   BENCH_REGSYNC_REQUESTS [16]          regsync's reqConcurrent
#   BENCH_SECONDS [900]                  how long one command may take
#   BENCH_WORK                           folder for the registries; by default one in memory where that is large enough
#   BENCH_IMAGES                         folder that keeps the generated images [$CONSIGN_TOOLS/images]
#   BENCH_RESULTS                        add the raw results, one JSON line a run, to this file
#   BENCH_PLOTS                          draw the case growth into this folder, as SVG
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
esac
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
exec python3 -m bench "$@"
