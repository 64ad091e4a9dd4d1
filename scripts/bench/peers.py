"""How each tool is called for a list of images, at the setting that suits it best.

crane, oras and skopeo copy run as several processes at a time, each for one image (crane -a: for one repository);
skopeo sync, regsync, hangar and consign get the whole list at once. Authorities of TLS come by SSL_CERT_FILE, which
programs in Go read; credentials come from the Docker file in the home that the session makes.
"""

import json
import os
from dataclasses import dataclass, replace

# regsync asks three times at once of one registry unless told otherwise.
REGSYNC_REQUESTS = int(os.environ.get("BENCH_REGSYNC_REQUESTS", "16"))
REGSYNC_PARALLEL = 16
# hangar takes no more.
HANGAR_JOBS = 20
# Where skopeo sync writes: it keeps only the last part of a repository's path.
SYNC_PREFIX = "mirror"


@dataclass(frozen=True)
class Task:
    """What is to be copied: images from one address to another."""

    images: object
    source: str
    destination: str
    folder: str
    jobs: int = 16
    processes: int = 4
    authority: str = ""
    options: tuple = ()

    def but(self, **changes):
        return replace(self, **changes)


def loop(lines, count, command):
    """So many processes at a time, one for each line of a file, which stands for `{}`."""
    return ["xargs", "-P", str(count), "-a", lines, "-I", "{}", *command]


def consign(programs, task):
    trust = ["--ca-file", task.authority] if task.authority else []
    return [programs["consign"], "mirror", "-f", task.images.list(task.folder), "-s", task.source,
            "-d", task.destination, "-j", str(task.jobs), "-o", os.path.join(task.folder, "failed.txt"),
            *trust, *task.options]


def consign_image(programs, task):
    return consign(programs, task.but(options=(*task.options, "--no-referrers")))


def consign_digest(programs, task):
    """By digest, so that the source need not be asked."""
    line = lambda name: f"{name}@{task.images.digests[name]}"
    command = consign_image(programs, task)
    command[command.index("-f") + 1] = task.images.list(task.folder, "digests.txt", line)
    return command


def crane(programs, task):
    insecure = [] if task.authority else ["--insecure"]
    return loop(task.images.list(task.folder), task.processes,
                [programs["crane"], "copy", *insecure, f"{task.source}/{{}}", f"{task.destination}/{{}}"])


def crane_all(programs, task):
    """By repository, each with all its tags: of a cut set that may be more than the others copy."""
    insecure = [] if task.authority else ["--insecure"]
    path = os.path.join(task.folder, "repositories.txt")
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(f"{repository}\n" for repository in task.images.repositories())
    return loop(path, task.processes, [programs["crane"], "copy", *insecure, "-a", f"{task.source}/{{}}",
                                       f"{task.destination}/{{}}"])


def oras(programs, task):
    plain = [] if task.authority else ["--from-plain-http", "--to-plain-http"]
    return loop(task.images.list(task.folder), task.processes,
                [programs["oras"], "cp", "-r", "--no-tty", *plain, f"{task.source}/{{}}", f"{task.destination}/{{}}"])


def skopeo_copy(programs, task):
    check = "true" if task.authority else "false"
    return loop(task.images.list(task.folder), task.processes,
                [programs["skopeo"], "--insecure-policy", "copy", "-q", "--all", f"--src-tls-verify={check}",
                 f"--dest-tls-verify={check}", f"docker://{task.source}/{{}}", f"docker://{task.destination}/{{}}"])


def skopeo_sync(programs, task):
    check = bool(task.authority)
    tags = {}
    for name in task.images.names:
        repository, tag = name.rsplit(":", 1)
        tags.setdefault(repository, []).append(tag)
    path = os.path.join(task.folder, "sync.yml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({task.source: {"tls-verify": check, "images": tags}}, f)
    return [programs["skopeo"], "--insecure-policy", "sync", "--all", "--src", "yaml", "--dest", "docker",
            f"--dest-tls-verify={str(check).lower()}", path, f"{task.destination}/{SYNC_PREFIX}"]


def regsync(programs, task, **defaults):
    tls = "enabled" if task.authority else "disabled"
    path = os.path.join(task.folder, "regsync.yml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({
            "version": 1,
            "creds": [{"registry": address, "tls": tls, "reqConcurrent": REGSYNC_REQUESTS}
                      for address in dict.fromkeys([task.source, task.destination])],
            "defaults": {"parallel": REGSYNC_PARALLEL, **defaults},
            "sync": [{"source": f"{task.source}/{name}", "target": f"{task.destination}/{name}", "type": "image"}
                     for name in task.images.names],
        }, f)
    return [programs["regsync"], "once", "-c", path]


def regsync_closure(programs, task):
    return regsync(programs, task, referrers=True, digestTags=True)


def hangar(programs, task):
    """From its documentation; it could not be built where this was written."""
    trust = [] if task.authority else ["--tls-verify=false"]
    return [programs["hangar"], "mirror", "-f", task.images.list(task.folder), "-s", task.source,
            "-d", task.destination, "-a", "amd64,arm64", "--os", "linux", "-j", str(min(HANGAR_JOBS, task.jobs)),
            "-o", os.path.join(task.folder, "failed.txt"), *trust]


# Row: the program it needs, its command, and what the legend says of it.
ROWS = {
    "consign": ("consign", consign, "`mirror`, with all that belongs to the images"),
    "consign-image": ("consign", consign_image, "`mirror --no-referrers`"),
    "consign-digest": ("consign", consign_digest, "the same for a list by digest"),
    "crane": ("crane", crane, "`copy`, one process for each image, several at a time"),
    "crane-a": ("crane", crane_all, "`copy --all-tags`, one process for each repository, several at a time"),
    "oras": ("oras", oras, "`cp -r`, one process for each image, several at a time"),
    "skopeo-copy": ("skopeo", skopeo_copy, "`copy --all`, one process for each image, several at a time"),
    "skopeo-sync": ("skopeo", skopeo_sync, "`sync --all`, one process"),
    "regsync": ("regsync", regsync, f"`once`, parallel {REGSYNC_PARALLEL}, reqConcurrent {REGSYNC_REQUESTS}"),
    "regsync-closure": ("regsync", regsync_closure, "the same with `referrers` and `digestTags`"),
    "hangar": ("hangar", hangar, "`mirror`, one process"),
}


def place(row):
    """Where a row puts an image: a function from its name at the source to that at the destination."""
    if row == "skopeo-sync":
        return lambda name: f"{SYNC_PREFIX}/{name.rsplit('/', 1)[1]}"
    return lambda name: name


def present(programs, names):
    """Those rows whose program is there, in the order that is asked for."""
    return [name for name in names if programs[ROWS[name][0]]]


def command(programs, name, task):
    return ROWS[name][1](programs, task)
