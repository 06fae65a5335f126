"""`neuropil fit` and `neuropil predict`: decoders of windows, and models of hidden structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from neuropil.cli.output import print_json, print_table
from neuropil.cli.values import candidates, named_values
from neuropil.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands that fit a system and use it."""

    @app.command()
    def fit(
        system: str = typer.Argument(
            help="Decoder, e.g. auto, binned-lda, dbconformer; or model of hidden structure, e.g. onehot-hmmglm."
        ),
        data: str = typer.Argument(help="Name of a data set or path of a recording; decoders need labelled events."),
        output: Path = typer.Option(..., "--output", "-o", help="Folder for the fitted model and what it found."),
        param: list[str] = typer.Option(
            None,
            "--set",
            help="Parameter of a model of hidden structure as NAME=VALUE, e.g. n_states=4; may be repeated.",
        ),
        choice: list[str] = typer.Option(
            None,
            "--choose",
            help="Parameter to choose by held-out data as NAME=A,B,C, e.g. n_states=2,3,4; may be repeated.",
        ),
        setting: Literal["paper", "laptop"] = typer.Option(
            "paper", help="Sizes of a model of hidden structure: the publication's, or those that take minutes."
        ),
        option: list[str] = typer.Option(
            None, help="Option of a named data set as NAME=VALUE; may be repeated (models of hidden structure)."
        ),
        bin_width: float = typer.Option(
            None, help="Count spikes in bins of so many seconds (models of hidden structure)."
        ),
        tmin: float = typer.Option(0.0, help="Start of a window after the event, s (decoders)."),
        tmax: float = typer.Option(
            None, help="End of a window after the event, s; by default the shortest event (decoders)."
        ),
        label: list[str] = typer.Option(None, help="Events to use; may be repeated; by default all (decoders)."),
        stream: str = typer.Option(None, help="Stream of the recording; by default the first that fits."),
        seed: int = typer.Option(0, help="Seed of everything random."),
        jobs: int = typer.Option(None, min=1, help="Processes for the choice; by default one."),
        overwrite: bool = typer.Option(False, help="Replace a model that is there already."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Fit a decoder or a model of hidden structure to a data set or to your own recording, and save it.

        A decoder is fitted on all windows. A model of hidden structure writes tables (states, filters, connectivity ...), pictures and
        report.html beside the model.

        Example: neuropil fit auto scp-healthy -o model/

        Example: neuropil fit onehot-hmmglm my-spikes.nwb --bin-width 0.02 --choose n_states=2,3,4 -o states/
        """
        from neuropil.experiments.structure import is_structure, structure_systems

        if is_structure(system):
            if label or tmax is not None or tmin:
                raise UsageError(
                    f"{system} takes whole recordings or trials, no windows; leave out label, tmin and tmax."
                )
            _fit_structure(
                system,
                data,
                output,
                as_json,
                options=named_values(param or [], "A parameter", "n_states=4"),
                choices=candidates(choice or []),
                data_options=named_values(option or []),
                setting=setting,
                stream=stream,
                bin_width=bin_width,
                seed=seed,
                n_jobs=jobs,
                overwrite=overwrite,
            )
            return
        if param or choice or option or bin_width is not None or setting != "paper":
            raise UsageError(
                f"{system} is no model of hidden structure (there are {', '.join(structure_systems())}); leave out set, choose, option, "
                "setting and bin-width."
            )
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
            None,
            "--output",
            "-o",
            help="Write the table to this CSV file instead of printing it; of hidden structure, all tables and pictures to this folder.",
        ),
        step: float = typer.Option(
            None,
            help="Slide over the whole recording in steps of so many seconds instead of using its events (decoders).",
        ),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Use a saved model on a recording: classes of windows, cut as in training, or the hidden structure of all of it.

        Example: neuropil predict model/ my-session.fif --step 0.5
        """
        from neuropil.experiments.structure import model_folder
        from neuropil.storage import atomic_write_text

        if model_folder(model) != model:
            if step is not None:
                raise UsageError("A model of hidden structure looks at whole recordings; leave out step.")
            _apply_structure(model, recording, output, as_json)
            return
        from neuropil.experiments.apply import predict as run

        table = run(model, recording, step=step)
        if output is not None:
            atomic_write_text(output, table.to_csv(index=False))
            typer.echo(f"{len(table)} windows; written to {output}.")
        elif as_json:
            print_json(table.to_dict(orient="records"))
        else:
            typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def _fit_structure(system: str, data: str, output: Path, as_json: bool, **settings: Any) -> None:
    from neuropil.experiments.structure import fit_structure

    facts = fit_structure(system, data, output, **settings)
    if as_json:
        print_json(facts)
        return
    if "choice" in facts:
        rows = facts["choice"]
        names = [name for name in rows[0] if name not in ("n_folds", "chosen", "reason")]
        shown = [
            [*(_number(row[name]) for name in names), "chosen" if row["chosen"] else row["reason"]] for row in rows
        ]
        print_table("Candidates by held-out score", [*names, ""], shown, right=names)
    print_table("", ["found", ""], [[_words(name), _number(value)] for name, value in facts["summary"].items()])
    typer.echo(
        f"Fitted {system} in {facts['fit_seconds']:.1f} s; model, {len(facts['tables'])} tables, {len(facts['pictures'])} pictures and "
        f"report.html are in {output}."
    )


def _apply_structure(model: Path, recording: str, output: Path | None, as_json: bool) -> None:
    from neuropil.experiments.structure import apply_structure, plain, write_findings
    from neuropil.storage import whole_folder

    if output is not None and output.exists():
        raise UsageError(f"{output} exists already; choose another name.")
    findings = apply_structure(model, recording)
    if output is not None:
        with whole_folder(output) as folder:
            tables, pictures = write_findings(findings, folder)
        typer.echo(f"{len(tables)} tables and {len(pictures)} pictures; written to {output}.")
        return
    summary = plain(findings.summary)
    if as_json:
        print_json(summary)
        return
    print_table("", ["found", ""], [[_words(name), _number(value)] for name, value in summary.items()])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(map(_number, value[:12])) + (" ..." if len(value) > 12 else "")
    if isinstance(value, dict):
        return ", ".join(f"{name} {_number(part)}" for name, part in value.items())
    return "" if value is None else str(value)
