"""`neuropil systems` and `neuropil show`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from neuropil.cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands about the catalog."""

    @app.command()
    def systems(
        family: str = typer.Option(None, help="Only this family, e.g. decoding."),
        modality: str = typer.Option(None, help="Only systems for this modality, e.g. eeg."),
        status: str = typer.Option(None, help="Only working or only planned systems."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """List the published systems: what each one answers and whether it works yet.

        Example: neuropil systems --family decoding
        """
        from neuropil import catalog

        found = catalog.systems(family=family, modality=modality, status=status)
        if as_json:
            print_json([asdict(system) for system in found])
            return
        rows = [(s.slug, s.family, s.status, s.question) for s in found]
        n_working = sum(s.working for s in found)
        print_table(f"{len(found)} systems, {n_working} working", ("system", "family", "status", "question"), rows)

    @app.command()
    def show(
        system: str = typer.Argument(help="Slug of a system, as `neuropil systems` prints it."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Show one system: paper, question, where it lives, and its measured claims.

        Example: neuropil show dbconformer
        """
        from neuropil import catalog

        entry = catalog.get(system)
        claims = _recorded(system) if entry.working else []
        if as_json:
            print_json({**asdict(entry), "url": entry.url, "citation": entry.cite(), "claims": claims})
            return
        typer.echo(f"{entry.title} ({entry.slug}), {entry.family}, {entry.status}")
        typer.echo(f"  {entry.question}")
        typer.echo(f"  {entry.cite()}")
        if entry.url:
            typer.echo(f"  {entry.url}")
        if not entry.working:
            typer.echo(f"  Planned; it will live at {entry.import_path}.")
            return
        typer.echo(f"  {entry.import_path}\n")
        _print_interface(entry)
        if claims:
            print_table(
                "Claims", ("claim", "sentence", "seeds", "declared criteria"), [tuple(c.values()) for c in claims]
            )
            typer.echo(f"Measure them: neuropil reproduce {entry.slug}")


def _recorded(slug: str) -> list[dict[str, str]]:
    from neuropil.claims import claims_of

    return [
        {
            "name": c.name,
            "sentence": c.sentence,
            "seeds": str(c.seeds),
            "criteria": "; ".join(map(str, c.criteria)) or "reports only",
        }
        for c in claims_of(slug)
    ]


def _print_interface(entry: object) -> None:
    import inspect

    loaded = entry.load()  # type: ignore[attr-defined]
    signature = str(inspect.signature(loaded)).replace("'", "")
    first = (inspect.getdoc(loaded) or "").split("\n\n")[0].replace("\n", " ")
    typer.echo(f"  {loaded.__name__}{signature}\n  {first}\n")
