#!/usr/bin/env bash
# Fetches the tools that consign is compared and tested with, without changing the system.
#
# The tools are unpacked from packages of several Debian suites into a folder of their own; nothing is
# installed and root is not needed. The archive, its proxy and its keys are those of this machine's apt.
#
# Usage:
#   scripts/counterparts.sh registry crane oras      fetch these; prints one NAME=PATH line for each
#   eval "$(scripts/counterparts.sh registry)"       the same, as variables of the calling shell
#   scripts/counterparts.sh all                      every tool below
#   scripts/counterparts.sh unpack SUITE PACKAGE ARCHITECTURE FOLDER
#                                                    unpack one package of any architecture into FOLDER
#   . scripts/counterparts.sh; need registry crane   from a script; sets REGISTRY and CRANE
#
#   tool      program              variable   what it is
#   registry  bin/docker-registry  REGISTRY   distribution 2.8, without the referrers API
#   crane     bin/crane            CRANE      go-containerregistry's tool
#   oras      bin/oras             ORAS       oras 1.3
#   skopeo    bin/skopeo           SKOPEO     skopeo 1.22, run with the C library of its own suite
#   cosign2   bin/cosign2          COSIGN2    cosign 2
#   cosign3   bin/cosign3          COSIGN3    cosign 3
#   notation  bin/notation         NOTATION   Notary Project signatures
#   compose   bin/docker-compose   COMPOSE    docker compose 2, which reads compose files without an engine
#
# Layout, below CONSIGN_TOOLS (default: ${XDG_CACHE_HOME:-$HOME/.cache}/consign-counterparts):
#   bin/NAME   the programs under the names above: one look here finds any of them
#   suites/    unpacked packages, by suite
#   apt/       package lists, by suite and architecture; may be deleted at any time
#
# A tool that cannot be had is named on stderr and the others go on; the exit code is then 1.
# Sourcing turns strict mode on in the calling script as well.
set -euo pipefail

CONSIGN_TOOLS=${CONSIGN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/consign-counterparts}
ALL_TOOLS="registry crane oras skopeo cosign2 cosign3 notation compose"

say() { printf 'counterparts: %s\n' "$*" >&2; }

