# SPDX-License-Identifier: GPL-2.0-only
"""What the control interface takes and gives, for programs: `GET /v1/schema`.

Each route with the role that has it and the JSON Schema of its answer
(https://json-schema.org, draft 2020-12). Objects may get further keys, none goes away.
"""

from __future__ import annotations

from typing import Any

_ADDRESS = {"type": "string", "format": "ipv4"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}


def _object(**keys: Any) -> dict[str, Any]:
    return {"type": "object", "properties": keys, "required": list(keys)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


_TRAFFIC = {
    "sent_packets": _COUNT,
    "sent_bytes": _COUNT,
    "received_packets": _COUNT,
    "received_bytes": _COUNT,
}
_BINDING = _object(
    home_address=_ADDRESS,
    nai=_or_null(_TEXT) | {"description": "null: known by its home address"},
    care_of_address=_ADDRESS,
    home_agent=_ADDRESS,
    lifetime=_COUNT | {"description": "granted seconds; 65535 is infinite"},
    remaining=_or_null(_COUNT) | {"description": "seconds; null is infinite"},
    flags=_TEXT | {"description": "letters of the request's flags"},
    encapsulation=_or_null(_TEXT),
    identification=_TEXT | {"pattern": "^[0-9a-f]{16}$"},
    spi=_COUNT,
    source=_ADDRESS | {"description": "where the request came from"},
    **_TRAFFIC,
)
_VISITOR = _object(
    home_address=_ADDRESS | {"description": "0.0.0.0: not known yet"},
    nai=_or_null(_TEXT),
    interface=_TEXT,
    link_address=_TEXT | {"description": "as 02:00:00:00:00:01"},
    source=_ADDRESS | {"description": "where the request came from"},
    care_of_address=_ADDRESS,
    home_agent=_ADDRESS,
    state={"enum": ["registered", "pending"]},
    lifetime=_COUNT | {"description": "seconds; 65535 is infinite"},
    remaining=_or_null(_COUNT)
    | {"description": "seconds, until a pending request is given up; null: infinite"},
    flags=_TEXT | {"description": "letters of the request's flags"},
    tunnel=_or_null(_TEXT)
    | {"description": "its name in metrics; null: none ends here"},
    encapsulation=_or_null(_TEXT),
    delivery_style=_or_null(_TEXT) | {"description": "of the reverse tunnel"},
    identification=_TEXT | {"pattern": "^[0-9a-f]{16}$"},
    **_TRAFFIC,
)
_STATUS = _object(
    role=_TEXT,
    version=_TEXT,
    pid=_COUNT,
    uptime={"type": "number", "description": "seconds"},
    dataplane=_object(
        name=_or_null(_TEXT),
        passed_over={"type": "object", "description": "why, by the name of each"},
    ),
    counters={"type": "object", "description": "events by name"},
    drops={"type": "object", "description": "packets thrown away, by reason"},
)
_STATUS["properties"] |= {
    "bindings": _COUNT | {"description": "home agents"},
    "visitors": _COUNT | {"description": "foreign agents"},
    "busy": {"type": "boolean", "description": "foreign agents: no room for more"},
    "care_of_addresses": {
        "type": "array",
        "items": _ADDRESS,
        "description": "foreign agents: those on offer",
    },
    "interfaces": {
        "type": "array",
        "items": _object(
            name=_TEXT,
            up={"type": "boolean"},
            addresses={"type": "array", "items": _TEXT},
            advertising={"type": "boolean"},
            advertisements=_COUNT | {"description": "sent so far"},
        ),
        "description": "foreign agents: visited links",
    },
    "leases": _COUNT | {"description": "home agents: addresses given to NAIs"},
    "advertisement": _or_null(
        _object(
            interface=_or_null(_TEXT),
            interval={"type": "number", "description": "seconds; 0: when solicited"},
            lifetime=_COUNT | {"description": "seconds that each counts"},
            destination=_ADDRESS,
            flags=_TEXT | {"description": "letters of an advertisement's flags"},
            sent=_COUNT,
        )
    )
    | {"description": "home agents: on the home link; null: not at all"},
    "foreign_agent": _or_null(_ADDRESS)
    | {"description": "mobile nodes: through whom it registers"},
    "last_codes": {
        "type": "array",
        "items": _COUNT,
        "description": "mobile nodes: codes of the latest replies, the newest first",
    },
    "agents": {
        "type": "array",
        "items": _object(
            interface=_TEXT,
            address=_ADDRESS,
            flags=_TEXT | {"description": "letters of an advertisement's flags"},
            care_of_addresses={"type": "array", "items": _ADDRESS},
            registration_lifetime=_COUNT,
            remaining=_COUNT | {"description": "seconds until it counts as lost"},
        ),
        "description": "mobile nodes: the agents that are heard",
    },
    "quirks": {
        "type": "array",
        "items": _TEXT,
        "description": "home agents: for whom which exceptions are made",
    },
}
_EVENT = _object(
    time={"type": "number", "description": "seconds since 1970"},
    event=_TEXT,
    severity={"enum": ["debug", "info", "warning", "error"]},
)
_FINISHED = {
    "type": "object",
    "properties": {"code": _COUNT | {"description": "code of the reply"}},
}
_ERROR = _object(error=_TEXT)


def _route(
    method: str,
    path: str,
    answer: Any,
    *,
    role: str | None = None,
    kind: str = "application/json",
    **more: Any,
) -> dict[str, Any]:
    return {
        "method": method,
        "path": path,
        "role": role,
        "content_type": kind,
        "answer": answer,
        **more,
    }


SCHEMA: dict[str, Any] = {
    "routes": [
        _route("GET", "/v1/schema", {"type": "object"}),
        _route("GET", "/v1/status", _STATUS),
        _route(
            "GET",
            "/v1/events",
            _EVENT,
            kind="text/event-stream",
            query={"after": "number of an event: begin with the kept ones behind it"},
        ),
        _route("GET", "/metrics", _TEXT, kind="text/plain"),
        _route(
            "GET",
            "/v1/bindings",
            {"type": "array", "items": _BINDING},
            role="home_agent",
        ),
        _route(
            "GET",
            "/v1/visitors",
            {"type": "array", "items": _VISITOR},
            role="foreign_agent",
        ),
        _route("DELETE", "/v1/bindings/{home_address}", _FINISHED, role="home_agent"),
        _route(
            "POST",
            "/v1/register",
            _FINISHED,
            role="mobile_node",
            body={
                "type": "object",
                "properties": {
                    "interface": _TEXT,
                    "lifetime": {"type": "integer", "minimum": 1, "maximum": 65535},
                },
                "required": ["interface"],
            },
        ),
        _route("POST", "/v1/deregister", _FINISHED, role="mobile_node"),
        _route("POST", "/v1/cancel", _FINISHED, role="mobile_node"),
    ],
    "error": _ERROR,
}
"""Every route; one whose `role` is null is there for every agent. Any status other than
200 comes with `error`."""
