"""Certificates that the tests make themselves, by the machine's openssl."""

import os
import subprocess


def make(folder, name="first", hosts=("localhost", "127.0.0.1"), days=30):
    """A certificate that is its own root, and its key: their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    names = ",".join(("IP:" if host.replace(".", "").isdigit() else "DNS:") + host for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-keyout", key, "-out", cert, "-days", str(days), "-subj", f"/CN={name}",
               "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    # The server is another user than root.
    key.chmod(0o644)
    return cert, key


def put(pair, place):
    """Puts a pair where another is, each file at once, as those who renew certificates do."""
    for source, target in zip(pair, place):
        beside = target.with_name(target.name + ".new")
        beside.write_bytes(source.read_bytes())
        beside.chmod(0o644)
        os.replace(beside, target)
