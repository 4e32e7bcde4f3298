"""The command line: `python -m altub --help` lists its commands; `python -m altub COMMAND --help` explains one.

Exit codes: 0 done, 2 bad input (one sentence on stderr), 130 stopped.
"""

from __future__ import annotations

import io
import sys

import typer

from altub.cli import (
    adapt,
    bench,
    data,
    deploy,
    detectability,
    export,
    hub,
    labels,
    list_settings,
    predict,
    runs,
    serve,
    study,
    train,
    versions,
    watch,
)
from altub.cli.options import BAD_INPUT, STOPPED
from altub.errors import AltUBError
from altub.settings import wait_passively

__all__ = ["app", "main"]

app = typer.Typer(
    name="altub",
    help="Finds defects in pictures of parts: FastFlow or CFLOW-AD on good parts only, on AltUB's learnable base.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# As --help lists them.
GROUPS = (
    data,
    train,
    predict,
    adapt,
    watch,
    detectability,
    labels,
    versions,
    export,
    runs,
    study,
    list_settings,
    bench,
    serve,
    hub,
    deploy,
)
for group in GROUPS:
    group.register(app)


def main() -> None:
    """Runs the command line; problems that a user can solve become one sentence and exit code 2."""
    wait_passively()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # file names that are not text
    try:
        app()
    except AltUBError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(STOPPED)