# archive_uri: the first Debian archive that this machine's apt knows, in the new format or the old one.
archive_uri() {
  local files=() f
  for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
    if [ -r "$f" ]; then files+=("$f"); fi
  done
  [ ${#files[@]} -gt 0 ] || return 0
  # Security updates, and the packages that other projects make for Debian, are not the archive itself.
  awk '
    FNR == 1 { enabled = 1 }
    /^[[:space:]]*$/ { enabled = 1 }
    tolower($1) == "enabled:" && tolower($2) == "no" { enabled = 0 }
    $1 == "URIs:" && enabled { for (i = 2; i <= NF; i++) if (wanted($i)) { print $i; exit } }
    $1 == "deb" { for (i = 2; i <= NF; i++) if (wanted($i)) { print $i; exit } }
    function wanted(uri) { return uri ~ /^[a-z+]+:\/.*\/debian(\.list)?(\/[0-9TZ]+)?\/?$/ && uri !~ /linux\/debian/ }
  ' "${files[@]}"
}

# keyring: the option that names Debian's keys for a source line; empty where apt's own trust has to do.
keyring() {
  local k
  for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
    if [ -r "$k" ]; then printf '[signed-by=%s] ' "$k"; return 0; fi
  done
}

# apt_get SUITE ARCHITECTURE ARGUMENT...: apt-get with a state of its own, which knows that suite alone.
apt_get() {
  local d=$CONSIGN_TOOLS/apt/$1-$2 suite=$1 arch=$2
  shift 2
  apt-get -o "Dir::Etc::SourceList=$d/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$d/lists" -o "Dir::Cache=$d/cache" -o "APT::Default-Release=$suite" \
    -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" "$@"
}

# refresh SUITE ARCHITECTURE: reads the package list of a suite anew.
refresh() {
  local d=$CONSIGN_TOOLS/apt/$1-$2 uri
  uri=$(archive_uri)
  if [ -z "$uri" ]; then say "apt on this machine names no Debian archive"; return 1; fi
  mkdir -p "$d/lists/partial" "$d/cache/archives/partial"
  printf 'deb %s%s %s main\n' "$(keyring)" "$uri" "$1" > "$d/sources.list"
  # Error-Mode: an archive that does not answer is otherwise only a warning, and the list stays empty.
  apt_get "$1" "$2" -o APT::Update::Error-Mode=any update -qq > "$d/log" 2>&1 && touch "$d/ready"
}

# download SUITE ARCHITECTURE PACKAGE FOLDER: one package file. A list from last month may name a version
# that the archive has dropped since, so a failure is tried again once, with a new list.
download() {
  local d=$CONSIGN_TOOLS/apt/$1-$2
  if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
    say "apt-get and dpkg-deb are not there: no package can be fetched"; return 1
  fi
  if [ -f "$d/ready" ] && (cd "$4" && apt_get "$1" "$2" download "$3" > "$d/log" 2>&1); then return 0; fi
  if ! { refresh "$1" "$2" && (cd "$4" && apt_get "$1" "$2" download "$3" > "$d/log" 2>&1); }; then
    say "cannot get package $3 ($2) of $1: $(tail -n 1 "$d/log" 2> /dev/null || true)"; return 1
  fi
}

# unpack SUITE PACKAGE ARCHITECTURE FOLDER: the files of one package, below FOLDER.
unpack() {
  local tmp rc=0
  mkdir -p "$4" "$CONSIGN_TOOLS/apt"
  tmp=$(mktemp -d "$CONSIGN_TOOLS/apt/download.XXXXXX")
  # apt, when root, downloads as another user, who has to be able to write here.
  chmod 755 "$tmp"
  { download "$1" "$3" "$2" "$tmp" && dpkg-deb -x "$tmp"/*.deb "$4"; } || rc=1
  rm -rf "$tmp"
  return "$rc"
}

# pull SUITE PACKAGE...: packages of this machine's architecture into suites/SUITE, each once.
pull() {
  local suite=$1 root=$CONSIGN_TOOLS/suites/$1 package
  shift
  for package in "$@"; do
    if [ -f "$root/.got-$package" ]; then continue; fi
    unpack "$suite" "$package" "$(dpkg --print-architecture 2> /dev/null || echo unknown)" "$root" || return 1
    touch "$root/.got-$package"
  done
}

# loader SUITE: the dynamic linker that was unpacked for a suite.
loader() { find "$CONSIGN_TOOLS/suites/$1" -name 'ld-linux*.so*' -print -quit; }

# place SUITE PROGRAM NAME CHECK [LIBRARY...]: offers a program of a suite as bin/NAME once CHECK, an
# argument that makes it print its version, succeeds. Where this machine's libraries do not do, it gets
# those of its own suite, by a wrapper that starts it with that suite's dynamic linker.
place() {
  local suite=$1 program=$CONSIGN_TOOLS/suites/$1/usr/bin/$2 at=$CONSIGN_TOOLS/bin/$3 check=$4 ld
  shift 4
  mkdir -p "$CONSIGN_TOOLS/bin"
  if "$program" "$check" > /dev/null 2>&1; then ln -sfn "$program" "$at"; return 0; fi
  pull "$suite" libc6 "$@" || return 1
  ld=$(loader "$suite")
  printf '#!/bin/sh\nexec %q --library-path %q %q "$@"\n' "$ld" "$(dirname "$ld")" "$program" > "$at.new"
  chmod 755 "$at.new"
  mv -f "$at.new" "$at"
  if ! "$at" "$check" > /dev/null 2>&1; then
    say "$program does not run on this machine"; rm -f "$at"; return 1
  fi
}

# need_one TOOL: fetches one tool and sets its variable.
need_one() {
  local name=$1 variable=${1^^}
  case $1 in
    registry) name=docker-registry ;;
    compose) name=docker-compose ;;
    crane | oras | skopeo | cosign2 | cosign3 | notation) ;;
    *) say "unknown tool $1; known are $ALL_TOOLS"; return 1 ;;
  esac
  local at=$CONSIGN_TOOLS/bin/$name
  # What the environment says of the same name is another program.
  unset -v "$variable"
  if [ ! -x "$at" ]; then
    case $1 in
      # Both suites have distribution 2.8; the older one was built for the older C library.
      registry) { pull bookworm docker-registry && place bookworm docker-registry docker-registry --version; } ||
        { pull sid docker-registry && place sid docker-registry docker-registry --version; } ;;
      crane) pull sid crane && place sid crane crane version ;;
      oras) pull sid oras && place sid oras oras version ;;
      skopeo) pull sid skopeo && place sid skopeo skopeo --version libgpgme45 libassuan9 libgpg-error0 libsqlite3-0 ;;
      cosign2) pull trixie cosign && place trixie cosign cosign2 version ;;
      cosign3) pull sid cosign && place sid cosign cosign3 version ;;
      notation) pull sid notation && place sid notation notation version ;;
      compose) pull trixie docker-compose && place trixie docker-compose docker-compose version ;;
    esac || { say "$1 is not available"; return 1; }
  fi
  printf -v "$variable" '%s' "$at"
}

# need TOOL...: fetches tools, one after the other; fails at the end when one of them could not be had.
need() {
  local tool rc=0
  mkdir -p "$CONSIGN_TOOLS"
  # Two runs at once would unpack over each other.
  exec {lock}> "$CONSIGN_TOOLS/lock"
  if command -v flock > /dev/null; then flock "$lock"; fi
  for tool in "$@"; do need_one "$tool" || rc=1; done
  exec {lock}>&-
  return "$rc"
}

main() {
  local tools=("$@") tool variable rc=0
  case ${1:-} in
    '' | -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; return 0 ;;
    unpack)
      if [ $# -ne 5 ]; then say "unpack wants SUITE PACKAGE ARCHITECTURE FOLDER"; return 2; fi
      shift; unpack "$@"; return ;;
    all) read -ra tools <<< "$ALL_TOOLS" ;;
  esac
  need "${tools[@]}" || rc=1
  for tool in "${tools[@]}"; do
    variable=${tool^^}
    if [[ " $ALL_TOOLS " == *" $tool "* && -n ${!variable:-} ]]; then printf '%s=%q\n' "$variable" "${!variable}"; fi
  done
  return "$rc"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
