"""What can go wrong with the service itself, rather than with one request's rows."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class ServeError(HoldfastError):
    """The service cannot start or go on."""


class ExposureError(ServeError):
    """The checklist would let strangers in: an address off loopback without keys or without TLS."""


class ListenError(ServeError):
    """The address cannot be listened on."""


class AgreementError(ServeError):
    """Deployments that are to be served together differ in what the service can have only one of."""


class RequestError(HoldfastError):
    """A request that is refused before its rows are looked at."""


class UnauthorisedError(RequestError):
    """No API key, or one that is not accepted."""


class ForbiddenError(RequestError):
    """A caller who is known, and whose key is not for this."""


class RateLimitedError(RequestError):
    """A caller who asks more often than the key allows."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            "this key asks too often",
            expected="[security] requests_per_s_per_key, or the key's own rate",
            next_step=f"Ask again in {retry_after_s:.2g} s.",
        )
        self.retry_after_s = retry_after_s


class TooManyStreamsError(RequestError):
    """A caller who has as many open streams as `[stream] most_streams_per_caller` allows."""


class BodyTooLargeError(RequestError):
    """The body exceeds `[predictions] max_body_bytes`."""


class ContentTypeError(RequestError):
    """The body is declared to be something that this route does not read."""


class ContentCodingError(ContentTypeError):
    """The body comes in a content coding that the service does not read."""


class RouteNotFoundError(RequestError):
    """There is no such path."""


class MethodNotAllowedError(RequestError):
    """The path does not take this method."""


class HeadersTooLargeError(RequestError):
    """The request line and headers are longer than the service reads."""


class InvalidHttpError(RequestError):
    """The bytes are no HTTP/1.1 request."""


class TransferCodingError(RequestError):
    """The body comes in a transfer coding that the service does not read."""


class RequestTimeoutError(RequestError):
    """The client took too long to send its request."""


class RepositoryError(RequestError):
    """A version cannot be loaded or unloaded at run time."""


class OriginError(RequestError):
    """A page of another site asks for a stream."""


class DashboardUnavailableError(ServeError):
    """The dashboard's process does not answer; predictions are not concerned."""


def too_large(limit_bytes: int) -> BodyTooLargeError:
    """The error for a body over the limit."""
    return BodyTooLargeError(
        "the body is too large",
        expected=f"at most {limit_bytes} bytes",
        next_step="Send fewer rows per request, or raise [predictions] max_body_bytes.",
    )
