"""Entries of the registry for movements with spikes, and for worms: files that a user has on disk, and populations of known tuning."""

from __future__ import annotations

from pathlib import Path

from neuropil.datasets.flint import load_flint
from neuropil.datasets.registry import DatasetInfo, Loader
from neuropil.datasets.worm_recordings import read_worms
from neuropil.recording import Recording
from neuropil.simulate.populations import simulate_cosine_tuning, simulate_place_fields

FLINT = DatasetInfo(
    name="flint-reaching",
    title="Reaching with spikes of motor cortex (files of your own)",
    modality="spikes",
    description="A monkey reaches for targets; spikes of units of primary motor cortex and the velocity of the hand, trial by trial.",
    provenance="The Matlab files Flint_2012_e1.mat to Flint_2012_e5.mat of the DREAM database at crcns.org, named with the option path.",
    licence="given at crcns.org to those who register; nothing is fetched",
    citations=("Flint, Lindberg, Jordan, Miller & Slutzky (2012). Journal of Neural Engineering 9(4), 046006.",),
    doi="10.1088/1741-2560/9/4/046006",
    sfreq=100.0,
    task="regression",
    notes="The target is the stream 'velocity'; neighbouring bins are alike, so split by trial. Options: path.",
    where="registered",
)
WORMS = DatasetInfo(
    name="worm-recordings",
    title="Calcium recordings of C. elegans, as the laboratories publish them (files of your own)",
    modality="calcium",
    description="Whole-brain calcium traces with names of neurons: Kato 2015, Nichols 2017, Skora 2018, Kaplan 2020, Uzel 2022 (.mat), "
    "Atanas 2023 (.json, .h5), Randi 2023 (.txt), or tables of your own.",
    provenance="The files or folder that you name with the option path.",
    licence="that of each publication; nothing is fetched",
    citations=(
        "Simeon et al. (2024). Homogenized C. elegans neural activity and connectivity data. arXiv:2411.12091.",
        "Kato et al. (2015). Global brain dynamics embed the motor command sequence of C. elegans. Cell 163.",
    ),
    task="structure",
    notes="Laboratories differ in rate, names and neurons: bring them to one format with WormHomogenizer, and split by worm. Beside them, "
    "connectomes: neuropil.datasets.worm.load_connectome('white'). Options: path, dataset.",
    where="registered",
)


def load_place_fields(n_times: int = 5000, n_neurons: int = 80, seed: int = 0) -> Recording:
    """Counts of place cells and the path."""
    return _named(simulate_place_fields(n_times, n_neurons, random_state=seed).recording(), PLACES.name)


def load_cosine_tuning(n_times: int = 5000, n_neurons: int = 60, seed: int = 0) -> Recording:
    """Counts of neurons tuned to velocity, and the velocity."""
    return _named(simulate_cosine_tuning(n_times, n_neurons, random_state=seed).recording(), COSINES.name)


def load_worm_recordings(path: str | Path, dataset: str = "") -> list[Recording]:
    """Worms of a file or folder; see `read_worms`."""
    return read_worms(path, dataset)


def _named(recording: Recording, name: str) -> Recording:
    return recording.copy(dataset=name)


GENERATED = "Generated when loaded; the same seed gives the same data."
PLACES = DatasetInfo(
    name="sim-place-fields",
    title="Simulated place cells of an animal on its way",
    modality="spikes",
    description="Poisson counts of neurons with Gaussian place fields in bins of 0.1 s, and the path that they tell of.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    sfreq=10.0,
    task="regression",
    notes="The target is the stream 'state'; there are no classes. Options: n_times, n_neurons, seed; the truth comes with "
    "neuropil.simulate.populations.simulate_place_fields.",
    where="simulated",
)
COSINES = DatasetInfo(
    name="sim-cosine-tuning",
    title="Simulated motor neurons tuned to velocity",
    modality="spikes",
    description="Poisson counts of neurons with cosine tuning to direction and speed in bins of 0.1 s, and the velocity.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    sfreq=10.0,
    task="regression",
    notes="The target is the stream 'state'; there are no classes. Options: n_times, n_neurons, seed; the truth comes with "
    "neuropil.simulate.populations.simulate_cosine_tuning.",
    where="simulated",
)

ENTRIES: tuple[tuple[DatasetInfo, Loader], ...] = (
    (FLINT, load_flint),
    (WORMS, load_worm_recordings),
    (PLACES, load_place_fields),
    (COSINES, load_cosine_tuning),
)
