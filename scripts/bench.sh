#!/usr/bin/env bash
# Measures mirroring between two registries on loopback: consign beside crane, oras and skopeo.
#
# Usage: scripts/bench.sh             prints a table in Markdown; progress goes to stderr
#        BENCH_QUICK=1 scripts/bench.sh    small sets and one round, to see that it works
#        BENCH_HUGE=1 scripts/bench.sh     also one image with one layer of 2 GiB, for the peak of memory
#
# Three numbers are tracked, each for every tool: many small images (tiny), few large layers (large), and either of
# them again when all is present already (the pass "again"). Rounds are interleaved, every tool once in each, so that
# the noise of the machine hits all alike; the table has medians, and ratios to consign.
#
#   CONSIGN [target/release/consign]     the program under test; a release build must be there
#   BENCH_TOOLS [consign crane oras skopeo-sync]   the rows; crane and oras run as BENCH_PROCESSES processes at a time,
#                                        for one of them copies one image, and skopeo sync as one
#   REGISTRY CRANE ORAS SKOPEO           the programs, else those of scripts/counterparts.sh, else those on PATH;
#                                        a tool that is nowhere is left out, by name
#   BENCH_SETS [tiny large]              sets of scripts/gen_images.py
#   BENCH_TINY_IMAGES [400] BENCH_LARGE_BYTES [256 MiB] BENCH_HUGE_BYTES [2 GiB]
#   BENCH_ROUNDS [3] BENCH_JOBS [16] (consign -j) BENCH_PROCESSES [4]
#   BENCH_WORK                           folder for the registries; by default one in memory where that is large enough
#   BENCH_IMAGES                         folder that keeps the generated images [$CONSIGN_TOOLS/images]
#   BENCH_RESULTS                        keep the raw results, one JSON line a run, in this file
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools_folder=${CONSIGN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/consign-counterparts}
mib=$((1024 * 1024))
tiny_images=400 large_bytes=$((256 * mib)) rounds=3
if [ "${BENCH_QUICK:-0}" = 1 ]; then tiny_images=40 large_bytes=$((16 * mib)) rounds=1; fi
tiny_images=${BENCH_TINY_IMAGES:-$tiny_images}
large_bytes=${BENCH_LARGE_BYTES:-$large_bytes}
huge_bytes=${BENCH_HUGE_BYTES:-$((2048 * mib))}
rounds=${BENCH_ROUNDS:-$rounds}
jobs=${BENCH_JOBS:-16}
processes=${BENCH_PROCESSES:-4}
images=${BENCH_IMAGES:-$tools_folder/images}
read -ra tools <<< "${BENCH_TOOLS:-consign crane oras skopeo-sync}"
read -ra sets <<< "${BENCH_SETS:-tiny large}"
if [ "${BENCH_HUGE:-0}" = 1 ]; then sets+=(huge); fi

say() { printf 'bench: %s\n' "$*" >&2; }

# find_program VARIABLE NAME: the value of the variable, else where a program is found; empty where it is nowhere.
find_program() {
  if [ -n "${!1:-}" ]; then printf '%s' "${!1}"; return 0; fi
  if [ -x "$tools_folder/bin/$2" ]; then printf '%s' "$tools_folder/bin/$2"; return 0; fi
  command -v "$2" || true
}

registry=$(find_program REGISTRY docker-registry)
crane=$(find_program CRANE crane)
oras=$(find_program ORAS oras)
skopeo=$(find_program SKOPEO skopeo)
consign=${CONSIGN:-${CARGO_TARGET_DIR:-$here/../target}/release/consign}
[ -n "$registry" ] || { say "there is no docker-registry; see scripts/counterparts.sh"; exit 1; }

# present TOOL: whether a row can be run.
present() {
  case $1 in
    consign) [ -x "$consign" ] ;;
    crane) [ -n "$crane" ] ;;
    oras) [ -n "$oras" ] ;;
    skopeo-sync) [ -n "$skopeo" ] ;;
    *) say "unknown tool $1"; return 1 ;;
  esac
}

rows=()
for tool in "${tools[@]}"; do
  if present "$tool"; then rows+=("$tool"); else say "$tool is left out: there is no such program"; fi
