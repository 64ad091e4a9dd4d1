#!/usr/bin/env python3
"""Generate sets of multi-arch images as one OCI layout, and optionally seed a registry with them.

  gen_images.py --set big   --out DIR    40 images x 2 platforms x 5 layers, 3 of them shared by groups of 10
  gen_images.py --set tiny  --out DIR    400 small images (40 repositories x 10 tags), 2 platforms x 2 layers
  gen_images.py --set four  --out DIR    1 image x 4 platforms x (6 layers + config): 28 blobs, each below 1 MB
  gen_images.py --set large --out DIR    2 images x 1 platform x 2 incompressible layers of --large-bytes
  gen_images.py --set tiny --images 40 --scale 0.5 --out DIR --push http://127.0.0.1:5001

Layers are tar.gz. --content files packs real files of this machine (--roots), so digests differ between machines;
synthetic is the same bytes everywhere, about half of them incompressible; random is the same bytes everywhere, all
incompressible and stored uncompressed, for layers of gigabytes. The default is files, and random for large.

Output below DIR: oci-layout, index.json (one entry per image, named `REPOSITORY:TAG` by the annotation
org.opencontainers.image.ref.name), blobs/sha256/*, refs.txt (lines "REPOSITORY TAG"), list.txt (lines
"REPOSITORY:TAG") and stats.json. --push needs a registry without authentication, over plain HTTP.
Standard library only.
"""

import argparse
import hashlib
import http.client
import io
import json
import math
import os
import queue
import random
import sys
import tarfile
import threading
import time
import zlib
from multiprocessing import Pool
from urllib.parse import urljoin, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "2024-01-01T00:00:00Z"
MTIME = 1700000000
KB, MB, MIB = 1000, 1000 * 1000, 1024 * 1024
PLATFORMS = [
    {"architecture": "amd64", "os": "linux"},
    {"architecture": "arm64", "os": "linux", "variant": "v8"},
    {"architecture": "arm", "os": "linux", "variant": "v7"},
    {"architecture": "s390x", "os": "linux"},
]

# What each set is made of unless options say otherwise. Sizes are ranges of compressed bytes; a layer's place
# among the shared or the unique ones of its platform chooses the range.
SETS = {
    "big": {
        "images": 40, "platforms": 2, "shared": 3, "unique": 2, "content": "files",
        "shared_sizes": [(25 * MB, 40 * MB), (8 * MB, 20 * MB), (100 * KB, 1 * MB)],
        "unique_sizes": [(1 * MB, 20 * MB), (10 * KB, 1 * MB)],
    },
    "tiny": {
        "images": 400, "platforms": 2, "shared": 1, "unique": 1, "content": "files",
        "shared_sizes": [(10 * KB, 50 * KB)],
        "unique_sizes": [(2 * KB, 20 * KB)],
    },
    "four": {
        "images": 1, "platforms": 4, "shared": 0, "unique": 6, "content": "files",
        "shared_sizes": [(10 * KB, 50 * KB)],
        "unique_sizes": [(10 * KB, 400 * KB)],
    },
    "large": {
        "images": 2, "platforms": 1, "shared": 0, "unique": 2, "content": "random",
        "shared_sizes": None,  # --large-bytes, exactly one size
        "unique_sizes": None,
    },
}

# The files to pack, as (path, size). Filled before the worker processes are forked, which then share it.
FILES = []


def scan(roots):
    """Regular files below the roots, in a fixed order."""
    found = []
    for root in roots:
        for folder, subfolders, names in os.walk(root):
            subfolders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    size = os.lstat(path).st_size
                except OSError:
                    continue
                if os.path.isfile(path) and not os.path.islink(path) and 0 < size <= 4 * MB:
                    found.append((path, size))
    return found


