"""The dashboard's routes: pages, forms, the stream, and files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.prediction_log import ErasedPredictionError, LogFullError, PredictionLogError
from holdfast.registry import Registry, RegistryError, UnknownVersionError
from holdfast.spec import Deployment
from holdfast.ui import errors
from holdfast.ui.actions import Actions
from holdfast.ui.facts import Facts
from holdfast.ui.files import file_response
from holdfast.ui.live import MOST_STREAMS, Live
from holdfast.ui.pages import Pages
from holdfast.ui.session import SCHEME_HEADER, VIEWING, Sessions, Viewer, new_token
from holdfast.ui.traffic import TrafficWatch

LARGEST_FORM_BYTES: Final = 64 * 1024
_MOST_FIELDS: Final = 40
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # a form of ours then says where it came from
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
STATUS: Final[dict[type[HoldfastError], int]] = {
    errors.PageNotFoundError: 404,
    errors.SignInError: 401,
    errors.NotAllowedError: 403,
    errors.FormError: 400,
    UnknownVersionError: 404,
    RegistryError: 409,
    PredictionLogError: 409,
    ErasedPredictionError: 410,
    LogFullError: 503,
}
"""By class; everything else is 500."""
_BY_NAME: Final = {"RolloutError": 409}
"""Errors of rooms that are loaded with the first act that needs them."""
Handler = Callable[[Request, Viewer], Response]


def make_dashboard(
    deployment: Deployment,
    registry: Registry,
    clock: Clock,
    *,
    read_only: bool = False,
    ending: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The app.

    Args:
        deployment: whose pages these are.
        registry: open for as long as the app is.
        clock: for sessions, ages and entries.
        read_only: whether nothing can be changed from these pages.
        ending: whether the process is about to end; open streams then do.
    """
    return _Dashboard(deployment, registry, clock, read_only=read_only, ending=ending).app()


