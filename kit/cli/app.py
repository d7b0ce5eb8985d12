"""The ``kit`` command.

Every command imports what it needs when it runs, so that ``kit --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kit.cli import classes
from kit.database import PLAYGROUND
from kit.errors import KitError

app = typer.Typer(
    help="Learn PGQueuer in a notebook: a real Postgres, a consumer in the kernel, and tables you can see.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(classes.app, name="class")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the kit's version and leave.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"pgqueuer-kit {version_of('pgqueuer-kit')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def lab(
    lesson: Annotated[
        str | None,
        typer.Argument(
            help="A lesson: its number, name or file; or primer, glossary, guide. The first by default."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port of JupyterLab.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Open the lesson as it was at first; yours is kept.")
    ] = False,
    originals: Annotated[
        bool, typer.Option("--originals", help="Open what the copies are made of, to write lessons.")
    ] = False,
) -> None:
    """Start Postgres and open JupyterLab on a lesson, in a copy that is yours. Ctrl-C stops both."""
    from kit.cli.lab import open_lab

    code = open_lab(lesson, PLAYGROUND, browser=browser, port=port, fresh=fresh, originals=originals)
    raise typer.Exit(code)


@app.command()
def env(
    database: Annotated[
        str, typer.Argument(help="The database: a lesson's, or one of your own.")
    ] = PLAYGROUND,
    shell: Annotated[
        str | None, typer.Option(help="The shell to write for. The one you are in by default.")
    ] = None,
) -> None:
    """Point a terminal at Postgres: eval "$(kit env)".

    Then asyncpg.connect(), psql, pgq run and pgq dashboard need no arguments there.

    Postgres is started where none runs, and stays up until this terminal is closed.
    """
    from kit.cli import terminal

    variables, language = terminal.enter(database, shell)
    typer.echo(terminal.lines(variables, language))
    if sys.stdout.isatty():
        command = " ".join(["kit env", *sys.argv[2:]])
        typer.echo(f"To take these over, run: {terminal.how_to_use(language, command)}", err=True)


@app.command()
def doctor() -> None:
    """Say what is wrong here, and what mends it.

    Looks at everything the kit needs. Its exit code is 1 when the lessons cannot run.
    """
    from kit.cli.doctor import examine, tell

    raise typer.Exit(tell(examine()))


@app.command()
def reset(
    database: Annotated[str, typer.Argument(envvar="PGDATABASE", help="The database to empty.")] = PLAYGROUND,
) -> None:
    """Make a database empty again.

    PGQueuer's tables lose their rows, and every other table goes. Only what the kit made is emptied.
    """
    from kit.sources import open_database
    from kit.sources import reset as empty

    with open_database(database=database) as opened:
        empty()
    typer.echo(f"Database {opened.name!r} on {opened.target.where} is empty again.")


@app.command()
def stop(
    force: Annotated[bool, typer.Option("--force", help="Also while notebooks use it.")] = False,
) -> None:
    """Stop the kit's Postgres. It keeps its data.

    Says first which notebooks, terminals and programs use it.
    """
    from kit.cli.servers import stop_all

    stop_all(force=force, say=typer.echo)


def main() -> None:
    """Run the command; an error a learner can mend is shown without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a Windows code page has no tick
    try:
        app(prog_name="kit")
    except KitError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
