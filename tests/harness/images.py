"""Images made of this machine's own files, and a registry to pull them from. Standard library, docker-registry, skopeo."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from .wait import until

USER, PASSWORD = "puller", "kept in no log"
# htpasswd -nbB puller 'kept in no log'
HTPASSWD = "puller:$2b$05$abcdefghijklmnopqrstuuVK1R1s6Ge0MDqHOdCf3NRl6g23p6Ldy\n"

PYTHON = "/usr/bin/python3.11"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def missing():
    """Why there can be no images here; None if there can."""
    for program in ("docker-registry", "skopeo", "ldd"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None if Path(PYTHON).exists() else f"{PYTHON} is not installed"


def libraries(program):
    """What the loader loads for a program, itself among it."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return sorted({word for word in text.split() if word.startswith("/")})


def python_layer():
    """A Python at /opt/py, where no host has one: path → bytes, or a link as text."""
    files = {"opt/py/bin/python3.11": Path(PYTHON).read_bytes(), "opt/py/bin/python3": "python3.11"}
    for library in libraries(PYTHON):
        files[library.lstrip("/")] = Path(library).read_bytes()
    standard = Path("/usr/lib/python3.11")
    for folder, names, found in os.walk(standard):
        names[:] = [n for n in names if n not in ("__pycache__", "test", "idlelib", "lib2to3", "ensurepip")
                    and not n.startswith("config-") and n != "dist-packages"]
        for name in found:
            path = Path(folder) / name
            if path.suffix in (".py", ".so") and path.is_file():
                files["opt/py/lib/python3.11/" + str(path.relative_to(standard))] = path.read_bytes()
    return files


def layer(files):
    """A packed layer; files are text (links) or bytes, folders come by themselves."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        made = set()
        for path, content in sorted(files.items()):
            parts = path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in made:
                    made.add(folder)
                    info = tarfile.TarInfo(folder)
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
            info = tarfile.TarInfo(path)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def layout(folder, layers, config, tag="latest"):
    """Writes an OCI layout of these layers (each a dict of files) and returns its path."""
    folder = Path(folder)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    packed, ids = [], []
    for files in layers:
        data = layer(files)
        ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        packed.append(blob(gzip.compress(data, 1, mtime=0), "layer.v1.tar+gzip"))
    document = {
        "architecture": ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": ids},
    }
    described = blob(json.dumps(document).encode(), "config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described,
        "layers": packed,
    }
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder, entry["digest"]


class Registry:
    """A registry of the test's own, on loopback, that wants a password."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        (self.folder / "htpasswd").write_text(HTPASSWD)
        (self.folder / "config.yml").write_text(
            "version: 0.1\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/data}}}}\n"
            f"http: {{addr: '{self.host}'}}\n"
            f"auth: {{htpasswd: {{realm: test, path: {self.folder}/htpasswd}}}}\n"
            "log: {level: warn, accesslog: {disabled: true}}\n"
        )
        self.process = None

    def __enter__(self):
        log = open(self.folder / "log", "ab")
        command = ["docker-registry", "serve", str(self.folder / "config.yml")]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until("the registry to answer", self.answers)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)

    def answers(self):
        try:
            urllib.request.urlopen(f"http://{self.host}/v2/", timeout=5)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True

    def push(self, folder, name, tag="latest"):
        """Pushes a layout's image and returns its reference."""
        reference = f"{self.host}/{name}"
        command = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false",
                   "--dest-creds", f"{USER}:{PASSWORD}", f"oci:{folder}:{tag}", f"docker://{reference}"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return reference
