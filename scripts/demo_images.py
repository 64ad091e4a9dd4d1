#!/usr/bin/env python3
"""Make two real multi-arch images as one OCI layout, for the demonstration.

  demo_images.py --out DIR

  demo/busybox:1.0   Debian's static busybox for linux/amd64 and linux/arm64, one layer each
  demo/tools:1.0     the same layers, and one more with a script and busybox's documentation

The programs come from Debian's packages by scripts/counterparts.sh, which changes nothing on the system. Where no
package can be had, they are this machine's own, the same for both platforms, and stderr says so: such an image is as
good for copying, but runs on one of its platforms only.

Layers are deterministic: sorted, owned by root, without times. index.json names each image by the annotation
org.opencontainers.image.ref.name. Standard library only.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CREATED = "1970-01-01T00:00:00Z"
PLATFORMS = [
    {"architecture": "amd64", "os": "linux"},
    {"architecture": "arm64", "os": "linux", "variant": "v8"},
]
# busybox acts by the name that it is called by; these names are enough to look around in.
APPLETS = ["cat", "echo", "env", "grep", "ls", "ps", "sh", "sha256sum", "sleep", "uname", "vi", "wc"]
HELLO = b"#!/bin/sh\n# The second layer's own program.\necho \"hello from $(uname -m)\"\n"
COUNTERPARTS = pathlib.Path(__file__).resolve().parent / "counterparts.sh"
# What stands in for the package; a program that is linked dynamically is packed without its libraries.
OWN_PROGRAMS = ["/bin/busybox", "/usr/bin/busybox", "/bin/dash", "/bin/bash", "/bin/sh"]
OWN_DOCUMENTS = ["/etc/os-release", "/etc/services", "/etc/protocols"]


def suite():
    """The Debian suite to fetch from: this machine's own, whose archive keys it has for certain."""
    fields = {}
    try:
        for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            fields[name] = value.strip('"')
    except OSError:
        pass
    return fields.get("VERSION_CODENAME", "bookworm") if fields.get("ID") == "debian" else "bookworm"


def files_below(root):
    """Regular files and symbolic links below a folder, as {name: (mode, data or link target)}."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = (None, os.readlink(path))
        elif path.is_file():
            found[name] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return found


def from_package(architecture):
    """The files of busybox-static for one architecture, or None where it cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        command = [COUNTERPARTS, "unpack", suite(), "busybox-static", architecture, folder]
        try:
            done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
        except OSError as error:
            print(f"demo_images: cannot run {COUNTERPARTS.name}: {error}", file=sys.stderr)
            return None
        if done.returncode != 0:
            return None
        files = files_below(pathlib.Path(folder))
    # Debian moves programs from /bin to /usr/bin.
    program = files.pop("bin/busybox", None) or files.pop("usr/bin/busybox", None)
    if program is None:
        return None
    return {"program": program[1], "names": APPLETS,
            "documents": {name: file for name, file in files.items() if name.startswith("usr/share/doc/")}}


def from_this_machine():
    """The same from this machine's own files."""
    program = next((path for path in OWN_PROGRAMS if os.path.isfile(path)), None)
    if program is None:
        sys.exit("demo_images: no package can be had, and this machine has none of " + ", ".join(OWN_PROGRAMS))
    documents = {path.lstrip("/"): (0o644, pathlib.Path(path).read_bytes())
                 for path in OWN_DOCUMENTS if os.path.isfile(path)}
    print(f"demo_images: no package of busybox-static can be had; both platforms get {program} of this machine",
          file=sys.stderr)
    names = APPLETS if program.endswith("busybox") else ["sh"]
    return {"program": pathlib.Path(program).read_bytes(), "names": names, "documents": documents}


def collect():
    """What the images are made of, for each architecture: packages for all of them or for none."""
    found = {}
    for platform in PLATFORMS:
        architecture = platform["architecture"]
        found[architecture] = from_package(architecture)
        if found[architecture] is None:
            own = from_this_machine()
            return {platform["architecture"]: own for platform in PLATFORMS}
    return found


def tar(files):
    """A tar archive of {name: (mode, data)}, or (None, target) for a symbolic link; folders are filled in."""
    out = io.BytesIO()
    folders = {parent.as_posix() for name in files for parent in pathlib.PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(folders | set(files)):
            entry, data = tarfile.TarInfo(name), None
            if name in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif files[name][0] is None:
                entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, files[name][1]
            else:
                entry.mode, data = files[name]
                entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


class Layout:
    """An OCI layout that is being written."""

    def __init__(self, folder):
        self.folder, self.entries = folder, []
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def blob(self, media_type, data):
        """Writes one blob and returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def json(self, media_type, value):
        return self.blob(media_type, json.dumps(value, separators=(",", ":")).encode())

    def layer(self, comment, files):
        """Writes one layer: what an image needs to know of it."""
        plain = tar(files)
        packed = gzip.compress(plain, compresslevel=6, mtime=0)
        return {"descriptor": self.blob(LAYER, packed), "comment": comment,
                "diff_id": "sha256:" + hashlib.sha256(plain).hexdigest()}

    def manifest(self, platform, layers, command):
        config = self.json(CONFIG, {
            "created": CREATED, **platform, "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
            "history": [{"created": CREATED, "created_by": layer["comment"]} for layer in layers],
        })
        return {**self.json(MANIFEST, {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": [layer["descriptor"] for layer in layers],
        }), "platform": platform}

    def image(self, name, manifests):
        index = self.json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        self.entries.append({**index, "annotations": {"org.opencontainers.image.ref.name": name}})

    def close(self):
        """Writes the files that make the folder a layout, the list of images last."""
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_text(json.dumps(index, separators=(",", ":")), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, metavar="DIR", type=pathlib.Path, help="made anew if it is there")
    out = parser.parse_args().out
    if out.exists() and any(out.iterdir()):
        # Only what is a layout is taken away.
        if not (out / "oci-layout").is_file():
            parser.error(f"{out} is not empty and no OCI layout")
        shutil.rmtree(out)
    layout, found = Layout(out), collect()
    small, large = [], []
    for platform in PLATFORMS:
        files = found[platform["architecture"]]
        base = layout.layer("busybox", {
            "bin/busybox": (0o755, files["program"]), **{f"bin/{name}": (None, "busybox") for name in files["names"]},
        })
        tools = layout.layer("tools", {"usr/bin/hello": (0o755, HELLO), **files["documents"]})
        small.append(layout.manifest(platform, [base], ["/bin/sh"]))
        large.append(layout.manifest(platform, [base, tools], ["/usr/bin/hello"]))
    layout.image("demo/busybox:1.0", small)
    layout.image("demo/tools:1.0", large)
    layout.close()


if __name__ == "__main__":
    main()
