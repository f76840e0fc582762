"""What people are told of a diagnosis. Nothing of a row: kinds, times, names of columns, aggregates."""

from __future__ import annotations

from typing import Final

from holdfast.alerts import Alerting, Finding
from holdfast.monitor.course import Course
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.explained_words import price_words
from holdfast.monitor.words import advice_for, untried

SOURCE: Final = "drift"
_MOST_COLUMNS: Final = 8


def tell(alerting: Alerting, diagnosis: Diagnosis) -> bool:
    """Say what a diagnosis says; call it with each, changed or not.

    Returns:
        Whether a message was written.
    """
    if not diagnosis.alarm:
        version = "" if diagnosis.model_version is None else f" of version {diagnosis.model_version}"
        return alerting.ended(SOURCE, f"The diagnosis{version} is: {diagnosis.verdict}.")
    return alerting.stands(finding_of(diagnosis))


def finding_of(diagnosis: Diagnosis) -> Finding:
    """The finding of a diagnosis with an alarm.

    A fault of another column is another topic, since another pipe is broken; drift in one more column is not.
    """
    columns = [one.name for one in diagnosis.features if one.of_column]
    faulty = [one.name for one in diagnosis.features if "data fault" in one.kinds]
    topics: list[str] = [kind for kind in diagnosis.kinds if kind != "data fault"]
    if "data fault" in diagnosis.kinds:
        topics += [f"data fault:{name}" for name in faulty] or ["data fault"]
    critical = {"data fault", "concept drift"} & set(diagnosis.kinds)
    sentence, _, _ = diagnosis.summary.partition(" Judged on ")
    blind = diagnosis.coverage.labelled == 0
    advice = tuple(advice_for(diagnosis.kinds, Course.of(diagnosis), diagnosis.since, blind=blind))
    if diagnosis.options:
        best = diagnosis.options[0]
        further = untried(advice, Course.of(diagnosis), diagnosis.since)
        advice = (f"Tried on the labelled rows, the best is to {best.action}.", *further)
    return Finding(
        source=SOURCE,
        topics=tuple(topics),
        since="unknown" if diagnosis.since is None else diagnosis.since.estimate,
        severity="critical" if critical else "warning",
        title=diagnosis.verdict,
        sentence=sentence,
        columns=tuple(columns[:_MOST_COLUMNS]),
        cost="" if diagnosis.cost is None else price_words(diagnosis.cost),
        advice=advice,
        version=diagnosis.model_version,
        page="diagnosis",
    )
