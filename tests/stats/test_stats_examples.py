"""Every example in a docstring is executed, and every public function has one."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from importlib import import_module

import pytest

from holdfast import stats

MODULES = sorted(module.name for module in pkgutil.iter_modules(stats.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    found = doctest.testmod(import_module(f"holdfast.stats.{name}"))
    assert found.failed == 0


@pytest.mark.parametrize("name", [name for name in stats.__all__ if inspect.isfunction(getattr(stats, name))])
def test_every_public_function_has_an_example(name: str) -> None:
    assert doctest.DocTestFinder(recurse=False).find(getattr(stats, name))[0].examples
