"""The image sets, as OCI layouts: made once by scripts/gen_images.py and kept, since the large ones take a minute.

`big` and `tiny` are those that all figures of the documentation are about. Each has a list for consign and the loops
(`REPOSITORY:TAG` a line), and can be cut to its first images.
"""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys

from .programs import ROOT, say

GENERATOR = os.path.join(ROOT, "scripts", "gen_images.py")
REF_NAME = "org.opencontainers.image.ref.name"
MIB = 1 << 20
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# How a gzip file begins. skopeo compresses a layer that does not begin so, and would then move next to nothing.
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Images:
    """A layout, and what is in it: `names` as REPOSITORY:TAG, `digests` of the images, bytes of all unique blobs."""

    def __init__(self, layout, digests):
        self.layout, self.names, self.digests = layout, list(digests), digests

    def first(self, count):
        return Images(self.layout, {name: self.digests[name] for name in self.names[:count]})

    def repositories(self):
        return list(dict.fromkeys(name.rsplit(":", 1)[0] for name in self.names))

    def manifests(self, name):
        """The digests of the platforms' manifests of an image."""
        return [entry["digest"] for entry in self._document(self.digests[name])["manifests"]]

    @functools.cached_property
    def bytes(self):
        """Bytes of the distinct configs and layers."""
        sizes = {}
        for name in self.names:
            for digest in self.manifests(name):
                manifest = self._document(digest)
                for blob in [manifest["config"], *manifest["layers"]]:
                    sizes[blob["digest"]] = blob["size"]
        return sum(sizes.values())

    def list(self, folder, name="list.txt", line=lambda name: name):
        """Writes a list of the images, one a line, and returns its path."""
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(f"{line(name)}\n" for name in self.names)
        return path

    def read(self):
        """Reads every blob once: else the row that runs first pays for what the system then has in memory for all."""
        folder = os.path.join(self.layout, "blobs", "sha256")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as f:
                while f.read(MIB):
                    pass

    def _document(self, digest):
        with open(os.path.join(self.layout, "blobs", "sha256", digest.split(":")[1]), "rb") as f:
            return json.load(f)


def load(layout):
    with open(os.path.join(layout, "index.json"), "rb") as f:
        entries = json.load(f)["manifests"]
    return Images(layout, {entry["annotations"][REF_NAME]: entry["digest"] for entry in entries})


def generate(folder, name, options):
    """A set of scripts/gen_images.py, below a folder that keeps it under the set's name and options."""
    suffix = re.sub("[^a-z0-9]+", "-", " ".join(options)).rstrip("-")
    # Two dashes, as `--` before the first option makes them.
    layout = os.path.join(folder, f"{name}-{suffix}" if suffix else name)
    command = [sys.executable, GENERATOR, "--set", name, "--out", layout, "--reuse", *options]
    if not os.path.exists(os.path.join(layout, "index.json")):
        say(f"the images are made: {layout}")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} cannot be made: {done.stderr[-400:]}")
    return load(layout)


def push(layout, url):
    command = [sys.executable, GENERATOR, "--out", layout, "--reuse", "--push", url]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{layout} cannot be pushed: {done.stderr[-400:]}")


def one_layer(folder, size, count=1):
    """Images of one platform and one layer of `size` bytes each, zeros but for the head: the file is sparse, so that
    4 GiB take no room on disk. Nothing here compresses what passes, so that zeros weigh what other bytes weigh."""
    layout = os.path.join(folder, f"zeros-{count}-{size}")
    blobs = os.path.join(layout, "blobs", "sha256")
    if os.path.exists(os.path.join(layout, "index.json")):
        return load(layout)
    say(f"the images are made: {layout}")
    os.makedirs(blobs, exist_ok=True)
    entries = []
    for number in range(count):
        layer = sparse(blobs, size, number)
        config = write(blobs, CONFIG, {"architecture": "amd64", "os": "linux",
                                       "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}})
        manifest = write(blobs, MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                                           "layers": [layer]})
        platform = {"architecture": "amd64", "os": "linux"}
        index = write(blobs, INDEX, {"schemaVersion": 2, "mediaType": INDEX,
                                     "manifests": [{**manifest, "platform": platform}]})
        entries.append({**index, "annotations": {REF_NAME: f"zeros/app{number:03d}:v1"}})
    with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as f:
        json.dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, f)
    return load(layout)


def sparse(blobs, size, number):
    head = (GZIP_HEAD + f"{size} {number}\n".encode())[:size]
    digest, left, piece = hashlib.sha256(head), size - len(head), bytes(MIB)
    while left > 0:
        digest.update(piece[:left])
        left -= min(left, MIB)
    with open(os.path.join(blobs, digest.hexdigest()), "wb") as f:
        f.write(head)
        f.truncate(size)
    return {"mediaType": LAYER, "digest": f"sha256:{digest.hexdigest()}", "size": size}


def write(blobs, media_type, value):
    data = json.dumps(value, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(blobs, digest), "wb") as f:
        f.write(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
