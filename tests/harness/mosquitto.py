"""An MQTT broker of a test's own: Debian's mosquitto, on a free port, with its session state on disk."""

import shutil
import signal
import socket
import subprocess

import pytest

from harness.wait import until


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Mosquitto:
    def __init__(self, folder, password=None):
        self.program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        if not self.program or not shutil.which("mosquitto_pub"):
            pytest.skip("no mosquitto here: apt-get install mosquitto mosquitto-clients")
        self.port, self.folder, self.process = free_port(), folder, None
        folder.mkdir()

        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root",  # started by root it would go on as its own user, who may not read a test's folders
            "log_type all",
            "persistence true",
            f"persistence_location {folder}/",
            # Saved at every change: what was acknowledged to a publisher is on disk.
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 1000",
            f"allow_anonymous {'false' if password else 'true'}",
        ]
        if password:
            file = folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-c", "-b", file, *password], check=True, capture_output=True)
            file.chmod(0o644)
            lines.append(f"password_file {file}")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self):
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [self.program, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=subprocess.STDOUT
        )
        until("the broker to listen", self._listens, within=10, every=0.05)
        return self

    def _listens(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(10)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def publish(self, topic, payload, *options):
        """With QoS 1: the broker has it when this returns true."""
        command = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", topic, "-s", *options]
        done = subprocess.run(command, input=payload if isinstance(payload, bytes) else payload.encode(), timeout=20,
                              capture_output=True)
        return done.returncode == 0

    def publish_lines(self, topic, lines):
        """Each line a message with QoS 1; true when the broker has acknowledged all of them."""
        command = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", topic, "-l"]
        text = "".join(f"{line}\n" for line in lines)
        try:
            done = subprocess.run(command, input=text.encode(), timeout=60, capture_output=True)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and not done.stderr


def wait_connected(source, within=40):
    """`source` gives the state that Hearth tells."""
    until("the source to be connected", lambda: source()["state"] == "running", within=within, every=0.1)
