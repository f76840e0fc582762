"""Dashboards of several deployments behind one service: each below its path, and a page that names all."""

from __future__ import annotations

import http.client
import re
import shutil
from pathlib import Path

import pytest
from hostile_score import NUMBER, WORD
from hostile_ward import make_ward, post

from holdfast.demo.service import ServiceProcess

NAME = "ward"


def get(service: ServiceProcess, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    try:
        connection.request("GET", path, headers={"accept": "text/html"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.slow
def test_each_deployment_has_its_pages_below_its_path_and_one_page_names_them_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    make_ward(first)
    shutil.copytree(first, second)
    checklist = second / "holdfast.toml"
    checklist.write_text(checklist.read_text().replace(NAME, "other-ward", 1))
    with ServiceProcess(first, str(first), str(second), "--no-monitor") as service:
        for path in ("/", "/ui/"):
            status, page = get(service, path)
            assert status == 200
            links = re.findall(r'href="([^"]+)"', page)
            assert links == [f"/deployments/{name}/ui/" for name in (NAME, "other-ward")]
        row = {"at": "2026-01-01T00:00:00Z", NUMBER: 0.5, WORD: "'south'"}
        post(service, "/deployments/other-ward/predict", row)
        for name, link in zip((NAME, "other-ward"), links, strict=True):
            status, page = get(service, link)
            assert status == 200
            own = [one for one in re.findall(r'(?:href|src|action)="(/[^"]*)"', page) if one != "/"]
            assert own
            assert {one.split("/")[2] for one in own} == {name}
            for one in own:
                assert get(service, one)[0] == 200, one
        assert get(service, "/deployments/nobody/ui/")[0] == 404
        assert service.stop() == 0
