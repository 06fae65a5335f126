"""`neuropil explain`."""

from __future__ import annotations

from pathlib import Path

import typer

from neuropil.cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command that explains a saved decoder."""

    @app.command()
    def explain(
        model: Path = typer.Argument(help="Folder that `neuropil fit` wrote."),
        recording: str = typer.Argument(
            help="Path of a recording, or name of a data set; best one that the model was not fitted on."
        ),
        output: Path = typer.Option(
            None, "--output", "-o", help="Write the figures to this page (.html) or image (.png, .svg, .pdf)."
        ),
        sanity: bool = typer.Option(
            False, help="Fit the decoder again on true and on shuffled labels, and say whether the explanation differs."
        ),
        windows: int = typer.Option(None, min=2, help="Look at no more windows than that; 200 by default."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON with all arrays."),
    ) -> None:
        """Show what a saved decoder uses on a recording: which electrodes, when, which frequencies.

        Example: neuropil explain model/ my-session.fif -o explanation.html
        """
        from neuropil.experiments.apply import explain as run
        from neuropil.explain.explanation import check_ending

        if output is not None:
            check_ending(output)
        explanation = run(model, recording, sanity=sanity, max_windows=windows)
        if output is not None:
            explanation.plot(output)
        if as_json:
            print_json(explanation.to_json())
            return
        accuracy = float(explanation.electrodes.attrs["accuracy"])
        typer.echo(f"{explanation.decoder}, {explanation.n_windows} windows, accuracy {accuracy:.3f}.")
        print_table(
            "Most missed when taken away",
            ("what", "", "fall of probability"),
            explanation.most_missed(),
            right=("fall of probability",),
        )
        for note in explanation.notes:
            typer.echo(f"Note: {note}")
        if explanation.sanity is not None:
            typer.echo(f"Sanity check: {explanation.sanity.verdict}")
        if output is not None:
            typer.echo(f"Figures: {output}")
