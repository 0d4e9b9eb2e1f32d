"""TLS at both listeners: who is served, what functions see of it, and certificates that change while it runs."""

import ctypes
import json
import socket
import ssl
import statistics
import subprocess
import time
from http.client import HTTPConnection

import pytest

from harness import certificates
from harness.functions import write
from harness.wait import until
from harness.webserver import SERVER
from harness.websocket import Chatter

SAYS = """
def handler(event, context):
    return {"proto": event["headers"]["x-forwarded-proto"], "port": event["headers"]["x-forwarded-port"],
            "host": event["requestContext"]["domainName"]}
"""


def context(cert):
    made = ssl.create_default_context(cafile=str(cert))
    made.set_alpn_protocols(["http/1.1"])
    return made


@pytest.fixture
def secure(new_hearth, tmp_path):
    """A Hearth with a certificate, the place of its pair, and a folder for others."""
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    first = certificates.make(tmp_path / "made", "first", hosts=("localhost", "127.0.0.1", "hearth.test"))
    place = (tmp_path / "cert.pem", tmp_path / "key.pem")
    certificates.put(first, place)
    flags = ["--tls-cert", place[0], "--tls-key", place[1]]
    environment = {"HEARTH_CA_FILE": str(first[0])}
    hearth = new_hearth(arguments=list(map(str, flags)), tls=context(first[0]))
    hearth.cli_environment = environment
    hearth.start()
    return hearth, place, tmp_path / "made", first