done
[ ${#rows[@]} -gt 0 ] || { say "no tool is there"; exit 1; }

# The registries hold every set once at the source and one set at the destination.
need_mib=$((4 * large_bytes * 2 / mib + tiny_images + 512))
if [[ " ${sets[*]} " == *" huge "* ]]; then need_mib=$((need_mib + 2 * huge_bytes / mib)); fi
if [ -n "${BENCH_WORK:-}" ]; then
  mkdir -p "$BENCH_WORK"
  work=$(mktemp -d "$BENCH_WORK/consign-bench.XXXXXX")
elif [ -w /dev/shm ] && [ "$(df -m --output=avail /dev/shm | tail -n 1)" -gt $((2 * need_mib)) ]; then
  # Twice, for what is there is also the memory that the programs themselves want.
  work=$(mktemp -d /dev/shm/consign-bench.XXXXXX)
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/consign-bench.XXXXXX")
fi
results=${BENCH_RESULTS:-$work/results.jsonl}
: > "$results"

# registry_start NAME FOLDER: starts a registry on a free port of loopback; its pid, log and address go to files.
registry_start() {
  local name=$1 port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  mkdir -p "$2"
  : > "$work/$name.log"
  cat > "$work/$name.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: false}}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: "$2", maxthreads: 200}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: "127.0.0.1:$port"}
YAML
  OTEL_TRACES_EXPORTER=none "$registry" serve "$work/$name.yml" >> "$work/$name.log" 2>&1 &
  echo $! > "$work/$name.pid"
  for _ in $(seq 200); do
    if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
      echo "127.0.0.1:$port" > "$work/$name.address"
      return 0
    fi
    sleep 0.05
  done
  say "the $name registry did not start: $(tail -n 3 "$work/$name.log")"
  exit 1
}

registry_stop() {
  local pid
  [ -f "$work/$1.pid" ] || return 0
  pid=$(cat "$work/$1.pid")
  rm -f "$work/$1.pid"
  kill "$pid" 2> /dev/null || return 0
  wait "$pid" 2> /dev/null || true
}

clean_up() { registry_stop source; registry_stop destination; rm -rf "$work"; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# fresh: an empty destination and an empty home, so that no tool remembers anything.
fresh() {
  registry_stop destination
  rm -rf "$work/destination" "$work/home"
  mkdir -p "$work/home"
  registry_start destination "$work/destination"
}

# generate SET: the images of a set, made once and kept; prints their folder.
generate() {
  local set=$1 options=()
  case $1 in
    tiny) options=(--images "$tiny_images") ;;
    large) options=(--large-bytes "$large_bytes") ;;
    huge) set=large; options=(--images 1 --unique 1 --seed huge --large-bytes "$huge_bytes") ;;
    big) ;;
    *) say "unknown set $1"; return 1 ;;
  esac
  local folder="$images/$1${options[*]:+-$(printf '%s' "${options[*]}" | tr -cs 'a-z0-9' '-')}"
  python3 "$here/gen_images.py" --set "$set" --out "$folder" --reuse --push "http://$source" "${options[@]}" >&2
  printf '%s' "$folder"
}

# measure LABEL COMMAND...: one measured run; its line of JSON goes to the results. A failure is told and goes on.
measure() {
  local label=$1
  shift
  HOME=$work/home XDG_CACHE_HOME=$work/home XDG_RUNTIME_DIR=$work/home XDG_DATA_HOME=$work/home \
    python3 "$here/measure.py" --label "$label" \
    --registry "source=$(cat "$work/source.pid"):$work/source.log" \
    --registry "destination=$(cat "$work/destination.pid"):$work/destination.log" -- "$@" >> "$results" ||
    say "$label failed: $(tail -n 1 "$results")"
}

# once TOOL LABEL SET FOLDER: mirrors a set with one tool.
once() {
  local refs=$4/refs.txt list=$4/list.txt
  case $1 in
    consign)
      # One image of one huge layer is the case of `copy`.
      if [ "$3" = huge ]; then
        measure "$2" "$consign" copy "$source/$(cat "$list")" "$destination/$(cat "$list")"
      else
        measure "$2" "$consign" mirror -f "$list" -s "$source" -d "$destination" -j "$jobs" -o "$work/failed.txt"
      fi ;;
    crane)
      measure "$2" xargs -P "$processes" -a "$list" -I '{}' \
        "$crane" copy --insecure "$source/{}" "$destination/{}" ;;
    oras)
      measure "$2" xargs -P "$processes" -a "$list" -I '{}' \
        "$oras" cp -r --no-tty --from-plain-http --to-plain-http "$source/{}" "$destination/{}" ;;
    skopeo-sync)
      {
        printf '%s:\n  tls-verify: false\n  images:\n' "$source"
        awk '{ tags[$1] = tags[$1] (tags[$1] ? ", " : "") "\"" $2 "\"" }
          END { for (name in tags) printf "    %s: [%s]\n", name, tags[name] }' "$refs" | sort
      } > "$work/sync.yml"
      measure "$2" "$skopeo" --insecure-policy sync --all --src yaml --dest docker --dest-tls-verify=false \
        "$work/sync.yml" "$destination/mirror" ;;
  esac
}

registry_start source "$work/source"
source=$(cat "$work/source.address")
declare -A folder_of
for set in "${sets[@]}"; do folder_of[$set]=$(generate "$set"); done
for round in $(seq "$rounds"); do
  for set in "${sets[@]}"; do
    for tool in "${rows[@]}"; do
      fresh
      destination=$(cat "$work/destination.address")
      once "$tool" "$set fresh $tool" "$set" "${folder_of[$set]}"
      once "$tool" "$set again $tool" "$set" "${folder_of[$set]}"
      say "round $round of $rounds: $set, $tool"
    done
  done
done
python3 "$here/bench_table.py" "$results"
