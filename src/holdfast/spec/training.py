"""The section about making a challenger: data, trainer, triggers.

As in `service.py`, a key's documentation and the reason for its default stand in its metadata.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from holdfast.spec.quantities import Duration
from holdfast.spec.section import Section

_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000

Trigger = Literal["alarm", "schedule", "quality", "labels"]


class Training(Section, frozen=True):
    """How a challenger is made."""

    trainer: Annotated[
        str,
        Meta(
            pattern=r"^$|^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$",
            extra={"words": "module:function, or empty"},
            description=(
                "`module:function`, called with the data set, that returns a fitted model. Modules "
                "are found in "
                'the deployment folder too. Default "": boosted trees for tables, ready made.'
            ),
        ),
    ] = ""
    command: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description=(
                "A program with its arguments, in place of a trainer: it reads the Parquet files that "
                "HOLDFAST_TRAIN and HOLDFAST_DEV name and writes the model where HOLDFAST_MODEL "
                "says. Default none."
            ),
            examples=[["python", "train.py"]],
        ),
    ] = ()
    sources: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description=(
                "Where rows come from: log (predictions joined with their labels), and TOML files "
                "that each describe "
                "a table, relative to the deployment folder. Default log: what production has seen."
            ),
            examples=[["log", "sources/history.toml"]],
        ),
    ] = ("log",)
    basis: Annotated[
        str,
        Meta(
            description=(
                "Why the log's rows may be used for training where [privacy] consent_field asks "
                "nobody, in your "
                'words; stands in every data set. Default "": not stated.'
            ),
            examples=["legitimate interests, assessed 2026-03"],
        ),
    ] = ""
    dev: Annotated[
        Duration,
        Meta(description="Length of the dev split before the test split. Default 30d: one month's cycle."),
    ] = field(default_factory=lambda: Duration(30 * _DAY_US))
    test: Annotated[
        Duration,
        Meta(description="Length of the newest, test split. Default 30d: one month's cycle."),
    ] = field(default_factory=lambda: Duration(30 * _DAY_US))
    refit: Annotated[
        bool,
        Meta(
            description=(
                "Register a model that has learnt from the test's rows too, made as the one judged on them; "
                "costs a second training. For worlds that move: the newest rows teach most. Default "
                "false: the evidence speaks of the model itself, not of its twin."
            )
        ),
    ] = False
    gap: Annotated[
        Duration | None,
        Meta(
            description=(
                "Time left out between two splits. Default unset: [monitoring] label_delay, as "
                "labels that young are "
                "not known when a model is made."
            )
        ),
    ] = None
    split: Annotated[
        Literal["time", "random"],
        Meta(
            description=(
                "time: the newest rows are the test. random: shares of all rows, one subject's on "
                "one side; says "
                "nothing about the future. Default time: a model is asked about days that it has not seen."
            )
        ),
    ] = "time"
    min_rows: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Fewest labelled rows of the train split, and a tenth of it of the others. Default "
                "500: fewer teach "
                "little beyond a mean."
            ),
        ),
    ] = 500
    unlabelled: Annotated[
        Literal["leave out", "negative"],
        Meta(
            description=(
                "What a prediction older than label_delay without a label is. negative: only the "
                "positive class is "
                "ever reported, such as frauds. Default leave out: nothing is assumed."
            )
        ),
    ] = "leave out"
    immature: Annotated[
        Literal["leave out", "correct"],
        Meta(
            description=(
                "Labelled predictions younger than label_delay. correct: used, each weighing one "
                "over the share of "
                "labels that come by its age. Default leave out: quick labels are not like slow ones."
            )
        ),
    ] = "leave out"
    weights: Annotated[
        Literal["none", "age", "shift"],
        Meta(
            description=(
                "age: a row half_life old weighs half. shift: rows like those of today weigh more. "
                "Default none: the "
                "test decides whether old rows hurt."
            )
        ),
    ] = "none"
    half_life: Annotated[
        Duration,
        Meta(description="Age at which a row weighs half. Default 90d: one season."),
    ] = field(default_factory=lambda: Duration(90 * _DAY_US))
    review_field: Annotated[
        str,
        Meta(
            description=(
                "Boolean context field: the label came from people who looked because of the score. "
                "Such rows are "
                'counted and judged apart. Default "": there is no review queue.'
            )
        ),
    ] = ""
    seed: Annotated[
        int, Meta(ge=0, le=2**32 - 1, description="Of everything random. Default 0: any will do.")
    ] = 0
    timeout: Annotated[
        Duration,
        Meta(description="Longest time that a trainer may take. Default 1h: a table, many times over."),
    ] = field(default_factory=lambda: Duration(_HOUR_US))
    memory_mb: Annotated[
        int,
        Meta(ge=64, description="Memory that a trainer may take, in MB. Default 4096: twice the service's."),
    ] = 4096
    cores: Annotated[
        int,
        Meta(
            ge=1, description="Threads that a trainer is asked to use. Default 1: the service has the rest."
        ),
    ] = 1
    candidates: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description=(
                "Models that are trained from one data set, with other settings each; the best on dev is "
                "judged on the test. Default 1: the settings matter less than the rows."
            ),
        ),
    ] = 1
    engine: Annotated[
        Literal["local", "ray"],
        Meta(
            description=(
                "Where candidates are trained. ray: on a Ray cluster, all at once as far as it has room; "
                "needs the extra ray here and holdfast on every node. Default local: one after the other, "
                "here."
            )
        ),
    ] = "local"
    ray_address: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "Address of the Ray cluster's head node. Default auto: RAY_ADDRESS, else the cluster that "
                "runs on this machine."
            ),
            examples=["ray-head:6379"],
        ),
    ] = "auto"
    triggers: Annotated[
        tuple[Trigger, ...],
        Meta(
            description=(
                "What starts a training with `holdfast train --trigger due`, or by itself where unattended: "
                "a standing alarm, time, quality below least_quality, or enough new labels. Default none: by "
                "hand."
            )
        ),
    ] = ()
    unattended: Annotated[
        bool,
        Meta(
            description=(
                "Whether `holdfast serve` watches the triggers and trains by itself, in a process of lowest "
                "priority beside the workers. It registers a challenger; who answers does not change. "
                "Default false: a training takes a core and memory of the service's machine."
            )
        ),
    ] = False
    watch_interval: Annotated[
        Duration,
        Meta(
            description=(
                "How often an unattended service looks whether a trigger holds. Default 1min: windows close "
                "and labels come far more slowly."
            )
        ),
    ] = field(default_factory=lambda: Duration(60_000_000))
    schedule: Annotated[
        Duration,
        Meta(description="Time between two trainings of the trigger schedule. Default 30d: monthly."),
    ] = field(default_factory=lambda: Duration(30 * _DAY_US))
    least_quality: Annotated[
        float | None,
        Meta(
            description=(
                "Bound of the trigger quality, in the monitor's metric (area under the curve, "
                "accuracy; for numbers "
                "the largest mean absolute error). Default unset: needed only with it."
            )
        ),
    ] = None
    new_labels: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Labels since the last training for the trigger labels. Default 10000: enough to "
                "move a model."
            ),
        ),
    ] = 10_000
    follow_up_rows: Annotated[
        int,
        Meta(
            ge=0,
            description=(
                "After a training that an alarm started, a further one each time the labelled rows since the "
                "change have doubled, until one has learnt from this many. 0: none follows. Default 100000: "
                "rare classes still gain there."
            ),
        ),
    ] = 100_000
    cool_down: Annotated[
        Duration,
        Meta(
            description=(
                "Time after a training in which no trigger starts another. Default 7d: what was "
                "trained is first "
                "seen at work."
            )
        ),
    ] = field(default_factory=lambda: Duration(7 * _DAY_US))
    budget: Annotated[
        int,
        Meta(
            ge=0,
            description="Most trainings that triggers start in 30 days. Default 4: one a week.",
        ),
    ] = 4
    cost: Annotated[
        float,
        Meta(
            ge=0,
            description=(
                "Cost of one training with its rollout, in [monitoring] currency. Default 0: not stated."
            ),
        ),
    ] = 0.0
