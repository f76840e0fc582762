"""`holdfast log large-input`, as an operator runs it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from holdfast.cli.app import root
from holdfast.clock import SystemClock
from holdfast.prediction_log import SpoolWriter
from holdfast.privacy import (
    MASTER_KEY_VARIABLE,
    PSEUDONYM_KEY_VARIABLE,
    MasterKeyError,
    PredictionRecord,
    open_redactor,
)
from holdfast.spec import Deployment

PHOTOS = np.arange(2 * 3 * 40 * 40, dtype=np.float32).reshape(2, 3, 40, 40)
T0_US = 1_780_000_000_000_000
SOUNDS = np.arange(2 * 8000, dtype=np.float32).reshape(2, 8000)


def make(folder: Path, environ: Mapping[str, str], privacy: str = "") -> Path:
    """A log with two predictions, each of a photo and a sound."""
    (folder / "holdfast.toml").write_text(f'[model]\nname = "cracks"\n{privacy}')
    deployment = Deployment.open(folder, {})
    writer = SpoolWriter(deployment.log_folder, deployment="cracks", replica="w0", clock=SystemClock())
    record = PredictionRecord(
        model_version="1",
        arm="champion",
        prediction_ids=["a", "b"],
        times_us=[T0_US, T0_US],
        latency_us=[250, 250],
        inputs={},
        context={"who": ["ann", "bob"]} if privacy else {},
        prediction=[0, 1],
        large={"photo": PHOTOS, "sound": SOUNDS},
    )
    with closing(open_redactor(deployment.checklist.privacy, folder, environ, SystemClock())) as redactor:
        writer.append(redactor.redact(record))
    writer.close()
    return folder


def run(folder: Path, *arguments: str, environ: Mapping[str, str | None] | None = None) -> Result:
    return CliRunner(env=environ).invoke(
        root,
        ["log", "large-input", *arguments, "-C", str(folder)],
        standalone_mode=False,
        catch_exceptions=False,
    )


def test_it_writes_the_array_of_a_prediction_and_of_a_hash_and_the_audit_tells_of_both(
    tmp_path: Path,
) -> None:
    folder, target = make(tmp_path, {}), tmp_path / "one.npy"
    told = json.loads(run(folder, "b", str(target), "--input", "photo", "--json").output)
    assert (told["input"], told["dtype"], told["shape"]) == ("photo", "float32", [3, 40, 40])
    np.testing.assert_array_equal(np.load(target), PHOTOS[1])
    target.unlink()
    assert "Wrote photo" in run(folder, told["hash"], str(target)).output
    np.testing.assert_array_equal(np.load(target), PHOTOS[1])
    shown = CliRunner().invoke(root, ["audit", "show", "--json", "-C", str(folder)], standalone_mode=False)
    entries = json.loads(shown.output)
    assert [(one["action"], one["target"]) for one in entries] == [("read.rows", "log large-input")] * 2
    assert all(one["detail"] == {"input": "photo", "hash": told["hash"]} for one in entries)


def test_what_is_not_one_large_input_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    folder, target = make(tmp_path, {}), tmp_path / "one.npy"
    wrong: dict[tuple[str, ...], str] = {
        ("nobody", str(target)): "neither the id of a prediction",
        ("b", str(target)): "--input, one of photo, sound",
        ("b", str(target), "--input", "smell"): "none of photo, sound",
        ("b", str(tmp_path / "one.png"), "--input", "photo"): "must end in .npy",
    }
    for arguments, words in wrong.items():
        with pytest.raises(click.UsageError) as raised:
            run(folder, *arguments)
        assert words in raised.value.format_message()
    assert not target.exists()


def test_a_sealed_one_opens_with_the_master_key_and_with_no_other(tmp_path: Path) -> None:
    environ = {MASTER_KEY_VARIABLE: secrets.token_hex(32), PSEUDONYM_KEY_VARIABLE: secrets.token_hex(32)}
    privacy = '[privacy]\nsubject_field = "who"\nfields = { photo = "sensitive" }\n'
    privacy += 'field_actions = { photo = "encrypt" }\n'
    folder, target = make(tmp_path, environ, privacy), tmp_path / "one.npy"
    run(folder, "a", str(target), "--input", "photo", environ=environ)
    np.testing.assert_array_equal(np.load(target), PHOTOS[0])
    with pytest.raises(MasterKeyError, match="master key"):
        run(folder, "a", str(target), "--input", "photo", environ={MASTER_KEY_VARIABLE: None})
    other = {**environ, MASTER_KEY_VARIABLE: secrets.token_hex(32)}
    with pytest.raises(MasterKeyError, match="not the master key"):
        run(folder, "a", str(target), "--input", "photo", environ=other)
