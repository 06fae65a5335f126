"""`neuropil reproduce`: measure the claims of a system's paper and say which hold."""

from __future__ import annotations

from pathlib import Path

import typer

from neuropil.cli.output import print_json
from neuropil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command that runs claims."""

    @app.command()
    def reproduce(
        system: str = typer.Argument(None, help="Slug of a working system; see `neuropil systems --status working`."),
        every: bool = typer.Option(False, "--all", help="Every working system."),
        claim: list[str] = typer.Option(None, help="Only this claim; may be given several times."),
        full: bool = typer.Option(
            False, "--full", help="The paper's scale instead of the quick one (two minutes on two cores)."
        ),
        seeds: int = typer.Option(None, min=1, help="Seeds a claim; by default what it declares."),
        record: bool = typer.Option(False, "--record", help="Write results/<system>.json and docs/atlas/<system>.md."),
        results: Path = typer.Option(
            Path("runs"), help="Folder that keeps every measurement; a run goes on from what it finds there."
        ),
        jobs: int = typer.Option(None, min=1, help="Processes; by default one a core."),
        cluster: str = typer.Option(None, help="Address of a Dask scheduler to run on instead."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Measure the claims of a published system against its baselines; say honestly which hold.

        The exit code is 1 if a claim does not hold here.

        Example: neuropil reproduce dbconformer --seeds 3
        """
        from neuropil import catalog

        if every == (system is not None):
            raise UsageError(
                "Name one system, or pass --all for every working one; `neuropil systems --status working` lists them."
            )
        working = [entry.slug for entry in catalog.systems(status="working")]
        slugs = working if every else [catalog.require_working(str(system)).slug]
        from neuropil.experiments.reproduce import reproduce as run

        runs = [
            run(
                slug,
                scale="full" if full else "quick",
                claims=claim or None,
                seeds=seeds,
                results=results,
                record=record,
                n_jobs=jobs,
                cluster=cluster,
            )
            for slug in slugs
        ]
        if as_json:
            documents = [reproduction.to_json() for reproduction in runs]
            print_json(documents if every else documents[0])
        else:
            for reproduction in runs:
                reproduction.print()
        if any(reproduction.failed for reproduction in runs):
            raise typer.Exit(1)
