"""The sections about keeping a model good: monitoring, rollout, alerts. Training stands in `training.py`.

As in `service.py`, a key's documentation and the reason for its default stand in its metadata.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from holdfast.spec.quantities import Duration, FalseAlarmBudget, WindowSize
from holdfast.spec.section import Section

_DAY_US = 86_400_000_000
_WEBHOOK = Meta(
    pattern=r"^(https?://[^\s/]+|env:[A-Za-z_][A-Za-z0-9_]*$|file:[^\s])",
    extra={"words": "a URL that starts with https:// or http://, or env:NAME, or file:PATH"},
)
_CHANNEL = Meta(
    pattern=r"^([a-z][a-z0-9+.-]*://[^\s]+|env:[A-Za-z_][A-Za-z0-9_]*$|file:[^\s])",
    extra={"words": "a URL of Apprise such as slack://..., or env:NAME, or file:PATH"},
)

AlertKind = Literal["data fault", "data drift", "label shift", "concept drift", "log"]
"""What a message may speak of: the kinds of a diagnosis; rows of the log that are unaccounted for."""


class Monitoring(Section, frozen=True):
    """Reference, windows, labels, the budget of false alarms."""

    window: Annotated[
        WindowSize,
        Meta(
            description='Length of one window, "6h" or "1000 rows". Default 1d: one full daily cycle.',
            examples=["1d", "1000 rows"],
        ),
    ] = field(default_factory=lambda: WindowSize(duration=Duration(_DAY_US)))
    label_delay: Annotated[
        Duration,
        Meta(
            description=(
                "Age at which a prediction counts with or without its label. Default 14d: most complaints"
                " and confirmations have come."
            )
        ),
    ] = field(default_factory=lambda: Duration(14 * _DAY_US))
    lateness: Annotated[
        Duration,
        Meta(
            description=(
                "How long a window waits for late predictions before it closes. Default 0s: they come in "
                "order."
            )
        ),
    ] = field(default_factory=lambda: Duration(0))
    false_alarms: Annotated[
        FalseAlarmBudget,
        Meta(
            description=(
                "False alarms accepted for the whole deployment, all features and measures together. "
                "Default 1 per 1000 windows: of windows of a day, one in nearly three years."
            )
        ),
    ] = field(default_factory=lambda: FalseAlarmBudget(1.0, 1000))
    tolerance_sd: Annotated[
        float,
        Meta(
            ge=0,
            description=(
                "Shift of a feature, in standard deviations of the reference, that is immaterial however "
                "certain. Default 0.05: far below what moves a model, above rounding and reporting noise."
            ),
        ),
    ] = 0.05
    min_rows: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Windows with fewer rows wait to be pooled with the next. Default 50: fewer say little "
                "about a share."
            ),
        ),
    ] = 50
    slices: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description=(
                "Inputs in each of whose common values drift is followed by itself too, as on the page of "
                "drift. Default none: each value costs as much again as the rows that have it."
            ),
            examples=[["country"]],
        ),
    ] = ()
    most_slices: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description=(
                "Values of each of the slices' inputs that are followed, the most frequent ones. Default 8: "
                "rarer ones have few rows a window, and all share the budget of false alarms."
            ),
        ),
    ] = 8
    own_columns: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^[\w./-]+\.py:[A-Za-z_]\w*$",
                    extra={"words": "a function in a file, such as measures.py:price_per_metre"},
                ),
            ],
            ...,
        ],
        Meta(
            description=(
                "Further columns to be judged, each a Python function of an Arrow table of the model's "
                "inputs that gives one value a row: file.py:function, of a file in the deployment's folder, "
                "which the monitor runs. Default none: no code runs that nobody named."
            ),
            examples=[["measures.py:price_per_metre"]],
        ),
    ] = ()
    cost_false_positive: Annotated[
        float,
        Meta(ge=0, description="Cost of acting on a wrong positive, in currency. Default 0: not stated."),
    ] = 0.0
    cost_false_negative: Annotated[
        float,
        Meta(ge=0, description="Cost of missing a positive, in currency. Default 0: not stated."),
    ] = 0.0
    currency: Annotated[
        str,
        Meta(
            min_length=1, description="Unit of the costs, only shown. Default EUR: a unit is to stand there."
        ),
    ] = "EUR"


class Rollout(Section, frozen=True):
    """How a challenger becomes the champion."""

    shadow: Annotated[
        Duration,
        Meta(
            description=(
                "Time a challenger answers copies of the traffic before any caller sees it. Default 1d: "
                "one full daily cycle."
            )
        ),
    ] = field(default_factory=lambda: Duration(_DAY_US))
    ramp: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=1)], ...],
        Meta(
            min_length=1,
            description=(
                "Shares of the traffic that the challenger answers, in order, the last one 1. Default 1 "
                "%, 10 %, 50 %, all: a mistake is seen while it is small."
            ),
        ),
    ] = (0.01, 0.1, 0.5, 1.0)
    margin: Annotated[
        float,
        Meta(
            ge=0,
            description=(
                "Loss by which a challenger may be worse and still be promoted. Default 0.005: half a "
                "point of a rate, below what a caller feels."
            ),
        ),
    ] = 0.005
    alpha: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description=(
                "Chance of a wrong decision over the whole rollout. Default 0.05: one rollout in twenty."
            ),
        ),
    ] = 0.05
    risk_budget: Annotated[
        float,
        Meta(
            ge=0,
            description=(
                "Largest loss to risk before labels can speak: rate x share x label delay x worst plausible "
                "loss, in [monitoring] currency, or in wrong answers where no cost is stated there. Default "
                "0: not stated, so the ramp stays at its first share until the labels approve."
            ),
        ),
    ] = 0.0
    step: Annotated[
        Duration,
        Meta(
            description=(
                "Shortest time at each share of the ramp. Default 1h: errors and slowness show within "
                "minutes, and somebody can look."
            )
        ),
    ] = field(default_factory=lambda: Duration(3_600_000_000))
    deadline: Annotated[
        Duration,
        Meta(
            description=(
                "Time after which a rollout without a decision ends and the challenger does not ship. "
                "Default 90d: longer than that the data it was trained on are old."
            )
        ),
    ] = field(default_factory=lambda: Duration(90 * _DAY_US))
    standby: Annotated[
        Duration,
        Meta(
            description=(
                "How long workers keep the former champion loaded after a change, so that going back takes "
                "no loading. Default 1h: most regrets come within it; it costs the model's memory twice."
            )
        ),
    ] = field(default_factory=lambda: Duration(3_600_000_000))
    assign_by: Annotated[
        str,
        Meta(
            description=(
                "Field of a record whose keyed hash decides the arm, so that one customer always meets one "
                'version; the first row of a request counts. Default "": the prediction id where the caller '
                "gives one, else each request by chance."
            ),
            examples=["customer"],
        ),
    ] = ""
    slices: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description=(
                "Inputs or context fields in whose values the challenger may not be worse either; they share "
                "alpha. Default none: each slice makes every decision later."
            ),
            examples=[["country"]],
        ),
    ] = ()
    most_slices: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description=(
                "Values of a slice field that are watched, the most frequent ones. Default 10: rarer ones "
                "would never reach a decision."
            ),
        ),
    ] = 10
    loss: Annotated[
        Literal["cost", "error_rate", "brier_score", "absolute_error"] | None,
        Meta(
            description=(
                "What decides about a challenger, at training and in its rollout: the mean of a loss of 0 to "
                "1 for each row. cost: [monitoring] costs, in units of the dearer error. error_rate: 1 for a "
                "wrong answer. brier_score: of two classes, for callers who use the score. absolute_error: "
                "of numbers, in units of loss_scale. The log loss has no largest value, so its mean has no "
                "bounds. Default unset: of numbers absolute_error, of two classes with a stated cost cost, "
                "else error_rate, which is what callers meet."
            )
        ),
    ] = None
    loss_scale: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description=(
                "Numbers: the absolute error that counts as a whole loss of 1; larger ones count 1, and "
                "margin is a share of it. Default unset: from the 1st to the 99th percentile of the labels "
                "of the champion's reference, so that margin is a share of what occurs."
            ),
        ),
    ] = None
    max_error_increase: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "Share of requests by which the challenger may fail more often. Default 0.005: half a point, "
                "above what a restart costs."
            ),
        ),
    ] = 0.005
    max_latency_ratio: Annotated[
        float,
        Meta(
            ge=1,
            description=(
                "Times by which the challenger's 99th percentile may exceed the champion's, once it is above "
                "[speed] p99_ms. Default 1.5: less is noise of one machine."
            ),
        ),
    ] = 1.5
    max_flips: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "Share of rows that the two versions may answer differently, over all and in each slice. "
                "Default 0.2: more is another product, which a person should look at."
            ),
        ),
    ] = 0.2
    max_volume_change: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "Change of the share of positives at today's threshold, and of the mean score; of numbers, "
                "of the mean answer in units of loss_scale. Default 0.05: what people downstream can absorb."
            ),
        ),
    ] = 0.05
    max_crashes: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Times that the challenger's own process may die in shadow before it is given up. Default 3: "
                "once may be the machine."
            ),
        ),
    ] = 3
    fast_interval: Annotated[
        Duration,
        Meta(description="How often errors and latency are judged. Default 1s: rollback within seconds."),
    ] = field(default_factory=lambda: Duration(1_000_000))
    label_interval: Annotated[
        Duration,
        Meta(
            description=(
                "How often the log is read for answers and labels. Default 1min: they change slowly, and "
                "reading costs."
            )
        ),
    ] = field(default_factory=lambda: Duration(60_000_000))
    shadow_queue_mb: Annotated[
        float,
        Meta(
            gt=0,
            le=1024,
            description=(
                "Size in MB of the queue of copies that wait for the challenger; beyond it copies are dropped"
                " and counted. Default 4: thousands of rows of a table, seconds of traffic."
            ),
        ),
    ] = 4.0


class Alerts(Section, frozen=True):
    """Who is told, of what, and how often."""

    webhooks: Annotated[
        tuple[Annotated[str, _WEBHOOK], ...],
        Meta(
            description=(
                "URLs that receive each message as JSON; env:NAME and file:PATH name where one stands. "
                "Default none: alarms stand in the monitor's output."
            ),
            examples=[["https://hooks.example.org/fraud"]],
        ),
    ] = ()
    channels: Annotated[
        tuple[Annotated[str, _CHANNEL], ...],
        Meta(
            description=(
                "Mail, Slack, Teams, PagerDuty and others, as URLs of Apprise (extra `alerts`), or env:NAME "
                "and file:PATH where such a URL stands. Default none: alarms stand in the monitor's output."
            ),
            examples=[["env:FRAUD_SLACK", "file:secrets/mail"]],
        ),
    ] = ()
    pagers: Annotated[
        tuple[Annotated[str, _CHANNEL], ...],
        Meta(
            description=(
                "Channels, written as in `channels`, that are told of critical alarms alone. Default none: "
                "nobody is woken."
            ),
            examples=[["env:FRAUD_PAGERDUTY"]],
        ),
    ] = ()
    kinds: Annotated[
        tuple[AlertKind, ...],
        Meta(
            description=(
                "Kinds of alarm that are told. Default all: what need not be acted on is better left to "
                "`[monitoring] tolerance_sd`."
            ),
            examples=[["data fault", "concept drift", "log"]],
        ),
    ] = ()
    columns: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description=(
                "Inputs and outputs whose drift is told; alarms that name no column always are. Default all: "
                "what drifts unheard helps nobody."
            ),
            examples=[["amount", "country"]],
        ),
    ] = ()
    quiet: Annotated[
        Duration,
        Meta(description="Time in which the same alarm is not sent again. Default 1d: one message a day."),
    ] = field(default_factory=lambda: Duration(_DAY_US))
    quiet_hours: Annotated[
        str,
        Meta(
            pattern=r"^$|^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
            description=(
                "Hours of each day in which messages wait, unless critical. Default none: who is asleep has "
                "muted the channel."
            ),
            extra={"words": 'two times such as "22:00-07:00", or ""'},
            examples=["22:00-07:00"],
        ),
    ] = ""
    time_zone: Annotated[
        str,
        Meta(
            min_length=1,
            description="Zone of quiet_hours. Default UTC, as in all of holdfast's records.",
            examples=["Europe/Berlin"],
        ),
    ] = "UTC"
    retry: Annotated[
        Duration,
        Meta(
            description=(
                "How long a message is tried again while a channel fails, with growing pauses of at most an "
                "hour. Default 3d: a channel broken on Friday evening is mended by Monday."
            )
        ),
    ] = field(default_factory=lambda: Duration(3 * _DAY_US))
    dashboard: Annotated[
        str,
        Meta(
            pattern=r"^$|^https?://[^\s/]+",
            description="URL of the dashboard, for the link in each message. Default none: no link.",
            extra={"words": 'a URL that starts with https:// or http://, or ""'},
            examples=["https://fraud.example.org/ui/"],
        ),
    ] = ""

    def __repr__(self) -> str:
        told = len(self.webhooks) + len(self.channels) + len(self.pagers)
        return f"Alerts({told} channels, which are secret; quiet={self.quiet})"
