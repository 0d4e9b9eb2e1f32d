def prepare():
    raise PermissionError("no entry")


prepare()