class _Dashboard:
    def __init__(
        self,
        deployment: Deployment,
        registry: Registry,
        clock: Clock,
        *,
        read_only: bool,
        ending: Callable[[], bool],
    ) -> None:
        self._deployment = deployment
        self._registry = registry
        self._facts = Facts(deployment, registry, clock)
        self._watch = TrafficWatch(self._facts)
        self._sessions = Sessions(deployment, registry, clock, read_only=read_only)
        self._pages = Pages(
            deployment.name, registry, self._facts, self._watch, keys=not self._sessions.open_to_all
        )
        self._live = Live(self._facts, self._watch, ending)
        self._actions = Actions(deployment, registry, clock)
        self._read_only = read_only

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page(self._pages.overview)),
                Route("/ui/", self._page(self._pages.overview)),
                Route("/ui", self._page(self._pages.overview)),
                Route("/ui/drift", self._page(self._pages.drift)),
                Route("/ui/column", self._page(self._pages.column)),
                Route("/ui/diagnosis", self._page(self._pages.diagnosis)),
                Route("/ui/versions", self._page(self._pages.versions)),
                Route("/ui/predictions", self._page(self._pages.predictions, "rows")),
                Route("/ui/prediction", self._page(self._pages.prediction, "rows")),
                Route("/ui/review", self._page(self._pages.review, "rows")),
                Route("/ui/checklist", self._page(self._pages.checklist)),
                Route("/ui/live", self._stream),
                Route("/ui/sign-in", self._sign_in_page),
                Route("/ui/sign-in", self._sign_in, methods=["POST"]),
                Route("/ui/sign-out", self._form(None, "/ui/sign-in"), methods=["POST"]),
                Route(
                    "/ui/remark",
                    self._form(self._actions.remark, "/ui/diagnosis#remarks", "admin"),
                    methods=["POST"],
                ),
                Route(
                    "/ui/promote",
                    self._form(self._actions.promote, "/ui/versions", "admin"),
                    methods=["POST"],
                ),
                Route("/ui/hold", self._form(self._actions.hold, "/ui/versions", "admin"), methods=["POST"]),
                Route(
                    "/ui/roll-back",
                    self._form(self._actions.roll_back, "/ui/versions", "admin"),
                    methods=["POST"],
                ),
                Route("/ui/label", self._form(self._actions.label, "/ui/review", "label"), methods=["POST"]),
                Route("/ui/static/{name}", file_response),
            ],
            exception_handlers={HTTPException: self._on_http_error, Exception: self._on_fault},
        )

    # Around every page

    def _viewer(self, request: Request, token: str) -> Viewer:
        return self._sessions.viewer(token, request.headers.get("authorization", ""))

    def _token(self, request: Request) -> str:
        return request.cookies.get(self._cookie_name(request), "")

    def _cookie_name(self, request: Request) -> str:
        """With TLS, a name that only this host over TLS can set."""
        return f"__Host-{self._sessions.cookie}" if _secure(request) else self._sessions.cookie

    def _page(self, handler: Callable[..., str], scope: str = "read") -> Callable[[Request], Response]:
        """A page for those who may see it, made in a thread."""

        def page(request: Request) -> Response:
            token = self._token(request)
            try:
                self._sessions.check_host(request)
                fresh = not token and self._sessions.open_to_all
                token = token or new_token()
                viewer = self._viewer(request, token)
                _check_scope(viewer, scope)
                response: Response = HTMLResponse(handler(request, viewer), headers=_HEADERS)
            except errors.SignInError:
                target = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
                return RedirectResponse(_sign_in_link(target), 303, headers=_HEADERS)
            except HoldfastError as error:
                return self._error(request, error)
            if fresh:
                self._set_cookie(request, response, token)
            return response

        return page

    def _form(
        self, act: Callable[[Viewer, dict[str, str]], None] | None, target: str, scope: str | None = None
    ) -> Callable[[Request], Any]:
        """An act from a form of ours, then on to the page that shows what it did.

        Args:
            act: what is done with the form's fields; None signs out.
            target: the page.
            scope: of those who may; None: everybody.
        """

        async def take(request: Request) -> Response:
            token = self._token(request)
            try:
                self._sessions.check_host(request)
                viewer = await run_in_threadpool(self._viewer, request, token)
                fields = await _fields(request)
                self._sessions.check_form(request, viewer, fields.get("form", ""))
                if scope is not None and not viewer.may_change(scope):
                    raise errors.NotAllowedError(
                        "these pages are read-only" if viewer.read_only else "this key may not do that",
                        expected=None if viewer.read_only else f"a key with the scope {scope}",
                    )
                if act is None:
                    self._sessions.sign_out(token)
                else:
                    await run_in_threadpool(act, viewer, fields)
            except HoldfastError as error:
                return await run_in_threadpool(self._error, request, error)
            return RedirectResponse(target, 303, headers=_HEADERS)

        return take

    def _set_cookie(self, request: Request, response: Response, token: str) -> None:
        response.set_cookie(
            self._cookie_name(request),
            token,
            max_age=round(self._sessions.length_s),
            httponly=True,
            samesite="strict",
            secure=_secure(request),
            path="/",
        )

    def _error(self, request: Request, error: HoldfastError) -> Response:
        return self._told(request, error, status_of(error))

    def _told(self, request: Request, error: HoldfastError, status: int) -> Response:
        """With the way to the other pages for those who may see them."""
        try:
            self._sessions.check_host(request)
            viewer = self._viewer(request, self._token(request))
        except HoldfastError:
            viewer = None
        page = self._pages.render("error.html", request, viewer, "", error=error, status=status)
        return HTMLResponse(page, status, headers=_HEADERS)

    async def _on_http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        told = errors.PageNotFoundError("there is no such page", where=request.url.path[:200])
        if status == 405:
            told = errors.PageNotFoundError("this address takes forms only", where=request.url.path[:200])
        return await run_in_threadpool(self._told, request, told, status)

    async def _on_fault(self, request: Request, _: Exception) -> Response:
        told = errors.UiError(
            "this page failed", next_step="The service's output says why; predictions are not concerned."
        )
        page = self._pages.render("error.html", request, None, "", error=told, status=500)
        return HTMLResponse(page, 500, headers=_HEADERS)

    # The stream

    async def _stream(self, request: Request) -> Response:
        token = self._token(request)

        def still_allowed() -> bool:
            try:
                return bool(self._viewer(request, token).scopes & VIEWING)
            except HoldfastError:
                return False

        try:
            self._sessions.check_host(request)
            _check_scope(await run_in_threadpool(self._viewer, request, token), "read")
        except HoldfastError as error:
            return Response(str(error), status_of(error), headers=_HEADERS)
        if self._live.open_streams >= MOST_STREAMS:
            return Response("too many pages are open", 503, headers=_HEADERS)
        return StreamingResponse(
            self._live.stream(still_allowed), media_type="text/event-stream", headers=_HEADERS
        )

    # Signing in and out

    def _sign_in_page(self, request: Request) -> Response:
        return self._sign_in_form(request, None, 200)

    def _sign_in_form(self, request: Request, problem: HoldfastError | None, status: int) -> Response:
        if self._sessions.open_to_all:
            return RedirectResponse("/ui/", 303, headers=_HEADERS)
        target = _own_path(request.query_params.get("to", ""))
        page = self._pages.render(
            "sign_in.html", request, None, "", problem=problem, to=target, tokens=self._sessions.takes_tokens
        )
        return HTMLResponse(page, status, headers=_HEADERS)

    async def _sign_in(self, request: Request) -> Response:
        try:
            self._sessions.check_host(request)
            origin = request.headers.get("origin")
            if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
                raise errors.NotAllowedError("the form came from another site", received=origin[:100])
            fields = await _fields(request)
            token = await run_in_threadpool(self._sessions.sign_in, fields.get("key", ""))
        except HoldfastError as error:
            return await run_in_threadpool(self._sign_in_form, request, error, status_of(error))
        response = RedirectResponse(_own_path(fields.get("to", "")), 303, headers=_HEADERS)
        self._set_cookie(request, response, token)
        return response


