import subprocess

TRIES = {
    "mount": ["mount", "-t", "tmpfs", "none", "/tmp"],
    "bind": ["mount", "--bind", "/usr", "/tmp"],
    "umount": ["umount", "-l", "/proc"],
    "unshare": ["unshare", "--user", "--map-root-user", "true"],
    "unshare-mount": ["unshare", "--mount", "true"],
    "nsenter": ["nsenter", "--target", "1", "--mount", "true"],
    "chroot": ["chroot", "/usr", "true"],
    "mknod": ["mknod", "/tmp/device", "c", "1", "1"],
    "hostname": ["hostname", "mine"],
    "date": ["date", "-s", "2001-01-01"],
}


def handler(event, context):
    if event == "works":
        return "works"
    worked = []
    for name, command in TRIES.items():
        try:
            if subprocess.run(command, capture_output=True, timeout=2).returncode == 0:
                worked.append(name)
        except (OSError, subprocess.TimeoutExpired):
            pass
    return worked
