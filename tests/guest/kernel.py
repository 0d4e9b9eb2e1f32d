"""The guest's kernel and its one static program, from Debian's packages, unpacked and not installed."""

import glob
import struct
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "linux-image-cloud-amd64"
LZ4_LEGACY = b"\x02\x21\x4c\x18"


def fetch(cache):
    """Paths of an uncompressed kernel and of busybox; from the network only where the cache has none."""
    vmlinux, busybox = cache / "vmlinux", cache / "busybox"
    if not (vmlinux.exists() and busybox.exists()):
        with tempfile.TemporaryDirectory(prefix="ht-guest-") as folder:
            packages = [_depends(PACKAGE), "busybox-static"]
            subprocess.run(["apt-get", "download", "-qq", *packages], cwd=folder, check=True)
            for package in glob.glob(f"{folder}/*.deb"):
                subprocess.run(["dpkg", "-x", package, f"{folder}/root"], check=True)
            _keep(busybox, Path(folder, "root/bin/busybox").read_bytes())
            (image,) = glob.glob(f"{folder}/root/boot/vmlinuz-*")
            _keep(vmlinux, _payload(Path(image).read_bytes()))
    return vmlinux, busybox


def _depends(meta):
    """The package with the newest kernel in it."""
    said = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends":
            return name
    raise SystemExit(f"apt knows no {meta}: run apt-get update")


def _payload(image):
    """The ELF kernel inside a bzImage: where it lies is in the boot protocol's header."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    # After the stream, its length once unpacked.
    packed, (size,) = image[start : start + length - 4], struct.unpack_from("<I", image, start + length - 4)
    if not packed.startswith(LZ4_LEGACY):
        raise SystemExit(f"this kernel is not packed with LZ4 (it starts with {packed[:4].hex()})")
    kernel = subprocess.run(["lz4", "-dc"], input=packed, stdout=subprocess.PIPE, check=True).stdout
    if len(kernel) != size or not kernel.startswith(b"\x7fELF"):
        raise SystemExit("the unpacked kernel is not what its header says")
    return kernel


def _keep(path, data):
    """All or nothing: an interrupted run must not leave half a kernel."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.chmod(0o755)
    part.rename(path)
