"""Which deployment a path is for, before anything else of the request is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from holdfast.clock import SystemClock
from holdfast.infer import DataPlane, UnknownModelError
from holdfast.serve.service import Service
from holdfast.serve.services import Services
from holdfast.spec import parse_checklist
from holdfast.telemetry import ServiceCounts

Make = Callable[..., Services]


@pytest.fixture(name="make", scope="module")
def make_in_loop() -> Iterator[Make]:
    loop = asyncio.new_event_loop()

    def make(*names: str) -> Services:
        async def inside() -> Services:
            clock = SystemClock()
            return Services(
                [
                    Service(
                        parse_checklist(f'[model]\nname = "{name}"\n', source="test"),
                        DataPlane(None, None, clock),
                        ServiceCounts(),
                        clock,
                    )
                    for name in names
                ]
            )

        return loop.run_until_complete(inside())

    yield make
    loop.close()


@pytest.mark.parametrize(
    ("asked", "name", "path"),
    [
        (b"/deployments/a.b/predict", "a.b", b"/predict"),
        (b"/deployments/a%2Eb/predict?x=/1", "a.b", b"/predict?x=/1"),
        (b"/deployments/a", "a", b"/"),
        (b"/deployments/a/", "a", b"/"),
        (b"/deployments/a?x=1", "a", b"/?x=1"),
        (b"/deployments/a/v2/models/a.b/infer", "a", b"/v2/models/a.b/infer"),
        (b"/deployments/a/deployments/a.b/predict", "a", b"/deployments/a.b/predict"),
        (b"/v2/models/a", "a", b"/v2/models/a"),
        (b"/v2/models/a.b?x=1", "a.b", b"/v2/models/a.b?x=1"),
        (b"/v2/models/a.b/versions/3/infer", "a.b", b"/v2/models/a.b/versions/3/infer"),
        (b"/v1/models/a.b:predict", "a.b", b"/v1/models/a.b:predict"),
        (b"/v1/models/a/versions/2:predict", "a", b"/v1/models/a/versions/2:predict"),
        (b"/v2/repository/models/a/load", "a", b"/v2/repository/models/a/load"),
        (b"/v2/repository/index", None, b"/v2/repository/index"),
        (b"/v2/models/A/infer", None, b"/v2/models/A/infer"),
        (b"/v2/models/", None, b"/v2/models/"),
        (b"/deployments/", None, b"/deployments/"),
        (b"/deployments/\xff/predict", None, b"/deployments/\xff/predict"),
        (b"/predict", None, b"/predict"),
        (b"/", None, b"/"),
        (b"", None, b""),
    ],
)
def test_a_path_is_for_the_deployment_that_it_names_and_for_no_other(
    make: Make, asked: bytes, name: str | None, path: bytes
) -> None:
    services = make("a", "a.b")
    found, rest = services.choose(asked)
    assert (None if found is None else found.name, rest) == (name, path)


@pytest.mark.parametrize(
    "asked", [b"/predict", b"/v2/models/other/infer", b"/deployments/other/predict", b"/"]
)
def test_a_lone_deployment_gets_every_path_as_it_is(make: Make, asked: bytes) -> None:
    services = make("a")
    assert services.choose(asked) == (services.first, asked)


def test_a_service_of_several_is_ready_when_all_are_that_are_not_unloaded(make: Make) -> None:
    services = make("a", "b")
    found = [services.ready]
    for one in services.all:
        one.withdraw()
        found.append(services.ready)
    services.drain()
    assert [*found, services.ready] == [False, False, True, False]


def test_an_unloaded_model_says_how_it_comes_back(make: Make) -> None:
    services = make("a", "b")
    services.first.withdraw()
    with pytest.raises(UnknownModelError, match="POST /v2/repository/models/a/load"):
        services.first.endpoint()