def served(port):
    """The certificate that a new connection is shown."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


def text(pair):
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pair[0].read_text()))


def get(hearth, path, headers={}):
    connection = hearth.connection(hearth.ingress_port)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def finding(hearth):
    machine = hearth.api.get("/api/v1/doctor")["machine"]
    return next(one for one in machine if one["subject"] == "TLS")


def test_both_listeners_speak_https_and_functions_see_it(secure, tmp_path):
    hearth, _, _, first = secure
    known = {"environment": hearth.cli_environment}
    files = write(tmp_path / "says", SAYS)
    shown = hearth.cli.ok("deploy", files, "--name", "says", "--json", **known).json()
    assert shown["invoke_url"].startswith(f"{hearth.ingress}/fn/says")
    assert "https://" in hearth.output()
    # HTTP/2 and HTTP/1.1, as the client likes.
    for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
        command = ["curl", "-sS", flag, "--cacert", first[0], "-w", "\n%{http_version}", f"{hearth.ingress}/fn/says/"]
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        body, spoken = ran.stdout.rsplit("\n", 1)
        assert spoken == version
        assert json.loads(body) == {"proto": "https", "port": str(hearth.ingress_port), "host": "127.0.0.1"}
    assert json.loads(get(hearth, "/fn/says/", {"Host": "hearth.test"})[1])["port"] == "443"
    # Its own names are the API's; others are not.
    for host, status in (("hearth.test", 200), ("evil.test", 421)):
        connection = hearth.connection(hearth.port)
        connection.request("GET", "/api/v1/functions", headers={"Host": host, "Authorization": f"Bearer {hearth.token}"})
        assert connection.getresponse().status == status
        connection.close()
    found = finding(hearth)
    assert found["severity"] == "ok" and "hearth.test" in found["state"] and "valid until 20" in found["state"]
    # A stranger's certificate is no Hearth, and who speaks plainly is told so.
    assert "certificate" in hearth.cli.refused("list", environment={"HEARTH_CA_FILE": "/etc/ssl/certs/ca-certificates.crt"}).stderr
    for port in (hearth.port, hearth.ingress_port):
        plain = HTTPConnection("127.0.0.1", port, timeout=10)
        plain.request("POST", "/fn/says/", body=b"x" * 20_000)
        answer = plain.getresponse()
        assert answer.status == 400 and b"https://" in answer.read()
        plain.close()


def test_a_browsers_cookie_goes_over_tls_alone(secure):
    hearth, _, _, _ = secure
    connection = hearth.connection(hearth.port)
    connection.request("POST", "/api/v1/session", body=json.dumps({"token": hearth.token}),
                       headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    assert answer.headers["Set-Cookie"].endswith("; Secure")


def test_websockets_go_over_it(secure, tmp_path):
    hearth, _, _, _ = secure
    files = write(tmp_path / "chat", SERVER)
    hearth.cli.ok("deploy", files, "--name", "chat", "--web", "--handler", "app.py", environment=hearth.cli_environment)
    chatter = Chatter(hearth, "chat")
    chatter.say("over TLS")
    assert "over TLS" in chatter.hear()[1]
    chatter.close()


def test_a_new_certificate_is_taken_while_connections_go_on(secure):
    hearth, place, made, first = secure
    old = hearth.connection(hearth.port)

    def ask():
        old.request("GET", "/readyz")
        answer = old.getresponse()
        answer.read()
        return answer.status

    assert ask() == 200
    second = certificates.make(made, "second", hosts=("127.0.0.1", "other.test"))
    certificates.put(second, place)
    until("the new certificate", lambda: served(hearth.port) == text(second), within=10)
    assert served(hearth.ingress_port) == text(second)
    assert ask() == 200, "the old connection goes on"
    hearth.tls = context(second[0])
    assert "other.test" in finding(hearth)["state"]

    # A key that is another one's: the pair before stays, and everybody who looks is told.
    place[1].write_bytes(first[1].read_bytes())
    found = until("the doctor to say so", lambda: (lambda one: one["severity"] == "missing" and one)(finding(hearth)), within=10)
    assert "is not the one of the certificate" in found["state"] and "other.test" in found["state"]
    assert "the certificate before stays in use" in hearth.output()
    assert served(hearth.port) == text(second) and ask() == 200

    # Nothing there at all, then a whole pair again.
    place[0].unlink()
    until("the missing file to be told", lambda: "No such file" in finding(hearth)["state"], within=10)
    assert served(hearth.port) == text(second)
    certificates.put(first, place)
    until("the first certificate", lambda: served(hearth.port) == text(first), within=10)
    hearth.tls = context(first[0])
    assert finding(hearth)["severity"] == "ok" and ask() == 200


def landlock():
    """The version of Landlock that this kernel has; 0: none."""
    return max(ctypes.CDLL(None).syscall(444, None, 0, 1), 0)


@pytest.mark.skipif(landlock() == 0, reason="this kernel has no Landlock")
def test_files_elsewhere_are_out_of_the_servers_reach(secure, tmp_path_factory):
    """Though every user of this machine may read them: what Landlock holds back, see docs/security.md."""
    hearth, place, _, first = secure
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    elsewhere.chmod(0o755)
    pair = (elsewhere / "cert.pem", elsewhere / "key.pem")
    certificates.put(certificates.make(elsewhere / "made", "second"), pair)
    place[0].unlink()
    place[0].symlink_to(pair[0])
    until("the doctor to say so", lambda: "Permission denied" in finding(hearth)["state"], within=10)
    assert served(hearth.port) == text(first)
    certificates.put(first, place)
    until("the pair to be whole again", lambda: finding(hearth)["severity"] == "ok", within=10)
    assert "one wall less" not in hearth.output()


def test_handshakes_that_stall_hold_up_nobody(secure, tmp_path):
    hearth, _, _, _ = secure
    hearth.cli.ok("deploy", write(tmp_path / "says", SAYS), "--name", "says", environment=hearth.cli_environment)
    get(hearth, "/fn/says/")

    def median():
        times = []
        for _ in range(15):
            began = time.monotonic()
            assert get(hearth, "/fn/says/")[0] == 200
            times.append(time.monotonic() - began)
        return statistics.median(times)

    alone = median()
    began = time.monotonic()
    stalled = []
    for number in range(500):
        one = socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=30)
        # Half say nothing, half begin.
        if number % 2:
            one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        stalled.append(one)
    beside = median()
    assert time.monotonic() - began < 9, "they are still stalled"
    print(f"median of a request with a handshake of its own: {alone * 1e3:.1f} ms alone, {beside * 1e3:.1f} ms beside 500")
    assert beside < 5 * alone + 0.05
    # Nobody may stall for ever.
    for one in stalled:
        one.settimeout(max(1, began + 20 - time.monotonic()))
        try:
            while one.recv(100):
                pass
        except ConnectionError:
            pass
        one.close()
    assert time.monotonic() - began < 20


def test_the_ingress_alone_may_speak_it(new_hearth, tmp_path):
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    cert, key = certificates.make(tmp_path)
    hearth = new_hearth(environment={"HEARTH_TLS_CERT": str(cert), "HEARTH_TLS_KEY": str(key), "HEARTH_TLS_ONLY": "ingress"})
    hearth.start()
    hearth.cli.ok("deploy", write(tmp_path / "says", SAYS), "--name", "says")
    command = ["curl", "-sS", "--cacert", str(cert), f"https://localhost:{hearth.ingress_port}/fn/says/"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["proto"] == "https"


@pytest.mark.parametrize("change, words", [
    ("no key", ["--tls-key"]),
    ("absent", ["No such file"]),
    ("another's", ["is not the one of the certificate"]),
    ("no pem", ["holds no certificate", "BEGIN CERTIFICATE"]),
    ("closed", ["Permission denied", "the server runs as user"]),
])
def test_a_pair_that_cannot_be_used_is_named_at_the_start(binary, tmp_path, change, words):
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    cert, key = certificates.make(tmp_path, "one")
    flags = ["--tls-cert", str(cert), "--tls-key", str(key)]
    if change == "no key":
        flags = flags[:2]
    elif change == "absent":
        key.unlink()
    elif change == "another's":
        flags[3] = str(certificates.make(tmp_path, "two")[1])
    elif change == "no pem":
        cert.write_text("certificate\n")
    else:
        key.chmod(0o600)
    command = [str(binary), "up", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0"]
    ran = subprocess.run(command + flags, capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0
    for word in words:
        assert word in ran.stderr, ran.stderr
