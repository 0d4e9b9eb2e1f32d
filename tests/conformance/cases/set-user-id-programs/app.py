import os
import stat
import subprocess


def handler(event, context):
    gained, without_nosuid = [], []
    for name in ("su", "mount", "passwd", "newgrp", "sudo"):
        path = f"/usr/bin/{name}"
        if not os.path.exists(path) or not os.stat(path).st_mode & stat.S_ISUID:
            continue
        if not os.statvfs(path).f_flag & os.ST_NOSUID:
            without_nosuid.append(path)
    subprocess.run(["cp", "/usr/bin/id", "/tmp/id"], check=True)
    os.chmod("/tmp/id", 0o4755)
    uid = subprocess.run(["/tmp/id", "-u"], capture_output=True, text=True).stdout.strip()
    if uid != str(os.getuid()):
        gained.append(f"became {uid}")
    return {"gained": gained, "without_nosuid": without_nosuid}
