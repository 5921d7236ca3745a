"""A small FHIR server of a hospital, real HTTP: transactions with conditional creates, updates, references.

It can be set to fail, to lose answers after it has done the work, and to refuse; it keeps what it has
over a restart, as a hospital would.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Conflict(Exception):
    """A condition matched more than one resource, or none where one is referred to."""


class Hospital:
    """Resources by type and id; ``faults`` are consulted before each request and may name one."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, dict[str, Any]]] = {}
        self.versions: Counter[str] = Counter()
        self.requests: list[dict[str, str]] = []
        self.fault: Callable[[int], str] = lambda _number: ""
        self.refuses: Callable[[dict[str, Any]], str] = lambda _resource: ""
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/fhir"

    def start(self) -> None:
        hospital = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hospital.requests.append({name.lower(): value for name, value in self.headers.items()})
                fault = hospital.fault(len(hospital.requests))
                if fault.startswith("wait "):
                    self._answer(429, {"resourceType": "OperationOutcome"}, {"Retry-After": fault[5:]})
                    return
                if fault == "500":
                    self._answer(500, {"resourceType": "OperationOutcome", "issue": []})
                    return
                status, answer = hospital.transaction(json.loads(body)) if self.path == "/fhir" else (404, {})
                if fault == "lost":
                    self.close_connection = True
                    return
                if fault == "html":
                    self._answer(200, None)
                    return
                self._answer(status, answer)

            def _answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
                payload = b"<html>a proxy</html>" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/fhir+json")
                self.send_header("Content-Length", str(len(payload)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def of(self, type_: str) -> list[dict[str, Any]]:
        return list(self.resources.get(type_, {}).values())

    def identifiers(self, type_: str) -> list[str]:
        return sorted(each["identifier"][0]["value"] for each in self.of(type_))

    # ------------------------------------------------------------------------------------ transactions

    def transaction(self, bundle: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """All or nothing (R4, 3.1.0.11.2)."""
        before = json.dumps(self.resources), self.versions.copy()
        try:
            assert bundle["type"] == "transaction"
            return 200, {
                "resourceType": "Bundle",
                "type": "transaction-response",
                "entry": [{"response": {"status": each}} for each in self._apply(bundle["entry"])],
            }
        except Conflict as conflict:
            self.resources, self.versions = json.loads(before[0]), before[1]
            issue = {"severity": "error", "code": "conflict", "diagnostics": str(conflict)}
            return 412, {"resourceType": "OperationOutcome", "issue": [issue]}

    def _apply(self, entries: list[dict[str, Any]]) -> list[str]:
        names: dict[str, str] = {}
        statuses = []
        for entry in entries:
            resource, request = entry["resource"], entry["request"]
            if why := self.refuses(resource):
                raise Conflict(why)
            type_ = resource["resourceType"]
            path, _, query = request["url"].partition("?")
            if request["method"] == "POST":
                matches = self._matching(type_, request["ifNoneExist"])
                id_ = matches[0] if matches else uuid.uuid4().hex
                statuses.append("200 OK" if matches else "201 Created")
                if not matches:
                    self._put(type_, id_, resource)
            else:
                matches = self._matching(type_, query) if query else [path.partition("/")[2]]
                id_ = matches[0] if matches else uuid.uuid4().hex
                statuses.append("200 OK" if id_ in self.resources.get(type_, {}) else "201 Created")
                self._put(type_, id_, resource)
            names[entry["fullUrl"]] = f"{type_}/{id_}"
        for entry in entries:
            type_, _, id_ = names[entry["fullUrl"]].partition("/")
            stored = self.resources[type_][id_]
            self.resources[type_][id_] = self._resolved(stored, names)
        return statuses

    def _put(self, type_: str, id_: str, resource: dict[str, Any]) -> None:
        self.resources.setdefault(type_, {})[id_] = resource | {"id": id_}
        self.versions[f"{type_}/{id_}"] += 1

    def _matching(self, type_: str, query: str) -> list[str]:
        (token,) = parse_qs(query)["identifier"]
        system, _, value = token.partition("|")
        wanted = {"system": system, "value": value}
        found = [
            id_ for id_, each in self.resources.get(type_, {}).items() if wanted in each.get("identifier", [])
        ]
        if len(found) > 1:
            raise Conflict(f"{len(found)} of {type_} have the identifier {token}")
        return found

    def _resolved(self, value: Any, names: dict[str, str]) -> Any:
        if isinstance(value, list):
            return [self._resolved(each, names) for each in value]
        if not isinstance(value, dict):
            return value
        value = {name: self._resolved(each, names) for name, each in value.items()}
        if isinstance(reference := value.get("reference"), str):
            parts = urlsplit(reference)
            if reference.startswith("urn:"):
                value["reference"] = names[reference]
            elif parts.query:
                found = self._matching(parts.path, parts.query)
                if not found:
                    raise Conflict(f"there is no {reference}")
                value["reference"] = f"{parts.path}/{found[0]}"
        return value
