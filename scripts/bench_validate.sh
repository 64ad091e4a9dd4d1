#!/usr/bin/env bash
# Measures the validation of signatures on loopback: `consign validate` beside a parallel loop of `cosign verify`.
#
# Usage: scripts/bench_validate.sh       prints a table in Markdown; progress goes to stderr
#
# A set of small multi-arch images is pushed to docker-registry and signed by `consign sign`, the manifest of each platform
# under its tag. Then both check every one of them: consign in one run over the list of images, cosign once for each
# digest, so many processes at a time. Rounds are interleaved; the table has medians, and the ratio to consign.
#
#   CONSIGN [target/release/consign]     the program under test; a release build must be there
#   REGISTRY COSIGN2                     the programs, else those of scripts/counterparts.sh, else those on PATH
#   BENCH_IMAGES [50]                    images, of two platforms each
#   BENCH_ROUNDS [3] BENCH_JOBS [16]     consign's --jobs, and cosign's processes at a time
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools_folder=${CONSIGN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/consign-counterparts}
images=${BENCH_IMAGES:-50}
rounds=${BENCH_ROUNDS:-3}
jobs=${BENCH_JOBS:-16}
servers=()

say() { printf 'bench: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# find_program VARIABLE NAME: the value of the variable, else where a program is found; empty where it is nowhere.
find_program() {
  if [ -n "${!1:-}" ]; then printf '%s' "${!1}"; return 0; fi
  if [ -x "$tools_folder/bin/$2" ]; then printf '%s' "$tools_folder/bin/$2"; return 0; fi
  command -v "$2" || true
}

registry=$(find_program REGISTRY docker-registry)
cosign=$(find_program COSIGN2 cosign2)
consign=${CONSIGN:-${CARGO_TARGET_DIR:-$here/../target}/release/consign}
[ -n "$registry" ] || fail "there is no docker-registry; see scripts/counterparts.sh"
[ -n "$cosign" ] || fail "there is no cosign2; see scripts/counterparts.sh"
[ -x "$consign" ] || fail "there is no $consign; see make build"
consign=$(realpath "$consign")

work=$(mktemp -d "${TMPDIR:-/tmp}/consign-bench.XXXXXX")
# clean_up ends what this script started, by process id, and removes its folder.
clean_up() {
  local pid
  for pid in "${servers[@]}"; do kill "$pid" 2> /dev/null || true; done
  for pid in "${servers[@]}"; do wait "$pid" 2> /dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"
export HOME=$work COSIGN_PASSWORD=bench

cat > registry.yml << END
version: 0.1
log: { level: info, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: "$work/registry" } }
http: { addr: "127.0.0.1:0" }
END
OTEL_TRACES_EXPORTER=none "$registry" serve registry.yml > registry.log 2>&1 &
servers+=($!)
address=
for _ in $(seq 100); do
  address=$(sed -n 's/.*listening on \([0-9.:]*\).*/\1/p' registry.log | head -n 1)
  if [ -n "$address" ] || ! kill -0 "${servers[0]}" 2> /dev/null; then break; fi
  sleep 0.1
done
if [ -z "$address" ]; then fail "docker-registry did not start: $(tail -n 1 registry.log)"; fi

say "$images images of two platforms, at $address"
python3 "$here/gen_images.py" --set tiny --images "$images" --scale 0.1 --content synthetic --out images \
  --push "http://$address" > gen.log 2>&1 || fail "$(tail -n 1 gen.log)"
"$consign" generate-key --prefix site 2> /dev/null
"$consign" sign -f images/list.txt --registry "$address" --key site.key --subjects platforms --jobs "$jobs" \
  --report signed.json 2> sign.log || fail "$(tail -n 1 sign.log)"
python3 - signed.json > digests << 'END'
import json, sys
for line in json.load(open(sys.argv[1]))["lines"]:
    repository = line["image"].rsplit(":", 1)[0]
    for signature in line["signing"]["signatures"]:
        print(f'{repository}@{signature["digest"]}')
END
manifests=$(wc -l < digests)

by_consign() {
  "$consign" validate -f images/list.txt --registry "$address" --key site.pub --arch all --jobs "$jobs" 2> validate.log
}
# xargs ends with 123 when any of its processes does not end well.
by_cosign() {
  xargs -P "$jobs" -n 1 "$cosign" verify --key site.pub --insecure-ignore-tlog < digests > verify.out 2> verify.log
}

# timed TOOL: appends the wall time of one run in milliseconds to TOOL.times.
timed() {
  local before after
  before=$(date +%s%N)
  "by_$1" || fail "$1 did not accept all of them"
  after=$(date +%s%N)
  printf '%s\n' $(((after - before) / 1000000)) >> "$1.times"
}

for round in $(seq "$rounds"); do
  say "round $round of $rounds"
  timed consign
  timed cosign
done

median() { sort -n "$1.times" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
ours=$(median consign)
theirs=$(median cosign)
printf '| %s manifests, %s at a time | seconds | ratio |\n| --- | ---: | ---: |\n' "$manifests" "$jobs"
row() { awk -v name="$1" -v ms="$2" -v ours="$ours" 'BEGIN { printf "| %s | %.2f | %.1f |\n", name, ms / 1000, ms / (ours > 0 ? ours : 1) }'; }
row 'consign validate' "$ours"
row 'cosign verify' "$theirs"
