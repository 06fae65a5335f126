"""`neuropil compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from neuropil.cli.output import print_json
from neuropil.cli.values import band_edges, named_values


def register(app: typer.Typer) -> None:
    """Add the command that compares decoders."""

    @app.command()
    def compare(
        data: str = typer.Argument(help="Name of a data set (see `neuropil data`) or path of a recording."),
        systems: list[str] = typer.Argument(None, help="Decoders to compare; without, the defaults for the data set."),
        split: list[str] = typer.Option(
            None,
            help="Split, may be given several times: own; within sessions blocks (or within-session), chronological, stratified, trial; "
            "across sessions session (leave one out), later-sessions (train on the first); across subjects subject (leave one out), "
            "subject-groups.",
        ),
        metric: str = typer.Option(
            None, help="Metric to rank by, e.g. accuracy, balanced_accuracy, kappa, roc_auc, nmcc."
        ),
        seeds: int = typer.Option(1, min=1, help="Repetitions with different seeds."),
        mode: Literal["offline", "pseudo-online"] = typer.Option(
            "offline", help="offline (one window a trial) or pseudo-online (sliding windows with an idle class)."
        ),
        align: Literal["euclidean", "riemannian"] = typer.Option(
            None,
            help="Whiten every session of every subject by its mean covariance before decoding, online for test windows.",
        ),
        option: list[str] = typer.Option(
            None, help="Option of a named data set as NAME=VALUE, e.g. n_sessions=2; may be given several times."
        ),
        band: str = typer.Option(
            None, help="Causal filter before cutting, LOW-HIGH in Hz, e.g. 8-30; an edge may be left out (--band=-40)."
        ),
        tmin: float = typer.Option(None, help="Start of a window after the event, s (offline)."),
        tmax: float = typer.Option(None, help="End of a window after the event, s (offline)."),
        length: float = typer.Option(None, help="Length of a sliding window, s (pseudo-online)."),
        overlap: float = typer.Option(None, help="Share that the next window repeats (pseudo-online)."),
        label: list[str] = typer.Option(None, help="Events to use; may be given several times; by default all."),
        stream: str = typer.Option(None, help="Stream of the recording; by default the first regular one."),
        results: Path = typer.Option(
            Path("runs"), help="Folder that keeps every finished fit; a run goes on from what it finds there."
        ),
        report: Path = typer.Option(None, help="Where to write the HTML report; by default beside the results."),
        jobs: int = typer.Option(None, min=1, help="Processes; by default one a core."),
        cluster: str = typer.Option(None, help="Address of a Dask scheduler to run on instead."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Compare decoders on a data set: leaderboard with intervals, significance and times, and an HTML report.

        A decoder that cannot be fitted on these data is listed as not applicable, with the reason.

        Example: neuropil compare scp-healthy binned-lda dbconformer --split own

        Example: neuropil compare sim-motor-imagery csp-lda eegnet --option n_sessions=2 --split later-sessions --band 8-30
        """
        from neuropil.experiments.compare import compare as run

        comparison = run(
            data,
            systems or None,
            split=split or None,
            metric=metric,
            seeds=seeds,
            mode=mode,
            align=align,
            options=named_values(option or []),
            band=band_edges(band),
            tmin=tmin,
            tmax=tmax,
            length=length,
            overlap=overlap,
            labels=label or None,
            stream=stream,
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
