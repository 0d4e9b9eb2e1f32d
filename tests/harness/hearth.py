"""One Hearth under test: its two processes, its ports, its folder.

    down ──start──► up ──stop──► down            stop asserts a clean drain
                    │ kill_server ──► up          the spawner starts a new one by itself
                    └ kill_spawner, kill_both ──► down      nobody left within two seconds

The data folder outlives start and stop, so a test can start the same Hearth again. Refuses to be
started twice.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

from . import docker, leaks, proc
from .api import Api
from .cli import Cli
from .wait import until

# HEARTH_TEST_READY_WITHIN: more, on a machine that is busy with others.
READY_WITHIN = float(os.environ.get("HEARTH_TEST_READY_WITHIN", "20"))
DRAIN_WITHIN = 30.0
GONE_WITHIN = 2.0


def free_ports(count):
    """Ports that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Hearth:
    def __init__(self, binary, uid=None, arguments=(), environment=None, before_exec=None, output=None, tls=None):
        """`uid`: run `hearth up` and the CLI as that user, by setpriv, with no other groups. `before_exec` runs in
        the new process; `output` is where it prints, instead of a file. `tls`: the context of clients, where both listeners speak it."""
        self.binary = str(Path(binary).resolve())
        self.arguments = list(arguments)
        self.uid, self.tls = uid, tls
        self.tag = uuid.uuid4().hex
        leaks.OWN.add(self.tag)
        # A short path: sockets below it have to fit into 108 bytes. Readable: the server is not root.
        self.base = Path(tempfile.mkdtemp(prefix="ht-"))
        self.base.chmod(0o755)
        self.data, self.temporary = self.base / "data", self.base / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        if uid is not None:
            os.chown(self.base, uid, uid)
        self.port, self.ingress_port = free_ports(2)
        self.log_path = self.base / "up.log"
        self.environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.base),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.temporary),
            "RUST_BACKTRACE": "1",
            leaks.TAG: self.tag,
            "DOCKER_HOST": f"unix://{docker.SOCKET}",
            **(environment or {}),
        }
        self.before_exec, self.printed_to = before_exec, output
        self.process = None
        self.cli, self.api = Cli(self), Api(self)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        # A failing test's own error matters more than how the drain went.
        try:
            if self.running:
                self.stop() if kind is None else self.abandon()
        finally:
            self.discard()

    # === life ===

    def start(self):
        assert not self.running, "this Hearth runs already"
        command = [self.binary, "up", "--data-dir", str(self.data)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--ingress", f"127.0.0.1:{self.ingress_port}"]
        with open(self.printed_to or self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.as_user(command + self.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.base,
                start_new_session=True,
                preexec_fn=self.before_exec,
            )
        try:
            self.wait_ready()
        except AssertionError:
            self.abandon()
            raise
        return self

    def as_user(self, command):
        if self.uid is None:
            return command
        user = str(self.uid)
        return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *command]

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, within=READY_WITHIN):
        def ready():
            code = self.process.poll()
            if code is not None:
                raise RuntimeError(f"`hearth up` ended with status {code}:\n{self.output_tail()}")
            return self.probe("/readyz") == 200

        try:
            until("/readyz to answer 200", ready, within=within)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output_tail()}") from None
        except RuntimeError as error:
            raise AssertionError(str(error)) from None

    def stop(self, within=DRAIN_WITHIN):
        """SIGTERM; asserts status 0 in time and that no process of this Hearth outlives it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise AssertionError(f"no drain within {within:g} s of SIGTERM\n{self.output_tail()}") from None
        assert code == 0, f"`hearth up` drained with status {code}\n{self.output_tail()}"
        self.wait_all_gone()

    def kill_server(self):
        """SIGKILL to the server alone; returns the dead one's pid."""
        pid = self.server_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_server_replaced(self, old, within=READY_WITHIN):
        until("a new server process", lambda: self.server_pid(missing_ok=True) not in (None, old), within=within)
        self.wait_ready(within)

    def kill_spawner(self):
        self._kill(self.process.pid)

    def kill_both(self):
        self._kill(self.server_pid(missing_ok=True), self.process.pid)

    def _kill(self, *pids):
        for pid in pids:
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # the server may have died of its spawner's death already
        self.process.wait(GONE_WITHIN)

    def wait_all_gone(self, within=GONE_WITHIN):
        """Asserts that every process that carries this Hearth's tag is gone."""

        def nobody():
            left = self.tagged()
            assert not left, "still running: " + "; ".join(map(str, left))
            return True

        until("every process of this Hearth to end", nobody, within=within)

    def abandon(self):
        """No manners: for a test that has failed already."""
        for process in [*proc.descendants(self.process.pid), *self.tagged()]:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def discard(self):
        shutil.rmtree(self.base, ignore_errors=True)

    # === looking ===

    @property
    def endpoint(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ingress(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.ingress_port}"

    @property
    def token(self):
        return (self.data / "admin.token").read_text().strip()

    def connection(self, port, timeout=20):
        if self.tls is None:
            return HTTPConnection("127.0.0.1", port, timeout=timeout)
        return HTTPSConnection("127.0.0.1", port, timeout=timeout, context=self.tls)

    def probe(self, path):
        """The status of a GET on the control listener, None when it does not answer."""
        connection = self.connection(self.port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def server_pid(self, missing_ok=False):
        """The process below the spawner that holds the control listener's socket."""

        def find():
            inode = proc.listening_inode(self.port)
            for process in proc.descendants(self.process.pid):
                if inode and f"socket:[{inode}]" in proc.descriptors(process.pid):
                    return process.pid
            return None

        if missing_ok:
            return find()
        return until(f"a server that listens on port {self.port}", find)

    def tagged(self):
        mark = f"{leaks.TAG}={self.tag}".encode()
        return [one for one in proc.everyone().values() if one.state != "Z" and mark in proc.environment(one.pid)]

    def output(self):
        try:
            return self.log_path.read_text(errors="replace")
        except OSError:
            return ""

    def output_tail(self, lines=40):
        return "--- the end of `hearth up`'s output\n" + "\n".join(self.output().splitlines()[-lines:])

    def disk(self):
        """path → size of what is in the data folder, the database's own files left out."""
        found = {}
        for at, _, files in os.walk(self.data):
            for name in files:
                path = Path(at) / name
                if not any(part in name for part in (".db", ".sqlite", "-wal", "-shm", ".log")):
                    try:
                        found[str(path.relative_to(self.data))] = path.stat().st_size
                    except OSError:
                        pass
        return found
