"""What an input of arrays is: by its shape, by its name, and in the end by the checklist."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.artifact import ArtifactError, Column, Signature, Tensor
from holdfast.artifact.block_kinds import with_block_kinds


def signature(
    name: str, shape: tuple[int, ...], dtype: Any = "float32", kind: Any = "embedding"
) -> Signature:
    return Signature(
        columns=(
            Column(name=name, dtype=dtype, kind=kind, shape=shape),
            Column(name="shift", dtype="int64", kind="numeric"),
        ),
        inputs=(Tensor(name=name, dtype=dtype, shape=(-1, *shape), columns=(name,)),),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
        task="regression",
        prediction_output="y",
    )


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "kind"),
    [
        ("image", (16, 16), "float32", "image"),
        ("part_photo", (28, 28, 1), "float32", "image"),
        ("readings", (16, 16), "float32", "embedding"),
        ("readings", (16, 16), "uint8", "image"),
        ("image_vector", (512,), "float32", "embedding"),
        ("image_pair", (2, 512), "float32", "embedding"),
        ("audio", (16000,), "float32", "audio"),
        ("vector", (16000,), "float32", "embedding"),
    ],
)
def test_a_name_decides_where_a_shape_does_not(
    name: str, shape: tuple[int, ...], dtype: str, kind: str
) -> None:
    found, notes = with_block_kinds(signature(name, shape, dtype), {})
    assert found.columns[0].kind == kind
    assert len(notes) == 1
    assert name in notes[0]
    assert found.columns[1].kind == "numeric"


def test_the_checklist_has_the_last_word_and_needs_no_note() -> None:
    found, notes = with_block_kinds(signature("image", (16, 16)), {"image": "embedding"})
    assert (found.columns[0].kind, notes) == ("embedding", ())
    found, _ = with_block_kinds(signature("window", (400,)), {"window": "audio"})
    assert found.columns[0].kind == "audio"


def test_what_a_shape_has_said_stays() -> None:
    found, _ = with_block_kinds(signature("x", (3, 8, 8), kind="image"), {})
    assert found.columns[0].kind == "image"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"picture": "image"}, "no input of that name"),
        ({"shift": "embedding"}, "no input of that name"),
        ({"scan": "audio"}, "no sounds"),
    ],
)
def test_a_kind_that_cannot_be_is_refused_with_the_column(said: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        with_block_kinds(signature("scan", (16, 16)), said)
    assert str(next(iter(said))) in str(caught.value.where)
