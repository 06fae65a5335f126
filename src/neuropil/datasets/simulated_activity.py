"""Simulated populations with hidden structure, by name: recordings from `neuropil.simulate` for the models of that structure."""

from __future__ import annotations

from neuropil.datasets.registry import DatasetInfo, Loader
from neuropil.recording import Recording

GENERATED = "Generated when loaded; the same seed gives the same data."


def load_switching(
    n_trials: int = 16,
    n_times: int = 500,
    n_neurons: int = 12,
    n_states: int = 4,
    bin_width: float = 0.02,
    seed: int = 0,
) -> Recording:
    """Spike counts whose couplings switch with a hidden state; streams "spikes" and "state", one event a trial."""
    from neuropil.simulate.switching import simulate_switching

    population = simulate_switching(n_trials, n_times, n_neurons, n_states, random_state=seed)
    return population.recording(bin_width).copy(dataset=SWITCHING.name)


def load_clustered(
    n_clusters: int = 3, neurons_per_cluster: int = 10, n_times: int = 400, bin_width: float = 0.1, seed: int = 0
) -> Recording:
    """Counts of clustered neurons under two alternating dynamics."""
    from neuropil.simulate.clustered import simulate_clustered

    population = simulate_clustered(n_clusters, neurons_per_cluster, n_times, random_state=seed)
    return population.recording(bin_width).copy(dataset=CLUSTERED.name)


def load_motifs(
    n_animals: int = 5, n_times: int = 300, n_neurons: int = 30, drift: bool = False, seed: int = 0
) -> list[Recording]:
    """Calcium traces of several animals with groups of neurons that work together at their time; one recording an animal."""
    from neuropil.simulate.motifs import simulate_motifs

    animals = simulate_motifs(n_animals, n_times, n_neurons, drift=drift, random_state=seed).recording()
    return [recording.copy(dataset=MOTIFS.name) for recording in animals]


def load_multimodal(n_trials: int = 150, n_times: int = 60, n_neurons: int = 60, seed: int = 0) -> Recording:
    """Spike counts beside images; streams "spikes" and "behaviour", one event a trial."""
    from neuropil.simulate.multimodal import simulate_multimodal

    return (
        simulate_multimodal(n_trials, n_times, n_neurons, random_state=seed).recording().copy(dataset=MULTIMODAL.name)
    )


def load_coupled(n_times: int = 60_000, n_neurons: int = 20, speed: bool = False, seed: int = 0) -> Recording:
    """Spikes of a network with delays; streams "spikes" and, if asked for, a "speed" that drives half of the neurons."""
    from neuropil.simulate.coupled_logistic import simulate_coupled_logistic, slow_speed, speed_drive

    if not speed:
        return simulate_coupled_logistic(n_times, n_neurons, random_state=seed).recording().copy(dataset=COUPLED.name)
    course = slow_speed(n_times, random_state=seed)
    drive = speed_drive(course, n_neurons, n_driven=n_neurons // 2)
    network = simulate_coupled_logistic(n_times, n_neurons, drive=drive, random_state=seed)
    return network.recording(speed=course).copy(dataset=COUPLED.name)


def load_symbols(
    n_sequences: int = 2000, n_times: int = 40, n_states: int = 2, family: str = "linear_chain", seed: int = 0
) -> Recording:
    """Sequences of symbols from a hidden Markov model; streams "symbol" and "state", one event a sequence."""
    from neuropil.errors import UsageError
    from neuropil.simulate import symbols

    families = {
        "linear_chain": lambda: symbols.linear_chain(n_states),
        "fully_connected": symbols.fully_connected,
        "cyclic": symbols.cyclic,
    }
    if family not in families:
        raise UsageError(f"The family is one of {', '.join(families)}, got {family!r}.")
    return families[family]().simulate(n_sequences, n_times, seed).recording().copy(dataset=SYMBOLS.name)


SWITCHING = DatasetInfo(
    name="sim-switching-spikes",
    title="Simulated population whose couplings switch with a hidden state",
    modality="spikes",
    description="Counts of 12 neurons in bins of 20 ms, 16 trials of 10 s; four states change who excites and inhibits whom.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    sfreq=50.0,
    task="structure",
    notes="The stream 'state' holds the truth. Options: n_trials, n_times, n_neurons, n_states, bin_width, seed; weights come with "
    "neuropil.simulate.switching.simulate_switching.",
    where="simulated",
)
CLUSTERED = DatasetInfo(
    name="sim-clustered-spikes",
    title="Simulated clusters of neurons under alternating dynamics",
    modality="spikes",
    description="Counts of 30 neurons in bins of 0.1 s; three clusters follow a trajectory each, two linear dynamics alternate.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    sfreq=10.0,
    task="structure",
    notes="Options: n_clusters, neurons_per_cluster, n_times, bin_width, seed; the truth comes with "
    "neuropil.simulate.clustered.simulate_clustered.",
    where="simulated",
)
MOTIFS = DatasetInfo(
    name="sim-motifs",
    title="Simulated calcium of several animals with planted motifs",
    modality="calcium",
    description="Traces of 30 neurons in five animals; three motifs of two communities each are active in "
    "a stretch of time and in three animals.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    n_subjects=5,
    sfreq=4.0,
    task="structure",
    notes="Options: n_animals, n_times, n_neurons, drift, seed; the truth comes with neuropil.simulate.motifs.simulate_motifs.",
    where="simulated",
)
MULTIMODAL = DatasetInfo(
    name="sim-spikes-images",
    title="Simulated neurons and images that share a latent",
    modality="spikes",
    description="150 trials of 60 bins: counts of 60 neurons, and a digit of 24 x 24 pixels that turns and "
    "grows; one latent of either, one of both.",
    provenance=GENERATED + " The digits are those of scikit-learn.",
    licence="BSD-3-Clause",
    n_trials=150,
    sfreq=50.0,
    task="structure",
    notes="Streams 'spikes' and 'behaviour'. Options: n_trials, n_times, n_neurons, seed; the truth comes with "
    "neuropil.simulate.multimodal.simulate_multimodal.",
    where="simulated",
)
COUPLED = DatasetInfo(
    name="sim-coupled-spikes",
    title="Simulated network of neurons with known connections and delays",
    modality="spikes",
    description="Spikes of 20 neurons in bins of 10 ms, 10 minutes; each has two partners, each connection one delay of 2 to 5 bins.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    sfreq=100.0,
    task="structure",
    notes="Options: n_times, n_neurons, speed (adds a stream 'speed' that drives half of the neurons), seed; the connections come with "
    "neuropil.simulate.coupled_logistic.simulate_coupled_logistic.",
    where="simulated",
)
SYMBOLS = DatasetInfo(
    name="sim-symbols",
    title="Sequences of symbols from a hidden Markov model",
    modality="behaviour",
    description="2,000 sequences of 40 symbols (of three) from a linear chain of two states.",
    provenance=GENERATED,
    licence="BSD-3-Clause",
    n_trials=2000,
    sfreq=10.0,
    task="structure",
    notes="The stream 'state' holds the truth. Options: n_sequences, n_times, n_states, family (linear_chain, fully_connected, "
    "cyclic), seed.",
    where="simulated",
)
ENTRIES: tuple[tuple[DatasetInfo, Loader], ...] = (
    (SWITCHING, load_switching),
    (CLUSTERED, load_clustered),
    (MOTIFS, load_motifs),
    (MULTIMODAL, load_multimodal),
    (COUPLED, load_coupled),
    (SYMBOLS, load_symbols),
)
