import pytest

from conformance.oracle import Oracle


@pytest.fixture(scope="session")
def oracle(hearth):
    watching = Oracle(hearth)
    yield watching
    watching.check()
    watching.close()
