"""`neuropil clean`: muscle artefacts out of a recording, and the same beside the classical methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from neuropil.cli.output import print_json, print_table
from neuropil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command that cleans recordings."""

    @app.command()
    def clean(
        recording: Path = typer.Argument(
            None, help="Recording of any format that neuropil opens; none with --compare."
        ),
        output: Path = typer.Option(None, "--output", "-o", help="Folder for the cleaned recording (Zarr)."),
        model: Path = typer.Option(
            None, help="Folder of a trained model; without, one is trained or taken from the cache."
        ),
        clean_file: Path = typer.Option(
            None, "--clean", help="Train on your own: .npy file of clean segments (n, n_times), at --sfreq."
        ),
        noise_file: Path = typer.Option(
            None, "--noise", help="Train on your own: .npy file of artefacts (n, n_times)."
        ),
        sfreq: float = typer.Option(256.0, help="Sampling rate of --clean and --noise, Hz."),
        epochs: int = typer.Option(None, min=1, help="Epochs of each phase of the training; by default 30."),
        save_model: Path = typer.Option(None, help="Folder to keep the trained model in, for --model."),
        stream: str = typer.Option(None, help="Stream of the recording; by default the first regular one."),
        compare: bool = typer.Option(
            False, "--compare", help="Score AT-AT beside regression, ICA and wavelets on mixes from -7 to 2 dB instead."
        ),
        test_epochs: int = typer.Option(60, min=2, help="With --compare: epochs of the recording that is mixed."),
        plot: Path = typer.Option(None, help="Where to draw before and after, or the comparison (.png, .pdf, .svg)."),
        seed: int = typer.Option(0, min=0, help="Seed of everything random."),
        overwrite: bool = typer.Option(False, help="Replace what is there already."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Remove muscle artefacts from the EEG channels of a recording of any length, with AT-AT.

        Without --model, or --clean and --noise, the model is trained once on simulated segments (about a minute) and kept in the cache.
        The recording should be high-passed at 1 Hz; at another rate than the model's it is resampled for the cleaning and back.

        Example: neuropil clean my-session.fif -o clean.zarr --plot before-after.png
        """
        from neuropil.experiments import cleaning

        training: dict[str, Any] = {
            "sfreq": sfreq,
            "epochs": epochs,
            "save": save_model,
            "seed": seed,
            "overwrite": overwrite,
        }
        if compare:
            if recording is not None or output is not None:
                raise UsageError("--compare mixes segments by itself; it takes no recording and no --output.")
            from neuropil.experiments.cleaning_comparison import compare_models

            comparison = compare_models(
                model, clean=clean_file, noise=noise_file, n_epochs=test_epochs, picture=plot, **training
            )
            if as_json:
                print_json(comparison.to_json())
            else:
                _print_comparison(comparison, plot)
            return
        if recording is None or output is None:
            raise UsageError("Name a recording and, with -o, the folder for the cleaned one; or pass --compare.")
        cleaning.check_output(output, plot, overwrite=overwrite)
        if not recording.exists():
            raise FileNotFoundError(f"Expected a recording at {recording}, found nothing there; check the path.")
        denoiser, origin = cleaning.obtain_model(model, clean=clean_file, noise=noise_file, **training)
        facts = cleaning.clean_file(
            recording, output, denoiser, origin=origin, stream=stream, picture=plot, overwrite=overwrite
        )
        if as_json:
            print_json(facts)
        else:
            _print_cleaned(facts, plot)


def _print_cleaned(facts: dict[str, Any], plot: Path | None) -> None:
    rows = [(c["channel"], f"{c['noise_proxy']:.3f}", f"{c['routed']:.0%}") for c in facts["channels"]]
    title = f"{facts['seconds']:.1f} s of {len(rows)} EEG channels cleaned in {facts['took']:.1f} s"
    print_table(
        title, ("channel", "noise proxy", "to the transformer"), rows, right=("noise proxy", "to the transformer")
    )
    typer.echo(
        "The noise proxy is near 1 where little was removed; below 0.3, most of the signal was taken for artefact."
    )
    if facts["sfreq"] != facts["model_sfreq"]:
        kept = min(facts["sfreq"], facts["model_sfreq"]) / 2
        typer.echo(
            f"Resampled to {facts['model_sfreq']:g} Hz and back to {facts['sfreq']:g} Hz: nothing above {kept:g} Hz is left."
        )
    typer.echo(f"Model: {facts['model']}.")
    typer.echo(f"Written to {facts['output']}." + (f" Picture: {plot}." if plot else ""))


def _print_comparison(comparison: Any, plot: Path | None) -> None:
    from neuropil.experiments.cleaning_comparison import METRICS, USES

    facts = comparison.facts
    for metric, label in METRICS.items():
        wide = comparison.pivot(metric)
        levels = [f"{level:g}" for level in wide.columns]
        rows = [
            (method, *(f"{value:.3f}" for value in row)) for method, row in zip(wide.index, wide.values, strict=True)
        ]
        print_table(f"{label}, at so many dB", ("method", *levels), rows, right=levels)
    print_table("What each method used", ("method", "uses"), list(USES.items()))
    typer.echo(
        f"Data: {facts['data']}; {facts['n_epochs']} epochs of {facts['n_channels']} channels, {facts['n_brain_sources']} brain sources, "
        f"{facts['n_muscles']} muscles. A decibel is 10 log10 of the ratio of amplitudes, as in EEGdenoiseNet."
    )
    if plot:
        typer.echo(f"Picture: {plot}.")
