import os
import stat

HARMLESS = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}


def handler(event, context):
    if event == "works":
        return "works" if os.path.exists("/dev/null") and os.path.exists("/dev/urandom") else "missing"
    found = []
    for at, _, names in os.walk("/dev"):
        for name in names:
            mode = os.lstat(os.path.join(at, name)).st_mode
            if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and name not in HARMLESS:
                found.append(os.path.join(at, name))
    return found
