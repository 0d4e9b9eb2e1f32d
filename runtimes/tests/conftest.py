"""Fixtures: `runtime` (each runtime in turn), `host` (a bootstrap just started), `spawn` (several)."""

import pytest

from fakehost import Host
from runtimes import BY_NAME, RUNTIMES


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.name)
def runtime(request):
    return request.param


@pytest.fixture
def python():
    return BY_NAME["python"]


@pytest.fixture
def node():
    return BY_NAME["node"]


@pytest.fixture
def spawn():
    hosts = []

    def start(runtime, **options):
        hosts.append(Host(runtime, **options))
        return hosts[-1]

    yield start
    for host in hosts:
        host.kill()


@pytest.fixture
def host(runtime, spawn):
    return spawn(runtime)


@pytest.fixture
def folder(tmp_path):
    """Writes the files of a function: folder({"app.py": "..."}) gives its task root."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write
