"""The commands put together, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from neuropil.cli import catalog, clean, compare, data, evidence, explain, fitting, translate, worm
from neuropil.cli.output import fail
from neuropil.errors import NeuropilError

EPILOG = (
    "Exit codes: 0 done; 1 a claim does not hold, or an internal error; 2 input or arguments that do not fit; 130 ended by Ctrl-C. "
    "NEUROPIL_DEBUG=1 shows where an error came from."
)

app = typer.Typer(
    name="neuropil",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Neural activity in one labelled container; published systems fit, predict, stream and are compared on it.",
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        from neuropil import __version__

        typer.echo(f"neuropil {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Neural activity in one labelled container; published systems fit, predict, stream and are compared on it."""


for group in (catalog, data, compare, fitting, explain, clean, translate, worm, evidence):
    group.register(app)


def _sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a person wants to read it: what is meant for users comes without the place in the code."""
    if issubclass(category, UserWarning):
        return f"neuropil: {' '.join(str(message).split())}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def main() -> None:
    """Run the command line; errors from bad input become one sentence and exit code 2."""
    warnings.formatwarning = _sentence
    try:
        app()
    except KeyboardInterrupt:
        fail("Interrupted; what was finished is kept.", code=130)
    except BrokenPipeError:
        # The reader of our output (`| head`) has left: nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (NeuropilError, ValueError, TypeError, OSError) as error:
        if os.environ.get("NEUROPIL_DEBUG"):
            raise
        fail(str(error) or type(error).__name__)
