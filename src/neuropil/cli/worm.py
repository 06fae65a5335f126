"""`neuropil worm`: the worm's wiring beside the spread of its signals and recordings of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from neuropil.cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command about the worm."""

    @app.command()
    def worm(
        recordings: list[Path] = typer.Argument(
            None,
            help="Calcium traces: tables with times (s) in the first column and neurons' names above the others, .zarr, or files and "
            "folders as Kato 2015 (.mat), Flavell 2023 (.json, .h5) and Leifer 2023 (.txt) publish them.",
        ),
        connectome: list[str] = typer.Option(
            ["white", "cook"],
            help="Bundled connectome (white, cook, witvliet7, witvliet8), table with pre, post, type, synapses, or published workbook "
            "(.xlsx); may be repeated.",
        ),
        strain: str = typer.Option("wt", help="Atlas of signal propagation: wt or unc31."),
        min_obs: int = typer.Option(1, min=1, help="Leave out pairs of neurons that were observed less often."),
        n_boot: int = typer.Option(200, min=20, help="Resamples for the 95 % intervals."),
        dt: float = typer.Option(1 / 3, help="Time step that recordings are brought to, s."),
        plot: Path = typer.Option(None, help="Where to draw the scores (.png, .pdf, .svg)."),
        seed: int = typer.Option(0, min=0, help="Seed of the resampling."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Say how well C. elegans' wiring predicts which neurons respond to which and, in recordings given, which are active together.

        Neurons that a connectome does not name are left out.

        Example: neuropil worm my-worm.csv --connectome white --connectome cook --plot worm.png
        """
        from neuropil.experiments.translation_result import check_picture
        from neuropil.experiments.worm import AGAINST, compare_structure_and_function

        if plot is not None:
            check_picture(plot)
        result = compare_structure_and_function(
            recordings or [], connectome, strain=strain, min_obs=min_obs, n_boot=n_boot, dt=dt, seed=seed
        )
        if plot is not None:
            result.plot(plot)
        if as_json:
            print_json(result.to_json())
            return
        for against, title in AGAINST.items():
            rows = result.table[result.table["against"] == against]
            if len(rows):
                _print_scores(title, rows)
        propagation = result.table[
            (result.table["against"] == "propagation") & (result.table["prediction"] == "direct")
        ]
        for row in propagation.itertuples():
            typer.echo(
                f"{row.connectome}: {row.connected:.1%} of {int(row.n_functional):,} functional pairs are in direct contact, "
                f"{row.connected_others:.1%} of the others."
            )
        _print_recordings(result.facts.get("recordings"))
        if plot is not None:
            typer.echo(f"Picture: {plot}.")


def _print_scores(title: str, rows: Any) -> None:
    cells = [
        (row.connectome, row.prediction, f"{row.score:.3f}", f"{row.low:.3f} to {row.high:.3f}", f"{row.n_pairs:,}")
        for row in rows.itertuples()
    ]
    print_table(title, ("connectome", "prediction", "score", "95 %", "pairs"), cells, right=("score", "pairs"))


def _print_recordings(facts: dict[str, Any] | None) -> None:
    if facts is None:
        return
    reasons = ", ".join(f"{reason}: {n}" for reason, n in facts["reasons"].items())
    typer.echo(
        f"Recordings: {facts['n_named']} of {facts['n_traces']} traces in {facts['n_worms']} recording(s) are identified"
        + (f" ({reasons})." if reasons else ".")
    )
    for label, near in list(facts["strange_names"].items())[:5]:
        typer.echo(f"No connectome has a neuron {label!r}" + (f"; did you mean {' or '.join(near)}?" if near else "."))
    if facts["dropped"]:
        typer.echo(f"Left out, since no neuron is identified: {', '.join(facts['dropped'])}.")
