# SPDX-License-Identifier: GPL-2.0-only
"""The command `mip`: what its subcommands have in common.

Each subcommand is a function in a module of this package, which is imported when the
subcommand is used: `mip --help` and `mip status` load neither Scapy nor pyroute2.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mip_agents.protocol.errors import MipError

try:  # newer versions of typer bring their own copy of click
    from typer._click.exceptions import ClickException, UsageError
except ImportError:
    from click.exceptions import ClickException, UsageError  # type: ignore[assignment]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": (
        "tools",
        "demo",
        "Roam through a small Internet with real agents; measure the loss.",
    ),
    "ha": ("daemons", "home_agent", "Run a home agent in the foreground."),
    "fa": ("daemons", "foreign_agent", "Run a foreign agent in the foreground."),
    "mn": ("daemons", "mobile_node", "Run a mobile node in the foreground."),
    "check-config": (
        "daemons",
        "check_config",
        "Validate a configuration without running it.",
    ),
    "status": ("control", "status", "Show the state of a running agent."),
    "bindings": ("control", "bindings", "Show the bindings of a home agent."),
    "visitors": ("control", "visitors", "Show the visitors of a foreign agent."),
    "watch": ("control", "watch", "Show events of an agent as they happen."),
    "register": ("control", "register", "Let a mobile node register."),
    "deregister": ("control", "deregister", "End a mobile node's registration."),
    "clear": ("control", "clear", "Drop the bindings of one home address."),
    "simulate": ("simulate", "simulate", "Simulate many nodes on a virtual clock."),
    "decode": ("decode", "decode", "Decode capture files."),
    "check": ("check", "check", "Judge captures against the rules."),
    "replay": (
        "replay",
        "replay",
        "Send a capture's requests to an agent again; compare the replies.",
    ),
    "shell": ("tools", "shell", "Scapy's prompt with every layer loaded."),
    "bench": ("tools", "bench", "Run the benchmarks."),
}
"""Name of each subcommand: its module, its function, and one line of help."""


class LazyGroup(TyperGroup):
    """A command group whose commands are imported when they are used."""

    _stubs = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a command; for the list in the help its name and line will do."""
        if cmd_name not in COMMANDS:
            return None
        module, function, text = COMMANDS[cmd_name]
        if self._stubs:
            return TyperCommand(cmd_name, short_help=text)
        found = importlib.import_module(f"mip_agents.cli.{module}")
        return _command(cmd_name, getattr(found, function))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without importing the commands."""
        self._stubs = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._stubs = False


def _command(name: str, function: Callable[..., Any]) -> Any:
    """Turn one function with typer's annotations into a command."""
    single = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    single.command(name, help=_paragraphs(function.__doc__ or ""))(function)
    return typer.main.get_command(single)


def _paragraphs(text: str) -> str:
    """Join the lines of each paragraph; typer would keep their ends."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(part.split("\n")) for part in paragraphs)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich costs half of the time that this takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from scapy_mip import __version__

        print(f"mip {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: mip demo     Help on one command: mip status --help")
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        help="Show the version and exit.",
        is_eager=True,
        callback=_show_version,
    ),
) -> None:
    """Mobile IPv4: home agent, foreign agent, mobile node, and tools around them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. Never shows a traceback."""
    _open_standard_streams()
    try:
        result = typer.main.get_command(app).main(
            args=list(arguments) if arguments is not None else None,
            prog_name="mip",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except UsageError as error:
        return _fail(_usage(error), EXIT_USAGE)
    except ClickException as error:
        return _fail(error.format_message(), EXIT_FAILURE)
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except MipError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader, such as `head`, has enough.
        _discard_output()
        return EXIT_FAILURE
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # Whoever writes to a file says what is wrong with it; this is none of these.
        _discard_output()
        return _fail(f"cannot write output: {error.strerror}", EXIT_USAGE)
    return result if isinstance(result, int) else 0


def _open_standard_streams() -> None:
    """Put nothing in the place of streams that the caller has closed.

    The next file to be opened would get the number of one of them.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123


def _discard_output() -> None:
    """Keep the interpreter from complaining when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: UsageError) -> str:
    """Say in one line what is wrong and where the help is."""
    path = error.ctx.command_path if error.ctx is not None else "mip"
    text = error.format_message().replace("\n", " ").rstrip(".")
    if not text:
        return ""  # `mip` alone: the help has been shown
    return f"{text} (try: {path} --help)"


def _fail(text: str, code: int) -> int:
    for line in text.splitlines():
        print(f"mip: {line}", file=sys.stderr)
    return code
