#!/usr/bin/env bash
# Fails when Cargo.lock names more packages than was decided: every one of them is code that is trusted unread.
#
# Usage: scripts/lock_size.sh LIMIT
#
# The limit stands in the Makefile. A commit that raises it says what the new packages save.
set -euo pipefail

limit=${1:?usage: scripts/lock_size.sh LIMIT}
cd "$(dirname "$0")/.."
count=$(grep -c '^\[\[package\]\]$' Cargo.lock)
if [ "$count" -gt "$limit" ]; then
  printf 'Cargo.lock names %s packages, more than the limit of %s that the Makefile sets\n' "$count" "$limit" >&2
  exit 1
fi
printf 'Cargo.lock names %s packages of at most %s\n' "$count" "$limit"
