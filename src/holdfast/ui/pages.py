"""What stands on each page, as HTML."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request

import holdfast
from holdfast.monitor import History
from holdfast.registry import Registry
from holdfast.ui.checks import make_checklist
from holdfast.ui.decisions import make_diagnosis, make_versions
from holdfast.ui.drift import history_of, make_column, make_drift, onset_places
from holdfast.ui.errors import FormError
from holdfast.ui.facts import Facts, StoredDiagnosis
from holdfast.ui.live import traffic_words
from holdfast.ui.overview import headline, make_overview
from holdfast.ui.render import render
from holdfast.ui.session import Viewer
from holdfast.ui.traffic import TrafficWatch

_THEMES: Final = frozenset({"light", "dark"})


class Pages:
    """The pages of one deployment.

    Args:
        name: of the deployment.
        registry: takes into its audit who looked at raw rows.
        facts: what there is to show.
        watch: the traffic of the last minutes.
        keys: whether viewers sign in.
    """

    def __init__(
        self, name: str, registry: Registry, facts: Facts, watch: TrafficWatch, *, keys: bool
    ) -> None:
        self._name = name
        self._registry = registry
        self._facts = facts
        self._watch = watch
        self._keys = keys

    def render(
        self, template: str, request: Request, viewer: Viewer | None, active: str, **values: Any
    ) -> str:
        """A template, with what stands around every page."""
        theme = request.cookies.get("holdfast-theme", "")
        return render(
            template,
            deployment=self._name,
            viewer=viewer,
            active=active,
            theme=theme if theme in _THEMES else "",
            version=holdfast.__version__,
            keys=self._keys,
            here=request.url.path,
            **values,
        )

    def overview(self, request: Request, viewer: Viewer) -> str:
        """How things stand."""
        found = make_overview(self._facts, self._watch)
        return self.render(
            "overview.html",
            request,
            viewer,
            "overview",
            page=found,
            traffic=traffic_words(found.traffic),
            history=_windows_of(found.stored, found.champion),
            onset_places=onset_places,
        )

    def drift(self, request: Request, viewer: Viewer) -> str:
        """All columns, and where they are now."""
        page = make_drift(self._facts, *_slice_of(request))
        return self.render("drift.html", request, viewer, "drift", page=page, onset_places=onset_places)

    def column(self, request: Request, viewer: Viewer) -> str:
        """One column, window by window."""
        name, window = request.query_params.get("name", ""), request.query_params.get("window")
        number = int(window) if window is not None and window.isdecimal() and len(window) < 9 else None
        page = make_column(self._facts, name, number, _slice_of(request))
        return self.render("column.html", request, viewer, "drift", page=page)

    def diagnosis(self, request: Request, viewer: Viewer) -> str:
        """The verdict, why, and what to do."""
        found = make_diagnosis(self._facts)
        return self.render(
            "diagnosis.html",
            request,
            viewer,
            "diagnosis",
            page=found,
            head=headline(found.champion, found.stored, found.snoozed_until_us),
            onset_places=onset_places,
        )

    def versions(self, request: Request, viewer: Viewer) -> str:
        """Versions, two of them side by side, and what was decided."""
        chosen = request.query_params.get("beside", "")[:20] or None
        return self.render(
            "versions.html", request, viewer, "versions", page=make_versions(self._facts, chosen)
        )

    def checklist(self, request: Request, viewer: Viewer) -> str:
        """The checklist beside what was measured."""
        return self.render("checklist.html", request, viewer, "checklist", page=make_checklist(self._facts))

    def predictions(self, request: Request, viewer: Viewer) -> str:
        """Predictions that were searched for."""
        from holdfast.ui.rows import Search, search

        given = {name: request.query_params.get(name, "")[:200] for name in Search.__struct_fields__}
        wanted = Search(**given)
        used = sorted(name for name, value in given.items() if value)
        self._note(viewer, "search", by=used)
        problem = found = None
        try:
            found = search(self._facts, wanted)
        except FormError as error:
            problem = error
        return self.render(
            "predictions.html",
            request,
            viewer,
            "predictions",
            wanted=wanted,
            found=found,
            problem=problem,
            versions=[one.version for one in self._registry.versions()],
        )

    def prediction(self, request: Request, viewer: Viewer) -> str:
        """One prediction with its explanation."""
        from holdfast.ui.rows import one

        self._note(viewer, "prediction")
        found = one(self._facts, request.query_params.get("id", "")[:200])
        return self.render("prediction.html", request, viewer, "predictions", page=found)

    def review(self, request: Request, viewer: Viewer) -> str:
        """Predictions that wait for a label."""
        from holdfast.ui.rows import queue

        self._note(viewer, "review")
        return self.render("review.html", request, viewer, "predictions", page=queue(self._facts))

    def _note(self, viewer: Viewer, view: str, **detail: object) -> None:
        """Enter a view of raw rows in the audit, before any is read. What was sought is left out."""
        self._registry.audit.add(
            actor=viewer.name, action="read.rows", target=f"dashboard {view}", detail=detail
        )


def _windows_of(stored: StoredDiagnosis | None, version: str | None) -> History | None:
    """For the first page's picture the windows of the diagnosis do: the history of columns is megabytes."""
    if stored is None or not stored.diagnosis.windows:
        return None
    return history_of(stored.diagnosis, version or "")


def _slice_of(request: Request) -> tuple[str, str]:
    """Column and value of the slice that a page is of; empty: all rows."""
    return request.query_params.get("slice", "")[:200], request.query_params.get("value", "")[:2000]
