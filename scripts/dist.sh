#!/usr/bin/env bash
# Builds the static release binary, which runs on any Linux of this machine's architecture.
#
# Usage: scripts/dist.sh        writes dist/consign-VERSION-ARCHITECTURE-linux and its SHA-256 beside it
#
# It needs the musl target of Rust and a C compiler for musl (Debian: musl-tools); nothing is installed here.
set -euo pipefail

cd "$(dirname "$0")/.."
architecture=$(uname -m)
target=$architecture-unknown-linux-musl

fail() { printf 'dist: %s\n' "$*" >&2; exit 1; }

# A target that is not installed has no library folder, though rustc names where it would be.
[ -d "$(rustc --print target-libdir --target "$target")" ] ||
  fail "Rust's target $target is not installed; try: rustup target add $target"
command -v "$architecture-linux-musl-gcc" > /dev/null || command -v musl-gcc > /dev/null ||
  fail "there is no C compiler for musl; on Debian, install musl-tools"

cargo build --release --locked --target "$target"
binary=${CARGO_TARGET_DIR:-target}/$target/release/consign
# The program header that names a dynamic linker is what makes a binary depend on the system.
if readelf -l "$binary" | grep -q INTERP; then fail "$binary is not static"; fi

version=$("$binary" --version | cut -d' ' -f2)
name=consign-$version-$architecture-linux
mkdir -p dist
install -m 755 "$binary" "dist/$name"
(cd dist && sha256sum "$name" > "$name.sha256")
printf 'dist/%s\n' "$name"
