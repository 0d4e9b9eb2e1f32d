import os


def handler(event, context):
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    strangers = []
    for pid in pids:
        with open(f"/proc/{pid}/cmdline") as file:
            command = file.read()
        if "pytest" in command or "--data-dir" in command:
            strangers.append(command)
    return {"count": len(pids), "strangers": strangers}
