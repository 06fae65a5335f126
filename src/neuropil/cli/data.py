"""`neuropil data`: the data sets that ship with the package or can be loaded by name."""

from __future__ import annotations

from pathlib import Path

import typer

from neuropil.cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands about data sets."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    app.add_typer(group, name="data")

    @group.callback()
    def data(context: typer.Context, as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
        """List the named data sets, or describe one.

        Example: neuropil data
        """
        if context.invoked_subcommand is not None:
            return
        from neuropil import datasets

        entries = [datasets.describe(name) for name in datasets.names()]
        if as_json:
            print_json(entries)
            return
        columns = ("name", "modality", "title", "classes", "licence", "size_mb", "where")
        rows = [
            (
                e["name"],
                e["modality"],
                e["title"],
                ", ".join(map(str, e["classes"])),
                e["licence"],
                e["size_mb"],
                e["where"],
            )
            for e in entries
        ]
        print_table(f"{len(rows)} data sets; any MOABB data set loads as moabb:NAME", columns, rows, right=("size_mb",))

    @group.command()
    def show(
        name: str = typer.Argument(help="Name of a data set, as `neuropil data` prints it."),
        plot: Path = typer.Option(None, help="Where to write a picture (PNG) of the class averages."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Describe a data set: what was recorded, by whom, under which licence; and draw it.

        Example: neuropil data show scp-healthy --plot scp.png
        """
        from neuropil import datasets

        facts = datasets.describe(name)
        if plot is not None:
            datasets.plot(name, plot)
        if as_json:
            print_json(facts)
            return
        for key, value in facts.items():
            text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
            if text not in ("", None):
                typer.echo(f"{key.replace('_', ' '):>16}  {text}")
        if plot is not None:
            typer.echo(f"{'picture':>16}  {plot}")
