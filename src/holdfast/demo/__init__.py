"""Room `demo`: the whole loop once, against a world whose truth is known."""

from holdfast.demo.report import DemoReport
from holdfast.demo.run import DemoError, run_demo
from holdfast.demo.service import ServiceError
from holdfast.demo.traffic import TrafficError
from holdfast.demo.world import Truth, World, WorldSettings, make_world

__all__ = [
    "DemoError",
    "DemoReport",
    "ServiceError",
    "TrafficError",
    "Truth",
    "World",
    "WorldSettings",
    "make_world",
    "run_demo",
]
