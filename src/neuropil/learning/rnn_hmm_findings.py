"""What a network that emulates a hidden Markov model found, as tables and records to draw."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.findings import Curves, Findings, Heatmap, Trajectories, TransitionGraph
from neuropil.learning.rnn_hmm_symbols import symbol_statistics
from neuropil.stats import rnn_dynamics, rnn_neurons

SILENCE = 500


def describe(model: Any, symbols: Int[ndarray, "sequence time"]) -> Findings:
    """How well the sequences of a fitted `HMMEmulatorRNN` behave like the data, and the dynamics behind them."""
    made = model.sample(min(max(len(symbols), 100), 2000), symbols.shape[1], random_state=model.seed_)
    data, network = (symbol_statistics(s, model.n_symbols_) for s in (symbols, made.symbols))
    long = model.sample(20, 400, random_state=model.seed_)
    paths = long.hidden.astype(np.float64)
    labels = long.logits.argmax(axis=-1)
    orbit = rnn_dynamics.noise_orbit(paths, min(3, model.n_hidden))
    rest = rnn_dynamics.autonomous_endpoints(
        model.step(), paths[:, 100::100].reshape(-1, model.n_hidden), model.n_inputs, SILENCE
    )
    states = paths[0, 50:250]
    residency = rnn_dynamics.residency_times(
        model.step(), model.readout, states, model.n_inputs, random_state=model.seed_
    )
    spectrum = rnn_dynamics.jacobian_spectrum(model.step(), states, model.n_inputs)
    names = [str(k) for k in range(model.n_symbols_)]
    kicks = kick_table(paths, labels)
    tables = {
        "symbols": pd.DataFrame({"symbol": names, "data": data.frequencies, "network": network.frequencies}),
        "kick_neurons": kicks,
        "residency": pd.DataFrame(
            {
                "residency": residency.times,
                "sign_changes": residency.sign_changes,
                "unstable": spectrum.n_unstable,
                "near_critical": spectrum.n_critical,
            }
        ),
    }
    epochs = np.arange(len(model.history_))
    lines = {"training": np.array([row["loss"] for row in model.history_]), "validation": model.objective_}
    panels = {
        "objective": Curves("Divergence from the data", epochs, lines, "epoch", "Sinkhorn divergence"),
        "orbit": Trajectories(
            "Orbit of the noisy network", {f"run {k}": orbit.paths[k] for k in range(min(3, len(orbit.paths)))}
        ),
        "transitions": TransitionGraph("Symbols of the network", network.transition, names),
        "transition_errors": Heatmap(
            "Network less data",
            network.transition - data.transition,
            names,
            names,
            "probability",
            "next symbol",
            "symbol",
        ),
    }
    summary = {
        "n_symbols": model.n_symbols_,
        "n_parameters": sum(p.numel() for p in model.module_.parameters()),
        "divergence": -model.score(symbols),
        "best_epoch": model.best_epoch_,
        "volatility_data": data.volatility,
        "volatility_network": network.volatility,
        "spectral_radius": float(np.abs(np.linalg.eigvals(model.W_rec_)).max()),
        "end_norm_without_noise": rest.relative_norm,
        "end_spread_without_noise": rest.relative_spread,
        "orbit_variance": float(orbit.variance_ratio[:2].sum()),
        "turns": float(np.abs(orbit.turns).mean()),
        "turning_one_way": orbit.consistency,
    }
    return Findings(summary, tables, panels)


def kick_table(paths: ndarray, labels: ndarray) -> pd.DataFrame:
    """One row a kick neuron; none, with a warning, where the network never dwells."""
    columns = ["from", "to", "neuron", "score"]
    try:
        kicks = rnn_neurons.find_kick_neurons(paths, labels)
    except DataError as error:
        warnings.warn(f"No kick neurons: {error}", stacklevel=3)
        return pd.DataFrame(columns=columns)
    rows = [
        (before, after, neuron, kicks.scores[before, after][neuron])
        for (before, after), neurons in kicks.neurons.items()
        for neuron in neurons.tolist()
    ]
    return pd.DataFrame(rows, columns=columns)
