"""A diagnosis as Markdown, HTML and in a notebook says what it holds and lets no name through as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from small_worlds import NAMES, current, reference, since_onset

from holdfast.monitor import Diagnosis, diagnose
from holdfast.monitor.features import Feature
from holdfast.monitor.picture import pictures

HOSTILE = "<script>alert(1)</script>|*a*"


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    effect = np.where(since_onset(), -1.0, 1.0)
    old, new = reference(), current(effect=effect)
    old[HOSTILE], new[HOSTILE] = old["age"] * 1.0, new["age"] + 3.0
    return diagnose(old, new, options=True, **NAMES)


def test_markdown_holds_the_verdict_each_column_and_the_options(found: Diagnosis) -> None:
    text = found.to_markdown()
    assert text.startswith(f"## {found.verdict.capitalize()}\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(found.features) + len(found.options) + 4
    assert all(len(re.findall(r"(?<!\\)\|", row)) in {3, 4} for row in rows)
    assert "<script>" not in text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_loads_nothing_runs_nothing_and_says_everything(found: Diagnosis) -> None:
    page = _Tags()
    page.feed(found.to_html())
    assert "script" not in page.tags
    assert page.tags.count("svg") == 2
    for words in (found.summary, *found.advice, *found.notes, *(one.name for one in found.features)):
        assert words in page.text


def test_a_notebook_shows_the_same_without_a_page(found: Diagnosis) -> None:
    fragment = found._repr_html_()
    assert fragment in found.to_html()
    assert "<html" not in fragment


def test_the_pictures_are_xml_and_cross_the_alarm_where_the_windows_do(found: Diagnosis) -> None:
    evidence, quality = (ET.fromstring(one) for one in pictures(found))
    assert evidence.get("aria-label") == "Evidence by window"
    assert str(quality.get("aria-label")).endswith("by window")
    paths = [(one.get("class"), one.get("stroke"), str(one.get("d"))) for one in evidence.iter("path")]
    level = float(next(d for kind, _, d in paths if kind == "level").split()[1].partition("H")[0])
    concept = next(d for kind, stroke, d in paths if (kind, stroke) == ("line", "#d55e00"))
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", concept)]
    raised = [window.log_e_concept is not None and window.log_e_concept >= 1 for window in found.windows]
    assert [height <= level + 0.05 for height in heights] == raised


def test_one_window_or_none_has_no_picture(found: Diagnosis) -> None:
    import msgspec

    assert pictures(msgspec.structs.replace(found, windows=found.windows[:1])) == []
    assert "<svg" not in msgspec.structs.replace(found, windows=()).to_html()


def test_the_printed_verdict_says_how_many_columns_it_leaves_out(found: Diagnosis) -> None:
    many = msgspec.structs.replace(found, features=found.features[:1] * 11)
    assert "  - and 3 more, which `features` holds\n" in str(many)
    assert "more, which" not in str(msgspec.structs.replace(found, features=found.features[:1] * 8))


def test_work_grows_with_the_columns_in_alarm_not_with_their_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    real = Feature.quantile

    def counted(feature: Feature, counts: NDArray[np.int64], share: float) -> float:
        asked.append(feature.name)
        return real(feature, counts, share)

    monkeypatch.setattr(Feature, "quantile", counted)
    rng = np.random.default_rng(0)
    calls = []
    for columns in (5, 20):
        asked.clear()
        names = [f"x{number}" for number in range(columns)]
        before, after = rng.normal(0, 1, (1000, columns)), rng.normal(1, 1, (1000, columns))
        diagnosis = diagnose(pd.DataFrame(before, columns=names), pd.DataFrame(after, columns=names))
        assert len({one.name for one in diagnosis.features if one.of_column}) == columns
        calls.append(len(asked))
    assert calls[1] <= 5 * calls[0]
