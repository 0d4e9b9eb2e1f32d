import os


def handler(event, context):
    files = ["/etc/shadow", "/etc/sudoers", "/proc/1/root/etc/shadow", event["canary"], event["data"] + "/admin.token"]
    found = [path for path in files if readable(path)]
    for folder in ("/root", "/home", "/var/lib", "/boot", "/mnt", "/srv", "/run", "/run/secrets", event["data"]):
        try:
            found += [os.path.join(folder, name) for name in os.listdir(folder)]
        except OSError:
            pass
    # A folder of the sandbox's own, for secrets as files; what is in it was looked at above.
    return [path for path in found if path != "/run/secrets"]


def readable(path):
    try:
        with open(path, "rb") as file:
            file.read(1)
        return True
    except OSError:
        return False
