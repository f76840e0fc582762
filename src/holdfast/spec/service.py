"""The sections about answering: model, predictions, target, compute, speed.

Each key's documentation and the reason for its default stand in its `Annotated` metadata, from which the
JSON Schema, the reference page and the file written by `holdfast init` are made.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from holdfast.spec.section import Section


class Model(Section, frozen=True):
    """Which model, and what kind of answer it gives."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
            description=(
                "The deployment's name, as it stands in URLs, logs and metrics: letters, digits, dot, "
                "dash and underscore, at most 63. Required."
            ),
            examples=["fraud"],
            extra={"words": "a name of letters, digits, dot, dash and underscore, such as fraud"},
        ),
    ]
    task: Annotated[
        Literal["auto", "binary", "multiclass", "regression"],
        Meta(description="The kind of answer. Default auto: read from the model and the reference."),
    ] = "auto"
    positive_class: Annotated[
        str,
        Meta(
            description=(
                'The class whose probability is the score, for two classes. Default "": the last class in'
                " sorted order, so 1 of 0 and 1, true of false and true."
            )
        ),
    ] = ""
    threshold: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "The probability from which a model of two classes answers with the positive one, in place "
                "of what its own decision output says. Default 0.5: equal cost of both errors; a decision "
                "output of the model's own is kept."
            ),
        ),
    ] = 0.5
    kinds: Annotated[
        dict[str, Literal["image", "audio", "embedding"]],
        Meta(
            description=(
                "What inputs are whose rows are arrays of numbers; the monitor measures light and focus of "
                "images, loudness and noise of sounds, directions of embeddings. Default none: read from "
                "shape and name, and said at registration."
            ),
            examples=[{"scan": "image"}],
        ),
    ] = field(default_factory=dict)
    parity_tolerance: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description=(
                "Largest difference allowed between a converted model and the original on the reference "
                "rows, absolute for probabilities, relative to the largest answer for regression. Default"
                " 1e-5: float32 rounding is near 1e-6."
            ),
        ),
    ] = 1e-5


class Predictions(Section, frozen=True):
    """Real time or batch, and what travels with each row."""

    mode: Annotated[
        Literal["realtime", "batch"],
        Meta(
            description=(
                "realtime: answers over HTTP. batch: tables are scored by `holdfast score`. Default "
                "realtime: tables can be scored there too."
            )
        ),
    ] = "realtime"
    id_field: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "Field of a record that carries the caller's own prediction id; where a record has none, "
                "one is made. Default prediction_id: the name that the answer carries too."
            ),
        ),
    ] = "prediction_id"
    time_field: Annotated[
        str,
        Meta(
            description=(
                "Field of a record that carries the time the prediction belongs to (ISO 8601, UTC where "
                'it has no offset). Default "": the time of arrival by the server\'s clock. Set it to '
                "replay history or to accept stored and forwarded predictions; the monitor's clock is "
                "then the newest time seen."
            )
        ),
    ] = ""
    max_rows_per_request: Annotated[
        int,
        Meta(
            ge=1, description="Rows in one request. Default 10000: one request never holds a worker for long."
        ),
    ] = 10_000
    max_body_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            description=(
                "Largest request body in bytes, inflated if it is compressed. Default 16 MiB: an image or "
                "10000 wide rows."
            ),
        ),
    ] = 16 * 1024 * 1024


class Stream(Section, frozen=True):
    """Answers over a WebSocket for models with state or windows; without any key each frame is a row."""

    state: Annotated[
        dict[str, str],
        Meta(
            description=(
                "The model's state: the name of each input that carries it, with the output that gives its "
                "next value. It begins as zeros, a variable dimension with size 0. Default none."
            ),
            examples=[{"h": "h_next"}],
        ),
    ] = field(default_factory=dict)
    field: Annotated[
        str,
        Meta(
            description=(
                'The model\'s field that binary frames and lists fill. Default "": the only field beside '
                "the state."
            ),
            examples=["samples"],
        ),
    ] = ""
    window_values: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description=(
                "Values in one row: frames of any length are cut into windows of that many values, the rest "
                "at the end is filled up with zeros. Default 0: each frame is one row as it comes."
            ),
        ),
    ] = 0
    hop_values: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description=(
                "Values from the start of one window to the start of the next. Default 0: as many as "
                "window_values, no overlap."
            ),
        ),
    ] = 0
    frame_ms: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Budget per frame in ms: a frame that cannot be answered within it is refused and leaves the "
                "state as it was. Default 100: partial answers feel live. [speed] deadline_ms holds too."
            ),
        ),
    ] = 100.0
    most_streams: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description=(
                "Open streams per worker; more are refused. Default 256: each holds a connection and the "
                "model's state."
            ),
        ),
    ] = 256
    most_streams_per_caller: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description=(
                "Of these, open streams of one caller (an API key or a token's subject; without keys an "
                "address); above it the answer is 429. Default 64: no caller holds more than a quarter of "
                "most_streams. Raise it for a gateway that opens streams for many."
            ),
        ),
    ] = 64