def status_of(error: HoldfastError) -> int:
    """The HTTP status of an error, by its nearest listed class."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
        if kind.__name__ in _BY_NAME:
            return _BY_NAME[kind.__name__]
    return 500


def _check_scope(viewer: Viewer, scope: str) -> None:
    if not viewer.may(scope):
        raise errors.NotAllowedError(
            "this key may not see that page",
            expected=f"a key with the scope {scope}",
            received=", ".join(sorted(viewer.scopes)),
            next_step=f"holdfast key create NAME --scope {scope}",
        )


def _secure(request: Request) -> bool:
    return request.headers.get(SCHEME_HEADER, request.url.scheme) == "https"


def _own_path(path: str) -> str:
    """A path of these pages to go on to; never another site's."""
    plain = path.startswith("/ui/") and "\\" not in path and not path.startswith("//") and path.isprintable()
    return path if plain else "/ui/"


def _sign_in_link(target: str) -> str:
    from holdfast.ui.render import link

    return link("/ui/sign-in", to=target if _own_path(target) == target and target != "/ui/" else None)


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        FormError: it is no form, or too large.
    """
    if (
        request.headers.get("content-type", "").partition(";")[0].strip()
        != "application/x-www-form-urlencoded"
    ):
        raise errors.FormError("no form", expected="application/x-www-form-urlencoded")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM_BYTES:
            raise errors.FormError("the form is too large", expected=f"at most {LARGEST_FORM_BYTES} bytes")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise errors.FormError(
            "the form cannot be read", next_step="Load the page anew and send it again"
        ) from error
    return dict(pairs)
