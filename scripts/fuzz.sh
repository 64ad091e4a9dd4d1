#!/usr/bin/env bash
# Fuzzes the parsers of untrusted bytes: gives each target bytes that are made up, and fails where one does.
#
# Usage:
#   scripts/fuzz.sh SECONDS [TARGET...]        so long for each target, or for these
#   scripts/fuzz.sh -s SEED SECONDS [TARGET...]
#                                              the same inputs in every run, as far as the time goes: for CI
#
# It needs cargo-fuzz and a C++ compiler, builds all targets of fuzz/ (some minutes the first time), and runs as
# many at once as there are processors, from the inputs in fuzz/seeds and those that earlier runs found
# (fuzz/corpus; with -s those are left alone). It prints a line for each target: how many inputs it was given,
# how many a second, how much of the code they reach, and the most memory that it took.
#
# A target fails when a promise is broken (src/fuzzing), when an input takes ten seconds, and when it takes more than
# 1 GiB. The input is kept in fuzz/artifacts/TARGET; `cargo fuzz run -s none TARGET FILE` tries it again. Whatever
# is found becomes a file in fuzz/seeds/TARGET, and so a test, before it is mended.
#
#   FUZZ_JOBS   how many targets run at once, instead of one for each processor
set -euo pipefail

# The version that CI installs (.ci/run).
wanted=0.13.1

usage() { sed -n '4,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }

seed=
while getopts s: option; do
  case $option in
    s) seed=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
seconds=${1:-}
case $seconds in '' | *[!0-9]*) usage ;; esac
shift

cd "$(dirname "$0")/../fuzz"
cargo fuzz --version > /dev/null 2>&1 ||
  fail "cargo-fuzz is not there: cargo install --locked --version $wanted cargo-fuzz"
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
for target in "${targets[@]}"; do
  [ -e "fuzz_targets/$target.rs" ] || fail "there is no target \`$target\`"
done

# cargo-fuzz would mend the lock file without a word.
cargo metadata --locked --format-version 1 > /dev/null
# Without a sanitizer: the crate has no unsafe code, and stable Rust has no sanitizers.
if [ ${#targets[@]} -eq 1 ]; then cargo fuzz build -s none "${targets[0]}"
else cargo fuzz build -s none
fi
host=$(rustc -vV | sed -n 's/^host: //p')
programs=${CARGO_TARGET_DIR:-target}/$host/release
work=$(mktemp -d "${TMPDIR:-/tmp}/consign-fuzz.XXXXXX")

# clean_up ends what this script started, by process id, and removes its folder.
clean_up() {
  local pid
  for pid in $(jobs -p); do kill "$pid" 2> /dev/null || true; done
  wait
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# fuzz TARGET: runs one; its words go to a file, its exit code to another.
fuzz() {
  local target=$1 corpus=corpus/$1 code=0
  local flags=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1)
  if [ -n "$seed" ]; then
    corpus=$work/$target.corpus
    flags+=(-seed="$seed")
  fi
  mkdir -p "$corpus" "artifacts/$target"
  "$programs/$target" "${flags[@]}" -artifact_prefix="artifacts/$target/" "$corpus" "seeds/$target" \
    > "$work/$target.log" 2>&1 || code=$?
  printf '%s\n' "$code" > "$work/$target.code"
}

# figure NAME: a final figure of the log on stdin.
figure() { sed -n "s/^stat::$1: *//p"; }

# told TARGET: prints its line.
told() {
  local log=$work/$1.log
  printf '%-18s %12s %9s %7s %9s\n' "$1" "$(figure number_of_executed_units < "$log")" \
    "$(figure average_exec_per_sec < "$log")" \
    "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" "$(figure peak_rss_mb < "$log") MiB"
}

printf '%-18s %12s %9s %7s %9s\n' target inputs '/second' reached memory
running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge "${FUZZ_JOBS:-$(nproc)}" ]; then
    wait -n
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
wait
failed=()
for target in "${targets[@]}"; do
  told "$target"
  [ "$(cat "$work/$target.code")" = 0 ] || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] && exit 0
for target in "${failed[@]}"; do
  printf '\n== %s\n' "$target"
  # Without what it says while all is well.
  grep -v '^#[0-9]\|^stat::\|^INFO\|NEW_FUNC\|recommended dictionary\|# Uses:' "$work/$target.log" | tail -n 40
done >&2
fail "findings in ${failed[*]}; the inputs are in fuzz/artifacts"
