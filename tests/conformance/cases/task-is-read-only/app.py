import os

PLACES = ("/var/task", "/var/runtime", "/usr", "/usr/bin", "/etc", "/", "/proc", "/sys", "/dev")


def handler(event, context):
    written = []
    for place in PLACES:
        try:
            with open(os.path.join(place, "planted"), "w") as file:
                file.write("x")
            written.append(place)
        except OSError:
            pass
    try:
        os.chmod("/var/task/app.py", 0o777)
        written.append("mode of app.py")
    except OSError:
        pass
    try:
        os.unlink("/var/task/app.py")
        written.append("app.py removed")
    except OSError:
        pass
    return {"written": written}
