# SPDX-License-Identifier: GPL-2.0-only
"""Log lines from what was noted: for people, or one JSON object per line."""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from mip_agents.protocol.effects import Noted, Severity
from mip_agents.runtime.events import Notes, Stamped
from mip_agents.runtime.options import LogFormat, LogLevel


class LogSink:
    """Writes what was noted as log lines; a sink of `Notes`."""

    def __init__(
        self,
        form: LogFormat = LogFormat.CONSOLE,
        level: LogLevel = LogLevel.INFO,
        stream: TextIO | None = None,
    ) -> None:
        stream = stream or sys.stderr
        self.least = Severity[level.name]
        """How loud what it writes is at least."""
        processors: list[structlog.typing.Processor]
        if form is LogFormat.JSON:
            # The keys are those of the control interface's events.
            processors = [
                structlog.processors.format_exc_info,
                _event_in_front,
                structlog.processors.JSONRenderer(),
            ]
        else:
            processors = [
                _for_people,
                structlog.dev.ConsoleRenderer(
                    colors=stream.isatty(),
                    pad_event_to=0,
                    sort_keys=False,
                    exception_formatter=structlog.dev.plain_traceback,
                ),
            ]
        self._logger: Any = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=processors,
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=True,
        )

    def __call__(self, stamped: Stamped) -> None:
        """Write one line, or none if it is not loud enough."""
        if stamped.noted.severity < self.least:
            return
        fields = {
            name: value
            for name, value in stamped.as_json().items()
            if value is not None
        }
        if stamped.error is not None:
            fields["exc_info"] = stamped.error
        self._logger.info(fields.pop("event"), **fields)


def _event_in_front(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Give the keys the order of the control interface's events."""
    return {"time": event.pop("time"), "event": event.pop("event"), **event}


def _for_people(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Show the local time of day with milliseconds, and the severity in front."""
    moment = datetime.datetime.fromtimestamp(event.pop("time")).astimezone()
    event["timestamp"] = moment.isoformat(timespec="milliseconds")[11:23]
    event["level"] = event.pop("severity")
    return event


class _ToNotes(logging.Handler):
    """Brings the warnings of libraries into our log."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Note one record of the logging module."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._notes.crash(record.name, error)
            return
        severity = (
            Severity.ERROR if record.levelno >= logging.ERROR else Severity.WARNING
        )
        fields: dict[str, str | int | None] = {
            "library": record.name,
            "text": record.getMessage(),
        }
        self._notes.note(Noted(event="library", severity=severity, fields=fields))


def adopt_libraries(notes: Notes) -> None:
    """Route what libraries log to `notes`; for daemons, which own their process."""
    root = logging.getLogger()
    root.handlers[:] = [_ToNotes(notes)]
    root.setLevel(logging.WARNING)
