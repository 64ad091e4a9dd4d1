"""The servers beside a measured command, each a process of its own on loopback.

A server is started by `Servers`, which ends what is left of them on every way out. `mark` and `gained` are called
around a command: CPU from /proc, requests from docker-registry's access log or from the rig's own counters.
"""

import http.client
import json
import os
import select
import socket
import ssl
import subprocess
import time

from . import measure

START_SECONDS = 60
# What a server may take to end; the rig's registry gives back gigabytes.
STOP_SECONDS = 10
# docker-registry writes its log just after it has answered.
LOG_SETTLES_SECONDS = 0.2
# Another program may take a port between our look and the registry's start.
PORT_TRIES = 5
STATS_SECONDS = 10


class NotStarted(Exception):
    """A server that did not come up, with what it said."""


class Server:
    """A process that listens at `address`."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.log, self.address = name, log, None
        self.marked = None
        with open(log, "wb") as f:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._stdout(f), stderr=f,
                                            env=environment, start_new_session=True)

    def _stdout(self, log):
        return log

    def begin(self):
        """Waits until it listens. Apart from the start, so that who was interrupted here knows what to end."""

    def cpu(self):
        return measure.cpu_seconds(self.process.pid)

    def alive(self):
        return self.process.poll() is None

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()[-400:].strip()

    def stop(self):
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def mark(self):
        self.marked = (self.cpu(), self.counters())

    def settle(self):
        """Waits until what was asked is counted."""

    def gained(self):
        cpu, before = self.marked
        return {"cpu": round(self.cpu() - cpu, 3), **self.since(before)}

    def counters(self):
        return None

    def since(self, _before):
        return {}


class DockerRegistry(Server):
    """Distribution 2.8 over a folder. What it is asked is in its access log."""

    def __init__(self, name, program, root, folder, extra):
        os.makedirs(root, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        configuration = os.path.join(folder, f"{name}.yml")
        with open(configuration, "w", encoding="utf-8") as f:
            json.dump(self.configuration(port, root, extra), f)
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        super().__init__(name, [program, "serve", configuration], os.path.join(folder, f"{name}.log"), environment)
        self.root, self.port = root, port

    @staticmethod
    def configuration(port, root, extra):
        # JSON is YAML, and what has no layers cannot be indented wrongly.
        answer = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {
                "cache": {"blobdescriptor": "inmemory"},
                "filesystem": {"rootdirectory": root, "maxthreads": 200},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": "a secret of this benchmark"},
        }
        if extra.get("tls"):
            answer["http"]["tls"] = {"certificate": extra["tls"].cert, "key": extra["tls"].key}
        if extra.get("token"):
            answer["auth"] = {"token": extra["token"]}
        if extra.get("redirect"):
            answer["middleware"] = {"storage": [{"name": "redirect", "options": {"baseurl": extra["redirect"]}}]}
        return answer

    def begin(self):
        end = time.monotonic() + START_SECONDS
        while self.alive() and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                self.address = f"127.0.0.1:{self.port}"
                return
            except OSError:
                time.sleep(0.02)
        raise NotStarted(f"the registry {self.name} did not start: {self.said()}")

    def digest(self, name):
        """What a tag points at, as it is on disk: no question that an access log has. None where there is nothing."""
        repository, tag = name.rsplit(":", 1)
        link = os.path.join(self.root, "docker/registry/v2/repositories", repository, "_manifests/tags", tag,
                            "current/link")
        try:
            with open(link, encoding="ascii") as f:
                return f.read().strip()
        except OSError:
            return None

    def counters(self):
        return os.path.getsize(self.log)

    def settle(self):
        time.sleep(LOG_SETTLES_SECONDS)

    def since(self, before):
        kinds, sent = measure.requests_since(self.log, before)
        return {"requests": sum(kinds.values()), "kinds": kinds, "bytes_out": sent}


class Rig(Server):
    """A server of benches/rig, which says on its first line where it listens."""

    prefix = b"listening on "

    def __init__(self, name, program, arguments, folder, tls=None):
        self.tls = tls
        more = ["--tls", tls.cert, tls.key] if tls else []
        super().__init__(name, [program, *arguments, *more], os.path.join(folder, f"{name}.log"))

    def begin(self):
        end, line = time.monotonic() + START_SECONDS, b""
        while not line.endswith(b"\n") and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                piece = os.read(self.process.stdout.fileno(), 1)
                if not piece:
                    break
                line += piece
        if not line.startswith(self.prefix):
            raise NotStarted(f"{self.name} did not start: {self.said()}")
        self.address = line.decode().split()[-1]

    def _stdout(self, log):
        return subprocess.PIPE

    def stop(self):
        super().stop()
        self.process.stdout.close()

    def connect(self):
        host, port = self.address.rsplit(":", 1)
        if self.tls:
            context = ssl.create_default_context(cafile=self.tls.authority)
            return http.client.HTTPSConnection(host, int(port), timeout=STATS_SECONDS, context=context)
        return http.client.HTTPConnection(host, int(port), timeout=STATS_SECONDS)

    def ask(self, method, path):
        connection = self.connect()
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


class RigTokens(Rig):
    """The token service, which counts the tokens that it gave."""

    def counters(self):
        return json.loads(self.ask("GET", "/_rig/stats"))

    def since(self, before):
        return {"requests": self.counters()["tokens"] - before["tokens"]}


class RigRegistry(Rig):
    """The registry that costs next to nothing, with its counters."""

    def __init__(self, name, program, arguments, folder, tls=None):
        super().__init__(name, program, ["registry", *arguments], folder, tls)
        self.connection = None

    def digest(self, name):
        """What a tag points at, by HEAD over a connection that is kept; None where there is nothing."""
        repository, tag = name.rsplit(":", 1)
        self.connection = self.connection or self.connect()
        self.connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": "*/*"})
        answer = self.connection.getresponse()
        answer.read()
        return answer.getheader("Docker-Content-Digest") if answer.status == 200 else None

    def gained(self):
        # Whoever looks at tags after this gets a new connection: nobody knows how long the old one lives.
        if self.connection:
            self.connection.close()
        self.connection = None
        return super().gained()

    def reset(self):
        """Empties what was uploaded, and the counters."""
        self.ask("POST", "/_rig/reset")

    def counters(self):
        return json.loads(self.ask("GET", "/_rig/stats"))

    def since(self, before):
        after = self.counters()
        kinds = {key: number - before["requests"].get(key, 0) for key, number in sorted(after["requests"].items())}
        kinds = {key: number for key, number in kinds.items() if number > 0}
        grown = {key: after[key] - before[key] for key in ("bytes_in", "bytes_out", "connections")}
        return {"requests": sum(kinds.values()), "kinds": kinds, **grown}


class Serve(Rig):
    """`consign serve` over a layout, which reads from disk what the rig would hold in memory."""

    prefix = b"http://"

    def __init__(self, name, program, layout, folder):
        super().__init__(name, program, ["serve", layout, "--listen", "127.0.0.1:0"], folder)

    def begin(self):
        super().begin()
        self.address = self.address.removeprefix("http://")


class Certificates:
    """An authority and a certificate for 127.0.0.1 and localhost, made by the rig for this run alone."""

    def __init__(self, program, folder):
        os.makedirs(folder, exist_ok=True)
        subprocess.run([program, "certificate", "--out", folder], check=True, stdout=subprocess.DEVNULL)
        self.authority, self.cert, self.key = (os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key"))


class Servers:
    """All servers of a run: started here, and ended here whatever happens."""

    def __init__(self, programs, folder):
        self.programs, self.folder, self.running = programs, folder, {}
        self._certificates = None

    def certificates(self):
        if self._certificates is None:
            self._certificates = Certificates(self.programs.rig(), os.path.join(self.folder, "certificates"))
        return self._certificates

    def _keep(self, make, name):
        self.stop(name)
        server = self.running[name] = make()
        try:
            server.begin()
        except NotStarted:
            self.stop(name)
            raise
        return server

    def docker(self, name, root, **extra):
        """docker-registry over a folder; in place of the one of that name, if there is one."""
        for left in reversed(range(PORT_TRIES)):
            try:
                return self._keep(lambda: DockerRegistry(name, self.programs["registry"], root, self.folder, extra),
                                  name)
            except NotStarted:
                if left == 0:
                    raise
        raise NotStarted(name)

    def registry(self, name, arguments, tls=None):
        return self._keep(lambda: RigRegistry(name, self.programs.rig(), arguments, self.folder, tls), name)

    def serve(self, name, layout):
        return self._keep(lambda: Serve(name, self.programs["consign"], layout, self.folder), name)

    def rig(self, name, arguments, tls=None, kind=Rig):
        return self._keep(lambda: kind(name, self.programs.rig(), arguments, self.folder, tls), name)

    def stop(self, name):
        server = self.running.pop(name, None)
        if server is not None:
            server.stop()

    def stop_all(self):
        for name in list(self.running):
            self.stop(name)


class Relays:
    """Relays of one kind before servers, each named after the one behind it."""

    def __init__(self, servers, options):
        self.servers, self.options, self.names = servers, options, set()

    def before(self, server):
        """A relay before a server, in place of the one that was there."""
        name = f"relay-{server.name}"
        self.names.add(name)
        return self.servers.rig(name, ["relay", "--to", server.address, *self.options])

    def stop(self):
        for name in self.names:
            self.servers.stop(name)
