#!/usr/bin/env bash
# Shows what consign does, on this machine alone, and checks that it does it.
#
# Usage: scripts/demo.sh        (needs Rust, python3 and, for real images, Debian's apt; nothing is installed)
#
# It builds the release binary, makes two real multi-arch images, serves them as a source registry, starts an
# empty destination registry, both on loopback, and mirrors a list between them: with one missing image, a second
# time, from the failed list, and with a bad line. Then it signs what was mirrored, validates it, and carries it into a
# third registry. The exit code is 0 when everything was as announced.
#
#   CONSIGN   a binary to show instead of the one that is built
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/consign-demo.XXXXXX")
servers=()

# clean_up ends what this script started, by process id, and removes its folder.
clean_up() {
  local pid
  for pid in "${servers[@]}"; do kill "$pid" 2> /dev/null || true; done
  for pid in "${servers[@]}"; do wait "$pid" 2> /dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT
# Without these, bash would leave without the clean-up while a child is running.
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n' "$*"; }

fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# run CODE COMMAND...: shows a command, runs it and checks its exit code.
run() {
  local want=$1 got=0
  shift
  printf '$'; printf ' %q' "$@"; printf '\n'
  "$@" || got=$?
  printf '(exit code %s)\n' "$got"
  if [ "$got" -ne "$want" ]; then fail "exit code $want was expected, not $got"; fi
}

# show FILE: a file of the work folder.
show() { printf '$ cat %s\n' "$1"; cat "$1"; }

# start NAME ARGUMENT...: starts `consign serve` and sets address to what it says it listens on.
start() {
  local name=$1 pid line=
  shift
  printf '$ consign serve'; printf ' %q' "$@"; printf ' &\n'
  : > "$name.out"
  # Not by the function: its process id would be that of a shell in between.
  "$binary" serve "$@" > "$name.out" 2> "$name.err" &
  pid=$!
  servers+=("$pid")
  for _ in $(seq 100); do
    read -r line < "$name.out" || true
    if [ -n "$line" ] || ! kill -0 "$pid" 2> /dev/null; then break; fi
    sleep 0.1
  done
  case $line in
    http://127.0.0.1:*) printf '%s\n' "$line" ;;
    *) cat "$name.err" >&2; fail "the $name registry did not start" ;;
  esac
  address=${line#http://}
}

# digest ADDRESS REPOSITORY TAG: what a registry says that a tag points at.
digest() {
  python3 - "$@" <<'PY'
import sys, urllib.request
address, repository, tag = sys.argv[1:]
request = urllib.request.Request(f"http://{address}/v2/{repository}/manifests/{tag}", method="HEAD", headers={
    "Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"})
# A proxy that the environment names has nothing to do with loopback.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(request, timeout=10) as response:
    print(response.headers["Docker-Content-Digest"])
PY
}

# state FOLDER: every file with its size and time of change, to see that nothing was written.
state() { find "$1" -type f -printf '%P %s %T@\n' | sort; }

heading "Build"
if [ -n "${CONSIGN:-}" ]; then
  binary=$(cd "$(dirname "$CONSIGN")" && pwd)/$(basename "$CONSIGN")
else
  (cd "$root" && run 0 cargo build --release --locked)
  binary=${CARGO_TARGET_DIR:-$root/target}/release/consign
fi
[ -x "$binary" ] || fail "there is no program $binary"
consign() { "$binary" "$@"; }
run 0 consign --version

heading "Make two images, each for linux/amd64 and linux/arm64"
python3 "$root/scripts/demo_images.py" --out "$work/images"
# From here on in the work folder, so that the command lines are short.
cd "$work"
mkdir mirror
du -sh images

heading "Start a source registry with them, read-only, and an empty, writable destination"
start source images --listen 127.0.0.1:0
source=$address
start destination --writable --listen 127.0.0.1:0 mirror
destination=$address

heading "Mirror a list of three images, one of which does not exist"
printf '%s\n' '# The images of the demonstration' demo/busybox:1.0 demo/tools:1.0 demo/missing:9.9 > images.txt
show images.txt
run 1 consign mirror -f images.txt -s "$source" -d "$destination" -o failed.txt --report report.json
echo "One bad image did not stop the others. What failed is a list again, with the reasons:"
show failed.txt
grep -qx 'demo/missing:9.9' failed.txt || fail "the failed list does not hold the missing image"
! grep -qE '^demo/(busybox|tools)' failed.txt || fail "the failed list holds an image that was mirrored"
echo "The report for machines begins so:"
head -c 600 report.json
printf ' ...\n'

heading "Every image arrived under the digest it had"
for image in busybox tools; do
  there=$(digest "$source" "demo/$image" 1.0)
  here=$(digest "$destination" "demo/$image" 1.0)
  printf 'demo/%s:1.0\n  source      %s\n  destination %s\n' "$image" "$there" "$here"
  if [ -z "$there" ] || [ "$there" != "$here" ]; then fail "the digests of demo/$image:1.0 differ"; fi
done

heading "Mirror the good lines again: nothing is transferred"
printf '%s\n' demo/busybox:1.0 demo/tools:1.0 > good.txt
state mirror > before.txt
run 0 consign mirror -f good.txt -s "$source" -d "$destination" -o good-failed.txt
state mirror > after.txt
cmp -s before.txt after.txt || { diff before.txt after.txt >&2 || true; fail "the second run wrote to the destination"; }
[ ! -e good-failed.txt ] || fail "a run without failures left a failed list"
echo "No file of the destination was written, and there is no failed list."

heading "Feed the failed list back: exactly the failed line is tried again"
run 1 consign mirror -f failed.txt -s "$source" -d "$destination" -o failed.txt
grep -qx 'demo/missing:9.9' failed.txt || fail "the failed list lost the image that is still missing"

heading "A bad line: every bad line is named, and nothing is contacted"
printf '%s\n' demo/busybox:1.0 'nginx latest' 'demo/Tools:1.0' > bad.txt
show bad.txt
state mirror > before.txt
run 2 consign mirror -f bad.txt -s "$source" -d "$destination" -o bad-failed.txt
state mirror > after.txt
cmp -s before.txt after.txt || fail "a run with a bad line wrote to the destination"

heading "Sign what was mirrored, and validate it"
export COSIGN_PASSWORD=demonstration
run 0 consign generate-key --prefix site
run 3 consign validate -f good.txt --registry "$destination" --key site.pub
run 0 consign sign -f good.txt --registry "$destination" --key site.key -a stage=demo
state mirror > before.txt
run 0 consign sign -f good.txt --registry "$destination" --key site.key -a stage=demo
state mirror > after.txt
cmp -s before.txt after.txt || fail "signing again wrote to the destination"
run 0 consign validate -f good.txt --registry "$destination" --key site.pub -a stage=demo --subjects all

heading "Signatures travel; under their new name they are not accepted, until they are made anew"
mkdir inner
start inner --writable --listen 127.0.0.1:0 inner
inner=$address
run 0 consign mirror -f good.txt -s "$destination" -d "$inner"
run 3 consign validate -f good.txt --registry "$inner" --key site.pub
run 0 consign validate -f good.txt --registry "$inner" --key site.pub --exact-repository "$destination/{path}"
run 0 consign generate-key --prefix inner-site
run 0 consign mirror -f good.txt -s "$destination" -d "$inner" --destination-project resigned --verify-key site.pub \
  --remove-signatures --sign-key inner-site.key
run 0 consign validate -f good.txt --registry "$inner" --project resigned --key inner-site.pub

printf '\nThe demonstration went as announced.\n'
