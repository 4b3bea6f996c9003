"""Every test of this folder runs once against each chain that is at hand."""

from collections.abc import Iterator

import pytest

from tests.contract.subnet import LONG_TEMPO, TEMPO, Subnet, build
from tests.contract.targets import Target, devnode, endpoint, runtime

TARGETS = ("devnode-300", "devnode-425", "runtime", "endpoint")


@pytest.fixture(scope="session", params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    if request.param == "runtime":
        opened = runtime()
    elif request.param == "endpoint":
        opened = endpoint()
    else:
        opened = devnode(int(request.param.removeprefix("devnode-")), tmp_path_factory.mktemp("chain"))
    with opened as found:
        yield found


@pytest.fixture(scope="session")
def subnet(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Subnet:
    return build(target, tmp_path_factory.mktemp("pending"))


@pytest.fixture
def long_epoch(subnet: Subnet) -> Iterator[None]:
    """An epoch that has just begun and is long enough that it does not end by itself."""
    subnet.set("tempo", LONG_TEMPO if subnet.target.makes_blocks else 2 * TEMPO)
    subnet.pass_epoch()
    subnet.pass_blocks(1)
    yield
    subnet.set("tempo", TEMPO)