class Target(Section, frozen=True):
    """Where the answers are computed."""

    where: Annotated[
        Literal["cloud", "edge", "browser"],
        Meta(
            description=(
                "cloud: any server of yours. edge: a device. browser: the caller's own page. Default "
                "cloud: the only place that can be changed in a minute."
            )
        ),
    ] = "cloud"
    host: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "Address to listen on. Default 127.0.0.1: nobody outside can ask until you decide so. Any"
                " other address needs keys and TLS, see [security]."
            ),
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="TCP port; 0 takes a free one and prints it. Default 8080: usual for HTTP beside 80.",
        ),
    ] = 8080
    grpc_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        Meta(
            description=(
                "TCP port for gRPC (Open Inference Protocol) beside HTTP, on the same host with the same "
                "keys and TLS; 0 takes a free one and prints it. Needs holdfast[grpc]. Default unset: no "
                "gRPC, as HTTP is faster."
            )
        ),
    ] = None
    dashboard: Annotated[
        Literal["auto", "ready", "asked", "none"],
        Meta(
            description=(
                "When the dashboard's own process runs. ready: always, so that the first look takes less "
                "than a second; it rests with 45 MB. asked: from the first look, which waits two seconds for "
                "it, until half an hour after the last. none: there are no pages. Default auto: ready "
                "where [compute] memory_mb is 1024 or more and the deployment is alone in its service, "
                "else asked."
            )
        ),
    ] = "auto"


class Compute(Section, frozen=True):
    """What the service may use."""

    cores: Annotated[
        int,
        Meta(
            ge=1, le=1024, description="CPU cores: one worker process each. Default 1: every machine has one."
        ),
    ] = 1
    memory_mb: Annotated[
        int,
        Meta(ge=64, description="Memory of the whole service in MB. Default 2048: a small cloud instance."),
    ] = 2048
    accelerator: Annotated[
        Literal["none", "openvino", "cuda", "tensorrt"],
        Meta(
            description=(
                "What runs the model: none is onnxruntime on the CPU; the others need an onnxruntime built "
                "with them, and serving says so where it was not. Default none: every machine has that."
            )
        ),
    ] = "none"
    threads: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description=(
                "Threads of one worker for one run of the model. Default 1: with one worker per core more "
                "would only wait for each other. Set cores = 1 and this to the number of cores where one "
                "large run must be fast."
            ),
        ),
    ] = 1
    arena: Annotated[
        bool,
        Meta(
            description=(
                "Whether onnxruntime keeps the memory of a run for the next. Default true: faster; false "
                "gives memory back after a rare large batch."
            )
        ),
    ] = True
    model_size_mb: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Largest model file in MB; a larger one is not registered. Default 1024: half of the "
                "default memory, as a new champion is loaded beside the old one."
            ),
        ),
    ] = 1024.0


class Speed(Section, frozen=True):
    """Latency and queries per second that the service promises."""

    p50_ms: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Median latency in ms. Default unset: not promised."),
    ] = None
    p99_ms: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "99th percentile of latency in ms, from the last byte of the request to the first of the "
                "answer. Batches are kept small enough for it, and under overload all but one request in a "
                "hundred that would take longer are refused. Default 100: a person notices more."
            ),
        ),
    ] = 100.0
    qps: Annotated[
        float,
        Meta(
            gt=0,
            description=("Queries per second the service must sustain. Default 100: a busy page."),
        ),
    ] = 100.0
    deadline_ms: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "A request that cannot be answered within this many ms, or within the timeout that its "
                "caller gives, is refused at once. Default 500: the whole budget of an interactive "
                "answer."
            ),
        ),
    ] = 500.0
