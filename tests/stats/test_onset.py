"""Onsets and shapes on levels whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats import Visit, change_shape, estimate_onset, find_visits, shape_odds


@pytest.mark.parametrize("onset", [0, 5, 30, 58])
def test_a_clear_change_is_dated_to_its_window(onset: int) -> None:
    z = np.random.default_rng(onset).normal(size=(60, 3))
    z[onset:] += 6
    found = estimate_onset(z)
    assert found.earliest <= onset <= found.latest
    assert found.estimate == onset


def test_the_interval_of_a_weak_change_holds_the_truth_nearly_always() -> None:
    random = np.random.default_rng(8)
    held = 0
    for _ in range(200):
        z = random.normal(size=(60, 1))
        z[30:] += 1.5
        found = estimate_onset(z)
        held += found.earliest <= 30 <= found.latest
    # 99 % by the chi-square approximation; discreteness and the neighbouring stretch cost a little.
    assert held >= 180


def test_a_stronger_change_has_a_narrower_interval() -> None:
    widths = []
    for size in (1.0, 4.0):
        z = np.zeros((40, 1))
        z[20:] = size
        found = estimate_onset(z)
        widths.append(found.latest - found.earliest)
    assert widths[1] < widths[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_step_is_sudden_and_a_noisy_ramp_is_gradual(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = random.normal(size=80)
    step, ramp = (
        np.r_[np.zeros(40), np.full(40, 8.0)],
        np.r_[np.zeros(30), np.linspace(0, 8, 40), np.full(10, 8)],
    )
    assert change_shape(step + noise) == "sudden"
    assert change_shape(ramp + noise) == "gradual"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [8.0, 16.0])
@pytest.mark.parametrize("length", [10, 15, 23])
def test_a_ramp_late_in_a_long_record_is_gradual(seed: int, size: float, length: int) -> None:
    time = np.arange(120)
    ramp = size * np.clip((time - 90) / length, 0, 1)
    step = size * (time >= 90)
    noise = np.random.default_rng(seed).normal(size=120)
    assert change_shape(ramp + noise) == "gradual"
    assert change_shape(step + noise) == "sudden"


def test_few_windows_after_the_onset_cannot_tell() -> None:
    assert change_shape(np.r_[np.zeros(30), np.full(3, 9.0)]) == "too early to tell"


def test_one_window_cannot_tell() -> None:
    assert change_shape(np.array([5.0])) == "too early to tell"


def _level(random: np.random.Generator, onset: float, length: float, after: int, height: float) -> np.ndarray:
    time = np.arange(int(onset + length) + after)
    noise = random.normal(size=len(time))
    series: np.ndarray = height * np.clip((time - onset) / max(length, 1.0), 0, 1) + noise
    return series


@pytest.mark.parametrize("height", [3.0, 4.0, 6.0])
def test_a_shape_that_is_said_is_right_in_nineteen_of_twenty(height: float) -> None:
    random = np.random.default_rng(int(height * 10))
    wrong = said = 0
    for _ in range(60):
        onset, after = random.uniform(3, 60), int(random.integers(8, 40))
        length = float(np.exp(random.uniform(np.log(10), np.log(50))))
        for truth, series in (
            ("gradual", _level(random, onset, length, after, height)),
            ("sudden", _level(random, onset, 0.0, after, height)),
        ):
            shape = change_shape(series)
            said += shape != "too early to tell"
            wrong += shape not in (truth, "too early to tell")
    assert wrong <= 0.05 * said + 1


def test_at_six_standard_errors_a_window_it_is_nearly_always_said() -> None:
    random = np.random.default_rng(4)
    ramps = [_level(random, random.uniform(5, 40), random.uniform(12, 40), 12, 6.0) for _ in range(40)]
    steps = [_level(random, random.uniform(5, 40), 0.0, 12, 6.0) for _ in range(40)]
    assert sum(change_shape(one) == "gradual" for one in ramps) >= 36
    assert sum(change_shape(one) == "sudden" for one in steps) >= 36


@pytest.mark.parametrize("seed", range(4))
def test_odds_are_those_of_every_form_tried_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    windows = 24
    time = np.arange(windows)
    level = 2.0 * np.clip((time - 10) / (1 + 4 * seed), 0, 1) + random.normal(size=windows)
    lengths = np.unique(np.round(np.geomspace(4, 4 * windows, 64)).astype(int))
    forms: dict[str, list[tuple[np.ndarray, float]]] = {"sudden": [], "short": [], "gradual": []}
    for lead in ([], [1 / 2], [1 / 3, 2 / 3]):
        starts = range(windows - len(lead))
        for start in starts:
            form = np.r_[np.zeros(start), lead, np.ones(windows - start - len(lead))]
            forms["sudden"].append((form, 1 / (3 * len(starts))))
    for length in lengths:
        begins = range(-(int(length) // 2), windows - 1)
        for start in begins:
            form = np.clip((time - start) / length, 0, 1)
            kind = "short" if length < 8 else "gradual"
            forms[kind].append((form, 1 / (len(lengths) * len(begins))))
    fits = {
        kind: [
            (np.linalg.lstsq(form[:, None], level, rcond=None)[1].sum(), form, prior) for form, prior in some
        ]
        for kind, some in forms.items()
    }
    square, form, _ = min((one for some in fits.values() for one in some), key=lambda one: one[0])
    rest = level - form * (form @ level) / (form @ form)
    correlation = rest[1:] @ rest[:-1] / square
    worth = windows * np.clip((1 - correlation) / (1 + correlation), 0.05, 1)
    weight = {
        kind: sum(prior * rss ** (-(worth - 1) / 2) / np.linalg.norm(form) for rss, form, prior in some)
        for kind, some in fits.items()
    }
    odds = shape_odds(level)
    for kind, share in weight.items():
        assert getattr(odds, kind) == pytest.approx(share / sum(weight.values()), abs=1e-6)


def test_a_change_that_every_window_shows_alike_is_one_visit_however_its_mean_is_rounded() -> None:
    z = np.full((5, 3), 1.1)  # the mean of five times their sum is a little more
    assert find_visits(z, estimate_onset(z)).stretches == (Visit(0, None),)
