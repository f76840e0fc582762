"""The sections about what is kept and who may see it: logging, security, privacy.

Documented as the sections in `holdfast.spec.service` are.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from holdfast.spec.quantities import Duration
from holdfast.spec.section import Section

_SHA256 = Meta(pattern=r"^[0-9a-f]{64}$", extra={"words": "a SHA-256 of 64 hexadecimal digits, a to f small"})

_REASON = Meta(pattern=r"^$|\S", extra={"words": 'a reason in words, or ""'})

FieldClass = Literal["identifier", "quasi-identifier", "sensitive", "free-text", "plain"]
FieldAction = Literal["keep", "drop", "mask", "hash", "generalise", "redact", "encrypt"]
_GENERALISE = Meta(
    pattern=(
        r"^(width [0-9]*[1-9][0-9]*|width [0-9]+\.[0-9]*[1-9][0-9]*|prefix [1-9][0-9]?|year|month|day|hour)$"
    ),
    extra={"words": 'one of "width N", "prefix N", "year", "month", "day", "hour"'},
)
_TABLES = Meta(
    pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*/?)?$",
    extra={"words": "a bucket and a prefix, such as s3://predictions/fraud, without credentials"},
)
_REGION = Meta(pattern=r"^[A-Z]{2}$", extra={"words": "a country as two capital letters, such as GB"})


class Logging(Section, frozen=True):
    """What is logged, how much, how long, where."""

    enabled: Annotated[
        bool,
        Meta(description="Whether predictions are logged. Default true: no log, no maintenance."),
    ] = True
    durability: Annotated[
        Literal["process", "synced"],
        Meta(
            description=(
                "process: written before the answer leaves, survives kill -9. synced: also fsynced, "
                "survives power loss. Default process: the disk's flush costs milliseconds per answer."
            )
        ),
    ] = "process"
    sampling_fraction: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description=(
                "Share of predictions stored; the others are counted. Default 1: all, so every label "
                "finds its row."
            ),
        ),
    ] = 1.0
    retention_days: Annotated[
        int,
        Meta(
            ge=1, le=36_500, description="Days a prediction is kept. Default 365: one season of every kind."
        ),
    ] = 365
    max_gb: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description=(
                "Largest size of the log's tables in GB; beyond it the oldest rows go, down to nine tenths. "
                "Default unset: only age counts."
            )
        ),
    ] = None
    class_retention_days: Annotated[
        dict[FieldClass, Annotated[int, Meta(ge=1, le=36_500)]],
        Meta(
            description=(
                "Days that values of a field class are kept, where that is shorter: the row stays, the value "
                "becomes null. Default none: values are kept as long as their row."
            ),
            examples=[{"sensitive": 30, "free-text": 7}],
        ),
    ] = field(default_factory=dict)
    large_input_kb: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Size in KB of one value from which an input of kind image, audio or embedding is stored "
                "beside the tables, once for equal content, and the row holds its hash and short features. "
                "Default 16: below, a file of its own costs more than the bytes in the row."
            ),
        ),
    ] = 16.0
    audio_rate_hz: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Samples per second of inputs of kind audio: short features in seconds and hertz need it. "
                "Default 16000: what models of speech take."
            ),
        ),
    ] = 16_000.0
    large_input_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "Share of stored predictions whose large inputs are stored too; the others keep the short "
                "features alone. Default 1: all, so any row can be looked at and learned from."
            ),
        ),
    ] = 1.0
    large_input_retention_days: Annotated[
        Annotated[int, Meta(ge=1, le=36_500)] | None,
        Meta(
            description=(
                "Days that a large input is kept after the last prediction with it, where that is shorter; "
                "rows and short features stay. Default unset: as long as its row."
            )
        ),
    ] = None
    large_input_max_gb: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description=(
                "Largest size of all large inputs in GB; beyond it those used longest ago go, down to nine "
                "tenths. Default unset: only age counts."
            )
        ),
    ] = None
    path: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "Folder of the log, relative to the deployment folder. Default log: one folder holds all."
            ),
        ),
    ] = "log"
    tables: Annotated[
        str,
        _TABLES,
        Meta(
            description=(
                "Bucket and prefix on S3-compatible storage for the log's tables, shared by all machines of "
                "the deployment; its credentials come from the environment (AWS_ACCESS_KEY_ID and so "
                'on) and nowhere else. The spool stays in `path`. Default "": tables are in `path` too, '
                "and need no network."
            ),
            examples=["s3://predictions/fraud"],
        ),
    ] = ""
    context_fields: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description=(
                "Fields of a record that are logged beside the inputs and never given to the model. "
                "Default none: what nobody asked for is not kept."
            ),
            examples=[["shop", "app_version"]],
        ),
    ] = ()
    commit_interval: Annotated[
        Duration,
        Meta(
            description=(
                "How often the keeper moves spooled records into the table. Default 1s: fresh and cheap."
            )
        ),
    ] = field(default_factory=lambda: Duration(1_000_000))
    segment_mb: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Size in MB at which a worker starts a new spool segment. Default 16: committed in one piece."
            ),
        ),
    ] = 16.0
    on_full: Annotated[
        Literal["answer", "refuse"],
        Meta(
            description=(
                "When the log cannot be written: answer and count the loss, or refuse the request. "
                "Default answer: the caller comes first."
            )
        ),
    ] = "answer"
    access_log: Annotated[
        bool,
        Meta(
            description=(
                "One JSON line per request on standard output: time, route, status, duration, rows, version, "
                "request id, trace id; never a value. Default false: the prediction log holds every answer."
            )
        ),
    ] = False
    exception_text: Annotated[
        bool,
        Meta(
            description=(
                "Whether the service's own output, on standard error, shows the texts of exceptions. Their "
                "class and place always stand there. Default false: a model may put a row's values into one."
            )
        ),
    ] = False
    traces: Annotated[
        bool,
        Meta(
            description=(
                "OpenTelemetry spans of requests, sent where OTEL_EXPORTER_OTLP_ENDPOINT says; needs the "
                "extra opentelemetry. Default false: nothing is listening yet."
            )
        ),
    ] = False
    trace_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "Share of requests that begin a trace where the caller sends no traceparent; with one, the "
                "caller decides. Default 0.01: a span costs more than a small model's answer."
            ),
        ),
    ] = 0.01
    traces_per_s: Annotated[
        float,
        Meta(
            gt=0,
            description=(
                "Of those traces, at most so many per second and worker. Default 20: made and sent, a span "
                "takes about 0.2 ms of a worker, so that all of them cost it less than a hundredth."
            ),
        ),
    ] = 20.0


class Security(Section, frozen=True):
    """Who may ask, and over which transport."""

    auth: Annotated[
        Literal["none", "keys"],
        Meta(
            description=(
                "none: anybody who reaches the address. keys: an API key in `Authorization: Bearer`, made "
                "with `holdfast key create`. Default none: the default address is reached from this "
                "machine only."
            )
        ),
    ] = "none"
    api_key_hashes: Annotated[
        tuple[Annotated[str, _SHA256], ...],
        Meta(
            description=(
                "SHA-256 of API keys accepted beside those of `holdfast key create`, 64 hexadecimal digits;"
                " they may predict, label and read until the checklist changes. `holdfast key hash` makes "
                "one. Default none: keys in the registry can be listed and revoked while the service runs."
            )
        ),
    ] = ()
    requests_per_s_per_key: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(
            description=(
                "Requests per second that one key may send to all workers together, with one second's "
                "worth at once; above it the answer is 429. A key may have its own rate. Default unset: "
                "not limited, as [speed] deadline_ms already refuses what cannot be answered in time."
            )
        ),
    ] = None
    tls_certificate: Annotated[
        str,
        Meta(description='Certificate file in PEM, relative to the deployment folder. Default "": no TLS.'),
    ] = ""
    tls_key: Annotated[
        str,
        Meta(description='Private key file in PEM, relative to the deployment folder. Default "": no TLS.'),
    ] = ""
    tls_client_ca: Annotated[
        str,
        Meta(
            description=(
                "Certificates of the authority whose clients may connect (mutual TLS), in PEM, relative to "
                'the deployment folder; a new authority is taken over on reload. Default "": clients need '
                "no certificate."
            )
        ),
    ] = ""
    jwt_jwks: Annotated[
        str,
        Meta(
            description=(
                "Public keys (JWKS) of an OpenID Connect provider whose tokens are accepted beside API "
                'keys: an https URL, or a file relative to the deployment folder. Default "": no tokens.'
            ),
        ),
    ] = ""
    jwt_issuer: Annotated[
        str,
        Meta(description='The `iss` that a token must have. Default "": needed only with jwt_jwks.'),
    ] = ""
    jwt_audience: Annotated[
        str,
        Meta(description='What must be among the `aud` of a token. Default "": needed only with jwt_jwks.'),
    ] = ""
    jwt_scope_claim: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "The claim that holds a token's scopes, as words or as a list: predict, label, read, rows,"
                " admin, each also as holdfast:predict and so on. Default scope: where OAuth 2.0 puts them."
            ),
        ),
    ] = "scope"
    jwt_refresh: Annotated[
        Duration,
        Meta(
            description=(
                "How often keys are fetched from a URL, beside whenever a token names an unknown one. "
                "Default 10min: a withdrawn key is honoured no longer than that."
            )
        ),
    ] = field(default_factory=lambda: Duration(600_000_000))
    session: Annotated[
        Duration,
        Meta(
            description=(
                "How long the dashboard stays open after a key was given there. Default 1h: a work session; "
                "then the key is asked for again."
            )
        ),
    ] = field(default_factory=lambda: Duration(3_600_000_000))
    no_auth_reason: Annotated[
        str,
        _REASON,
        Meta(
            description=(
                'Why callers from outside this machine need no key, in your words, such as "a gateway '
                'checks them". Default "": they need one.'
            )
        ),
    ] = ""
    no_tls_reason: Annotated[
        str,
        _REASON,
        Meta(
            description=(
                'Why callers from outside this machine need no TLS, in your words, such as "the ingress '
                'ends TLS in the same pod network". Default "": they need it.'
            )
        ),
    ] = ""


class Privacy(Section, frozen=True):
    """Sensitivity, field classes, subject, consent."""

    sensitivity: Annotated[
        Literal["low", "high"],
        Meta(
            description=(
                "high: callers must authenticate, inputs are encrypted in the log, and values never appear "
                "in errors, metrics, traces or examples; weakening one needs a written reason. Default "
                "low: set high for records of people's health, money or whereabouts."
            )
        ),
    ] = "low"
    fields: Annotated[
        dict[str, FieldClass],
        Meta(
            description="Class of each field that is not plain. Default none: only you know what they hold.",
            examples=[{"name": "identifier", "postcode": "quasi-identifier"}],
        ),
    ] = field(default_factory=dict)
    actions: Annotated[
        dict[FieldClass, FieldAction],
        Meta(
            description=(
                "What the log writer does with each class: keep, drop, mask, hash (a keyed pseudonym, with "
                "the key from HOLDFAST_PSEUDONYM_KEY), generalise, redact (personal data found in a text "
                "is replaced by its kind), or encrypt (under a key of the subject's own, wrapped by the "
                "master key). Defaults: identifier hash, quasi-identifier keep, sensitive keep, free-text "
                "redact, plain keep; with high sensitivity identifier hash and all others encrypt."
            ),
            examples=[{"sensitive": "drop"}],
        ),
    ] = field(default_factory=dict)
    field_actions: Annotated[
        dict[str, FieldAction],
        Meta(
            description="Action for one field, whatever its class. Default none: the class decides.",
            examples=[{"diagnosis": "encrypt"}],
        ),
    ] = field(default_factory=dict)
    generalise: Annotated[
        dict[str, Annotated[str, _GENERALISE]],
        Meta(
            description=(
                "Fields of which the log holds coarser values, and how: width 10 (a number becomes the "
                "lower end of its bin), prefix 3 (the first characters, for postcodes), or year, month, "
                "day, hour (a time is cut there). Default none."
            ),
            examples=[{"age": "width 10", "postcode": "prefix 3", "born": "year"}],
        ),
    ] = field(default_factory=dict)
    phone_regions: Annotated[
        tuple[Annotated[str, _REGION], ...],
        Meta(
            description=(
                "Countries whose telephone numbers redact finds without a leading +. Default none: a "
                "number without a country is only guessed at."
            ),
            examples=[["GB", "DE"]],
        ),
    ] = ()
    master_key_file: Annotated[
        str,
        Meta(
            description=(
                "File that holds the master key (64 hexadecimal digits) where HOLDFAST_MASTER_KEY is not "
                'set, relative to the deployment folder but best outside it. Default "": the environment.'
            )
        ),
    ] = ""
    weakened_reason: Annotated[
        str,
        _REASON,
        Meta(
            description=(
                "Why a default of high sensitivity is weakened in this file, in your words. Default "
                '"": none is.'
            )
        ),
    ] = ""
    subject_field: Annotated[
        str,
        Meta(
            description=(
                "Field that names the person a record is about; stored as a keyed pseudonym, so that all "
                'rows of one person can be found and erased. Default "": rows are not about people.'
            )
        ),
    ] = ""
    consent_field: Annotated[
        str,
        Meta(description='Boolean field: the person agreed to use for training. Default "": not asked.'),
    ] = ""
