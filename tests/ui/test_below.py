"""Pages below a path: links and redirects of ours begin with it, what comes from data stays as it is."""

from __future__ import annotations

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from holdfast.ui.below import Below
from holdfast.ui.render import render

PAGE = (
    '<a href="/ui/drift"></a><form action="/ui/label"></form><script src="/ui/static/a.js"></script>'
    '<input name="to" value="/ui/drift"><p>href=&#34;/ui/drift&#34; é</p><a href="#x"></a><footer></footer>'
)


async def page(_: Request) -> Response:
    return HTMLResponse(PAGE)


async def away(_: Request) -> Response:
    return RedirectResponse("/ui/sign-in?to=%2Fui%2Fdrift", 303)


async def plain(_: Request) -> Response:
    return PlainTextResponse('href="/ui/drift"')


def get(path: str) -> httpx.Response:
    app = Starlette(routes=[Route("/ui/", page), Route("/ui/away", away), Route("/ui/plain", plain)])
    transport = httpx.ASGITransport(Below(app, "/deployments/fraud"))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_links_forms_and_scripts_begin_with_the_path_and_nothing_else_does() -> None:
    found = get("/ui/")
    assert found.headers["content-length"] == str(len(found.content))
    text = found.text
    for own in ('href="/deployments/fraud/ui/drift"', 'action="/deployments/fraud/ui/label"'):
        assert own in text
    assert 'src="/deployments/fraud/ui/static/a.js"' in text
    assert 'value="/ui/drift"' in text
    assert "href=&#34;/ui/drift&#34; é" in text
    assert '<a href="/">All deployments</a>' in text


def test_redirects_begin_with_the_path_and_other_content_is_left_alone() -> None:
    assert get("/ui/away").headers["location"] == "/deployments/fraud/ui/sign-in?to=%2Fui%2Fdrift"
    assert get("/ui/plain").text == 'href="/ui/drift"'


def test_a_plain_quote_of_data_never_reaches_a_page() -> None:
    error = {
        "what": 'x" href="/ui/drift',
        "where": None,
        "expected": None,
        "received": None,
        "next_step": None,
    }
    found = render(
        "error.html", deployment='a" href="/ui/b', viewer=None, active="", theme="", version="0", keys=False,
        here="/ui/", error=error, status=404,
    )  # fmt: skip
    assert 'x" href="/ui/drift' not in found
    assert 'a" href="/ui/b' not in found