class GzipFile:
    """A file to write a tar stream into: compresses it with a fixed gzip header, so that the same content is the
    same bytes, and computes the digests of both sides."""

    def __init__(self, path, level):
        self.file = open(path, "wb")
        self.compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
        self.plain, self.compressed, self.size = hashlib.sha256(), hashlib.sha256(), 0

    def _put(self, data):
        if data:
            self.compressed.update(data)
            self.size += len(data)
            self.file.write(data)

    def write(self, data):
        self.plain.update(data)
        self._put(self.compressor.compress(bytes(data)))
        return len(data)

    def flush_all(self):
        """Writes what the compressor still holds, so that `size` is exact."""
        self._put(self.compressor.flush(zlib.Z_SYNC_FLUSH))

    def close(self):
        self._put(self.compressor.flush())
        self.file.close()


def next_file(rnd, left, content, number):
    """The next file of a layer that still wants `left` compressed bytes: (name, data, mode), or None to try again."""
    if content == "files":
        path, size = FILES[rnd.randrange(len(FILES))]
        # A file far beyond what is wanted would overshoot, as compression seldom gains more than a factor of 8.
        if size > max(8 * left, 4 * KB):
            return None
        try:
            with open(path, "rb") as f:
                data = f.read()
        except OSError:
            return None
        return path.lstrip("/"), data, 0o755 if os.access(path, os.X_OK) else 0o644
    name = f"usr/lib/probe/f{number}.bin"
    if content == "random":
        return name, rnd.randbytes(min(left, 4 * MIB)), 0o644
    size = min(max(left // 2, 1 * KB), 256 * KB)
    word = rnd.randbytes(16)
    return name, rnd.randbytes(size // 2) + word * (size // 16), 0o644


def make_layer(job):
    """Makes one layer. job: (key, size, seed, content, folder) -> (key, digest, size, diff id)"""
    key, target, seed, content, folder = job
    rnd = random.Random(f"{seed}/{key}")
    temporary = os.path.join(folder, f".tmp-{hashlib.sha256(key.encode()).hexdigest()[:16]}")
    out = GzipFile(temporary, 0 if content == "random" else 1)
    tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=64 * 1024)

    def add(name, data, mode=0o644):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = len(data), MTIME, mode
        tar.addfile(entry, io.BytesIO(data))

    # A file of its own makes every layer distinct, however small.
    add(f"etc/probe/{key.replace('/', '_')}", f"{seed}/{key}\n".encode())
    number, small = 0, target < 64 * KB
    while True:
        left = target - out.size
        if left <= 0 or (left < 3 * KB and out.size > 0):
            break
        # Some roots may have no file that is small enough.
        if number > (400 if small else 200000):
            break
        picked = next_file(rnd, left, content, number)
        number += 1
        if picked:
            add(*picked)
            if small:
                out.flush_all()
    tar.close()
    out.close()
    digest = out.compressed.hexdigest()
    os.rename(temporary, os.path.join(folder, digest))
    return key, "sha256:" + digest, out.size, "sha256:" + out.plain.hexdigest()


def plan(args):
    """What is to be made: images as [(repository, tag, [layer keys of each platform])], and layers as {key: size}."""
    rnd, layers, images = random.Random(args.seed), {}, []

    def layer(key, sizes, place):
        if key not in layers:
            low, high = sizes[place % len(sizes)]
            size = math.exp(rnd.uniform(math.log(low), math.log(high)))
            layers[key] = round(size * args.scale)
        return key

    for i in range(args.images):
        group = i // args.group
        platforms = []
        for p in range(args.platforms):
            keys = [layer(f"g{group}/p{p}/s{s}", args.shared_sizes, s) for s in range(args.shared)]
            keys += [layer(f"i{i}/p{p}/u{u}", args.unique_sizes, u) for u in range(args.unique)]
            platforms.append(keys)
        if args.set == "tiny":
            images.append((f"tiny/app{group:03d}", f"v{i % args.group}", platforms))
        else:
            images.append((f"{args.set}/g{group}/app{i:03d}", "v1", platforms))
    return images, layers


def to_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def write_blob(folder, media_type, value):
    """Writes a JSON blob and returns its descriptor."""
    data = to_json(value)
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(folder, digest), "wb") as f:
        f.write(data)
    return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}


