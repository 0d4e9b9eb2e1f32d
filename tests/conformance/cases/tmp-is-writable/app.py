import os
import subprocess


def handler(event, context):
    kept = os.path.exists("/tmp/folder/script")
    os.makedirs("/tmp/folder", exist_ok=True)
    with open("/tmp/folder/script", "w") as file:
        file.write("#!/bin/sh\necho hello\n")
    os.chmod("/tmp/folder/script", 0o755)
    ran = subprocess.run(["/tmp/folder/script"], capture_output=True, text=True)
    return {"read": ran.stdout.strip(), "status": ran.returncode, "kept": kept}
