"""What `import holdfast` offers, and nothing else."""

from __future__ import annotations

import pytest

import holdfast


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_exported_name_is_there_and_documented(name: str) -> None:
    assert getattr(holdfast, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_this"):
        holdfast.nothing_like_this  # noqa: B018 - the access is the test


def test_dir_lists_what_is_exported() -> None:
    assert dir(holdfast) == sorted(holdfast.__all__)
