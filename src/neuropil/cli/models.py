"""`neuropil compare`, `neuropil fit` and `neuropil predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from neuropil.cli.output import print_json


def register(app: typer.Typer) -> None:
    """Add the commands that fit and compare decoders."""

    @app.command()
    def compare(
        data: str = typer.Argument(help="Name of a data set (see `neuropil data`) or path of a recording."),
        systems: list[str] = typer.Argument(None, help="Decoders to compare; without, the defaults for the data set."),
        split: list[str] = typer.Option(
            None, help="Split (own, blocks, chronological, stratified, session, subject); may be given several times."
        ),
        metric: str = typer.Option(
            None, help="Metric to rank by, e.g. accuracy, balanced_accuracy, kappa, roc_auc, nmcc."
        ),
        seeds: int = typer.Option(1, min=1, help="Repetitions with different seeds."),
        mode: Literal["offline", "pseudo-online"] = typer.Option(
            "offline", help="offline (one window a trial) or pseudo-online (sliding windows with an idle class)."
        ),
        results: Path = typer.Option(
            Path("runs"), help="Folder that keeps every finished fit; a run goes on from what it finds there."
        ),
        report: Path = typer.Option(None, help="Where to write the HTML report; by default beside the results."),
        jobs: int = typer.Option(None, min=1, help="Processes; by default one a core."),
        cluster: str = typer.Option(None, help="Address of a Dask scheduler to run on instead."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Compare decoders on a data set: leaderboard with intervals, significance and times, and an HTML report.

        Example: neuropil compare scp-healthy binned-lda dbconformer --split own
        """
        from neuropil.experiments.compare import compare as run

        comparison = run(
            data,
            systems or None,
            split=split or None,
            metric=metric,
            seeds=seeds,
            mode=mode,
            results=results,
            n_jobs=jobs,
            cluster=cluster,
        )
        written = comparison.report(report or comparison.default_report_path())
        if as_json:
            print_json(comparison.to_json())
            return
        comparison.print()
        typer.echo(f"Report: {written}")

    @app.command()
    def fit(
        system: str = typer.Argument(help="Decoder, e.g. auto, binned-lda, dbconformer."),
        data: str = typer.Argument(help="Name of a data set or path of a recording with labelled events."),
        output: Path = typer.Option(..., "--output", "-o", help="Folder for the fitted model."),
        tmin: float = typer.Option(0.0, help="Start of a window after the event, s."),
        tmax: float = typer.Option(None, help="End of a window after the event, s; by default the shortest event."),
        label: list[str] = typer.Option(None, help="Events to use; may be given several times; by default all."),
        stream: str = typer.Option(None, help="Stream of the recording; by default the first regular one."),
        seed: int = typer.Option(0, help="Seed of everything random."),
        overwrite: bool = typer.Option(False, help="Replace a model that is there already."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Fit a decoder on all windows of a data set or of your own recording, and save it.

        Example: neuropil fit auto scp-healthy -o model/
        """
        from neuropil.experiments.apply import fit as run

        facts = run(
            system,
            data,
            output,
            tmin=tmin,
            tmax=tmax,
            labels=label or None,
            stream=stream,
            seed=seed,
            overwrite=overwrite,
        )
        if as_json:
            print_json(facts)
        else:
            typer.echo(
                f"Fitted {system} on {facts['n_windows']} windows in {facts['fit_seconds']:.1f} s; saved to {output}."
            )

    @app.command()
    def predict(
        model: Path = typer.Argument(help="Folder that `neuropil fit` wrote."),
        recording: str = typer.Argument(help="Path of a recording, or name of a data set."),
        output: Path = typer.Option(
            None, "--output", "-o", help="Write the table to this CSV file instead of printing it."
        ),
        step: float = typer.Option(
            None, help="Slide over the whole recording in steps of so many seconds instead of using its events."
        ),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Predict with a saved model on a recording, cut exactly as the model's training windows were.

        Example: neuropil predict model/ my-session.fif --step 0.5
        """
        from neuropil.experiments.apply import predict as run
        from neuropil.storage import atomic_write_text

        table = run(model, recording, step=step)
        if output is not None:
            atomic_write_text(output, table.to_csv(index=False))
            typer.echo(f"{len(table)} windows; written to {output}.")
        elif as_json:
            print_json(table.to_dict(orient="records"))
        else:
            typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
