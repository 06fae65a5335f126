"""`neuropil translate`: from EEG to fMRI regions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from neuropil.cli.output import print_json, print_table
from neuropil.errors import UsageError

if TYPE_CHECKING:
    from neuropil.recording import Recording


def register(app: typer.Typer) -> None:
    """Add the command that predicts fMRI regions."""

    @app.command()
    def translate(
        recordings: list[str] = typer.Argument(
            help="Recordings with a stream of regions, one a scan; EEG files with --regions-of; or one data set, such as sim-eeg-bold."
        ),
        split: list[str] = typer.Option(
            None,
            help="scan (train on the beginning of a scan, test on its end) or subject (unseen subjects); by default both.",
        ),
        system: list[str] = typer.Option(None, help="neurobolt or ridge (the linear baseline); by default both."),
        setting: Literal["laptop", "paper"] = typer.Option(
            "laptop", help="A small network on EEG at 64 Hz, or the paper's on EEG at 200 Hz."
        ),
        regions_of: list[Path] = typer.Option(
            None, help="Table of regions (.csv, .npy, .npz; a row a volume) of every EEG file, in the same order."
        ),
        tr: float = typer.Option(None, help="Time between volumes, s; needed with --regions-of."),
        trigger: str = typer.Option(None, help="Label of the volume events in the EEG files, such as R128."),
        region: list[str] = typer.Option(None, help="Regions to predict; by default all."),
        stream: str = typer.Option(None, help="Stream of the EEG; by default the first regular one."),
        target: str = typer.Option("bold", help="Stream of the regions."),
        scaling: Literal["scan", "causal", "none"] = typer.Option(
            "scan",
            help="Of the regions: over the whole scan, as the field does; by the past and the training part only; or none.",
        ),
        pretrained: Path = typer.Option(
            None, help="LaBraM-base weights (safetensors) to start from; paper setting only."
        ),
        epochs: int = typer.Option(None, min=1, help="Epochs of the network, instead of those of the setting."),
        seed: int = typer.Option(0, help="Seed of everything random."),
        device: str = typer.Option("cpu", help="cpu, cuda or auto."),
        plot: Path = typer.Option(None, help="Where to write a picture of measured and predicted courses."),
        courses: Path = typer.Option(None, help="Where to write the courses as CSV."),
        model: Path = typer.Option(
            None,
            help="Apply this saved model instead: predict regions from EEG alone; print the courses or write them with --courses.",
        ),
        every: float = typer.Option(2.0, help="With --model: seconds between predicted volumes."),
        save_model: Path = typer.Option(None, help="Folder for a NeuroBOLT model trained on all scans."),
        overwrite: bool = typer.Option(False, help="Replace a model that is there already."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Predict fMRI regions from EEG with NeuroBOLT, beside ridge regression on log spectra; r per region with intervals over scans.

        Example: neuropil translate sim-eeg-bold --split scan --system ridge --plot courses.png
        """
        from neuropil.experiments.translation import SYSTEMS, apply_translation, check_picture
        from neuropil.experiments.translation import translate as run

        data: Any = recordings[0] if len(recordings) == 1 else recordings
        if model is not None:
            _print_courses(apply_translation(model, data, every=every, stream=stream), courses, as_json)
            return
        if plot is not None:
            check_picture(plot)
        if regions_of:
            data = _scans(recordings, regions_of, tr, trigger, stream)
        elif tr is not None or trigger is not None:
            raise UsageError("--tr and --trigger describe tables of regions; name these with --regions-of.")
        result = run(
            data,
            splits=split or None,
            systems=system or SYSTEMS,
            setting=setting,
            stream=stream,
            target=target,
            scaling=scaling,
            regions=region or None,
            pretrained=pretrained,
            epochs=epochs,
            seed=seed,
            device=device,
            save=save_model,
            overwrite=overwrite,
        )
        if courses is not None:
            result.save_courses(courses)
        if plot is not None:
            result.plot(plot)
        if as_json:
            print_json(result.to_json())
            return
        for name, table in result.table.groupby("split", sort=False):
            title = {"scan": "The end of a scan, after training on its beginning", "subject": "Unseen subjects"}[
                str(name)
            ]
            columns = ("system", "region", "Pearson r", "95 % interval over scans", "scans", "95 % of chance", "p")
            rows = [_row(facts) for facts in table.to_dict(orient="records")]
            print_table(title, columns, rows, right=columns[2:])
        typer.echo("Chance: measured courses with random phases. r over whole scans; one volume follows 16 s of EEG.")
        for what, path in (("Picture", plot), ("Courses", courses), ("Model", save_model)):
            if path is not None:
                typer.echo(f"{what}: {path}")


def _row(facts: dict[Any, Any]) -> tuple[str, ...]:
    interval = "" if math.isnan(facts["low"]) else f"{facts['low']:.2f} to {facts['high']:.2f}"
    p = "< 0.01" if facts["p"] < 0.01 else f"{facts['p']:.2f}"
    return (
        facts["system"],
        facts["region"],
        f"{facts['r']:.2f}",
        interval,
        str(facts["n_scans"]),
        f"{facts['null_95']:.2f}",
        p,
    )


def _scans(
    recordings: list[str], tables: list[Path], tr: float | None, trigger: str | None, stream: str | None
) -> list[Recording]:
    """EEG files and tables of regions as recordings."""
    from neuropil.datasets.eeg_fmri import load_eeg_fmri

    if len(tables) != len(recordings):
        raise UsageError(
            f"Expected one table of regions for each of the {len(recordings)} EEG files, got {len(tables)}."
        )
    if tr is None or trigger is None:
        raise UsageError(
            "Tables of regions need --tr (seconds between volumes) and --trigger (label of the volume events)."
        )
    return [
        load_eeg_fmri(eeg, table, tr, label=trigger, stream=stream, subject=Path(eeg).stem)
        for eeg, table in zip(recordings, tables, strict=True)
    ]


def _print_courses(table: Any, path: Path | None, as_json: bool) -> None:
    from neuropil.storage import atomic_write_text

    if path is not None:
        atomic_write_text(path, table.to_csv(index=False))
        typer.echo(f"{len(table)} volumes; written to {path}.")
    elif as_json:
        print_json(table.to_dict(orient="records"))
    else:
        typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
