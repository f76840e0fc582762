"""Who has agreed, as of a time: what was said with a prediction, changed by what was said later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdfast.privacy.subjects import Consent

if TYPE_CHECKING:
    import pyarrow as pa


def consented(table: pa.Table, statements: Iterable[Consent], as_of_us: int) -> pa.Array:
    """For each row whether it may be used for training, as of a time.

    A statement about the prediction itself or about its subject replaces what came with the prediction; of
    several that hold from that time or before, the one that holds from the latest moment counts, and of two
    from one moment the one that was recorded last. Silence is no consent.

    Args:
        table: rows of the log with prediction_id, subject and consent.
        statements: as `SubjectStore.consents` gives them.
        as_of_us: microseconds since the epoch.
    """
    import pyarrow as pa

    latest: dict[tuple[str, str], tuple[int, int, bool]] = {}
    for number, one in enumerate(statements):
        if one.at_us <= as_of_us:
            key = (
                ("subject", one.subject)
                if one.subject is not None
                else ("prediction", one.prediction_id or "")
            )
            latest[key] = max(latest.get(key, (-1, -1, False)), (one.at_us, number, one.agreed))
    nothing = (-1, -1, False)
    answers = []
    for name, subject, said in zip(
        *(table.column(column).to_pylist() for column in ("prediction_id", "subject", "consent")), strict=True
    ):
        newest = max(latest.get(("prediction", name), nothing), latest.get(("subject", subject), nothing))
        answers.append(said is True if newest is nothing else newest[2])
    return pa.array(answers, pa.bool_())