def write_image(folder, repository, tag, platforms, made):
    """Writes configs, manifests and the index of one image; returns the index's descriptor and the bytes of it all."""
    children, total = [], 0
    for platform, keys in zip(PLATFORMS, platforms):
        config = write_blob(folder, CONFIG, {
            "created": CREATED, **platform,
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Entrypoint": ["/bin/app"],
                "Labels": {"org.example.repo": repository, "org.example.tag": tag},
            },
            "rootfs": {"type": "layers", "diff_ids": [made[k]["diff_id"] for k in keys]},
            "history": [{"created": CREATED, "created_by": f"COPY {k} /"} for k in keys],
        })
        layers = [{"mediaType": LAYER, "digest": made[k]["digest"], "size": made[k]["size"]} for k in keys]
        manifest = write_blob(folder, MANIFEST, {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        })
        children.append({**manifest, "platform": platform})
        total += sum(d["size"] for d in [config, manifest, *layers])
    index = write_blob(folder, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
    return index, total + index["size"]


def generate(args):
    """Makes the whole layout. index.json is written last: where it is, the layout is complete."""
    blobs = os.path.join(args.out, "blobs/sha256")
    os.makedirs(blobs, exist_ok=True)
    if args.content == "files":
        FILES.extend(scan(args.roots.split(":")))
    start = time.time()
    images, layers = plan(args)
    # The largest first, so that no process is left with one at the end.
    jobs = [(k, size, args.seed, args.content, blobs) for k, size in sorted(layers.items(), key=lambda x: -x[1])]
    with Pool(args.jobs) as pool:
        made = {key: {"digest": digest, "size": size, "diff_id": diff_id}
                for key, digest, size, diff_id in pool.imap_unordered(make_layer, jobs)}
    entries, logical = [], 0
    for repository, tag, platforms in images:
        index, size = write_image(blobs, repository, tag, platforms, made)
        entries.append({**index, "annotations": {REF_NAME: f"{repository}:{tag}"}})
        logical += size
    sizes = sorted(layer["size"] for layer in made.values())
    stats = {
        "set": args.set, "images": len(images), "platforms": args.platforms, "layers_unique": len(made),
        "layer_refs": sum(len(keys) for _, _, platforms in images for keys in platforms),
        "bytes_unique_layers": sum(sizes),
        "bytes_unique_all": sum(os.path.getsize(os.path.join(blobs, f)) for f in os.listdir(blobs)),
        "bytes_logical": logical, "layer_min": sizes[0], "layer_median": sizes[len(sizes) // 2],
        "layer_max": sizes[-1], "content": args.content, "seed": args.seed,
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "refs.txt": "".join(f"{repository} {tag}\n" for repository, tag, _ in images).encode(),
        "list.txt": "".join(f"{repository}:{tag}\n" for repository, tag, _ in images).encode(),
        "stats.json": json.dumps(stats, indent=1).encode(),
        "index.json": to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
    }
    for name, data in files.items():
        with open(os.path.join(args.out, name), "wb") as f:
            f.write(data)
    print(json.dumps(stats), f"{time.time() - start:.1f}s", file=sys.stderr)


class Pusher:
    """Seeds a registry from a layout, with a few threads; a blob that one repository has is mounted by the others."""

    def __init__(self, url, layout):
        self.url, self.blobs = url, os.path.join(layout, "blobs/sha256")
        self.homes, self.lock, self.work, self.errors = {}, threading.Lock(), queue.Queue(), []

    def path(self, digest):
        return os.path.join(self.blobs, digest.split(":")[1])

    def read(self, digest):
        with open(self.path(digest), "rb") as f:
            return f.read()

    def connect(self):
        base = urlsplit(self.url)
        return http.client.HTTPConnection(base.hostname, base.port, blocksize=256 * 1024)

    def request(self, connection, method, path, want, body=None, headers=None):
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read()
        if response.status not in want:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:200]!r}")
        return response

    def push_blob(self, connection, repository, digest):
        with self.lock:
            home = self.homes.get(digest)
        query = f"?mount={digest}&from={home}" if home else ""
        response = self.request(connection, "POST", f"/v2/{repository}/blobs/uploads/{query}", (201, 202), b"")
        if response.status == 201:
            return
        location = urlsplit(urljoin(self.url, response.getheader("Location")))
        path = f"{location.path}?{location.query + '&' if location.query else ''}digest={digest}"
        with open(self.path(digest), "rb") as f:
            size = str(os.path.getsize(f.name))
            headers = {"Content-Length": size, "Content-Type": "application/octet-stream"}
            self.request(connection, "PUT", path, (201,), f, headers)
        with self.lock:
            self.homes.setdefault(digest, repository)

    def push_image(self, connection, entry):
        repository, tag = entry["annotations"][REF_NAME].rsplit(":", 1)
        index = self.read(entry["digest"])
        for child in json.loads(index)["manifests"]:
            manifest = self.read(child["digest"])
            view = json.loads(manifest)
            for blob in {b["digest"]: b for b in view["layers"] + [view["config"]]}:
                self.push_blob(connection, repository, blob)
            path = f"/v2/{repository}/manifests/{child['digest']}"
            self.request(connection, "PUT", path, (201,), manifest, {"Content-Type": child["mediaType"]})
        path = f"/v2/{repository}/manifests/{tag}"
        self.request(connection, "PUT", path, (201,), index, {"Content-Type": entry["mediaType"]})

    def worker(self):
        connection = self.connect()
        while (entries := self.work.get()) is not None:
            for entry in entries:
                try:
                    self.push_image(connection, entry)
                except (OSError, http.client.HTTPException, RuntimeError) as error:
                    self.errors.append(f"{entry['annotations'][REF_NAME]}: {error!r}")
                    connection.close()
                    connection = self.connect()
        connection.close()

    def run(self, entries, threads=4):
        # One repository, one thread: distribution 2.8 takes a blob for missing while another push links it again.
        repositories = {}
        for entry in entries:
            repositories.setdefault(entry["annotations"][REF_NAME].rsplit(":", 1)[0], []).append(entry)
        workers = [threading.Thread(target=self.worker) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for item in [*repositories.values(), *[None] * threads]:
            self.work.put(item)
        for worker in workers:
            worker.join()
        return self.errors


def push(args):
    with open(os.path.join(args.out, "index.json"), "rb") as f:
        entries = json.load(f)["manifests"]
    start = time.time()
    errors = Pusher(args.push, args.out).run(entries)
    print(f"pushed {len(entries) - len(errors)} of {len(entries)} images to {args.push} in {time.time() - start:.1f}s",
          file=sys.stderr)
    for error in errors[:5]:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=list(SETS), default="big")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--push", metavar="URL", help="seed this registry, e.g. http://127.0.0.1:5001")
    parser.add_argument("--content", choices=["files", "synthetic", "random"])
    parser.add_argument("--roots", default="/usr/lib:/usr/share:/usr/bin:/usr/include")
    parser.add_argument("--images", type=int)
    parser.add_argument("--platforms", type=int, help=f"platforms of each image, at most {len(PLATFORMS)}")
    parser.add_argument("--group", type=int, default=10, help="images that share the shared layers [10]")
    parser.add_argument("--shared", type=int, help="shared layers per platform")
    parser.add_argument("--unique", type=int, help="layers per platform that no other image has")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every layer size")
    parser.add_argument("--large-bytes", type=int, default=256 * MIB, help="layer size of the set large [256 MiB]")
    parser.add_argument("--seed", default="consign-1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that make layers")
    parser.add_argument("--reuse", action="store_true", help="keep what is in DIR where it is complete")
    args = parser.parse_args()
    for name, value in SETS[args.set].items():
        if getattr(args, name, None) is None:
            setattr(args, name, value or [(args.large_bytes, args.large_bytes)] if name.endswith("_sizes") else value)
    if not 1 <= args.platforms <= len(PLATFORMS):
        parser.error(f"--platforms is from 1 to {len(PLATFORMS)}")
    if args.images < 1 or args.shared + args.unique < 1 or args.group < 1:
        parser.error("at least one image, with at least one layer, in groups of at least one")
    return args


def main():
    args = arguments()
    if not (args.reuse and os.path.exists(os.path.join(args.out, "index.json"))):
        generate(args)
    return push(args) if args.push else 0


if __name__ == "__main__":
    sys.exit(main())
