"""`neuropil compare`, `neuropil fit` and `neuropil predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from neuropil.cli.output import print_json
from neuropil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands that fit and compare decoders."""

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
            options=_options(option or []),
            band=_band(band),
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


def _options(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; values are numbers where they look like it, lists at commas, and None for "none".

    Examples
    --------
    >>> _options(["n_sessions=2", "preset=hard", "classes=left_hand,feet", "window_s=none"])
    {'n_sessions': 2, 'preset': 'hard', 'classes': ('left_hand', 'feet'), 'window_s': None}
    """
    options = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not name or not sign:
            raise UsageError(f"An option of a data set is NAME=VALUE, for example n_sessions=2, got {pair!r}.")
        options[name] = tuple(map(_value, value.split(","))) if "," in value else _value(value)
    return options


def _value(text: str) -> Any:
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _band(text: str | None) -> tuple[float | None, float | None] | None:
    """LOW-HIGH in Hz, either of which may be empty.

    Examples
    --------
    >>> _band("8-30"), _band("-40"), _band(None)
    ((8.0, 30.0), (None, 40.0), None)
    """
    if text is None:
        return None
    low, sign, high = text.partition("-")
    try:
        edges = tuple(float(edge) if edge.strip() else None for edge in (low, high))
    except ValueError:
        edges = (None, None)
    if not sign or edges == (None, None):
        raise UsageError(f"A band is LOW-HIGH in Hz, for example 8-30 or -40, got {text!r}.")
    return edges[0], edges[1]
