"""Fixtures: `runtime` (each runtime in turn), `host` (a bootstrap just started), `spawn` (several)."""

from dataclasses import replace

import pytest

import java as jdk
from fakehost import Host
from runtimes import BY_NAME, RUNTIMES, STEMS


@pytest.fixture(params=RUNTIMES + STEMS, ids=lambda runtime: runtime.name + ("-stem" if runtime.stem else ""))
def runtime(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["", "stem"])
def python(request):
    return replace(BY_NAME["python"], stem=request.param)


@pytest.fixture(params=[False, True], ids=["", "stem"])
def node(request):
    return replace(BY_NAME["node"], stem=request.param)


@pytest.fixture(params=[False, True], ids=["", "stem"])
def java(request):
    if jdk.missing():
        pytest.skip(f"{jdk.missing()}: the Java runtime is not tested")
    return replace(BY_NAME["java"], stem=request.param)


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
