"""Trials of two modalities from arrays or recordings, and what is wrong with them in one sentence."""

from __future__ import annotations

from typing import Any

from neuropil.activity import Activity, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import is_regular


def read_modalities(
    Y: Any, X: Any, n_latents: tuple[int, int, int], streams: tuple[str, str], bin_width: float | None
) -> tuple[Activity | None, Activity | None]:
    """Neural data and behaviour, None for one that is not given.

    Parameters
    ----------
    Y, X : arrays, lists of arrays, or a Recording (or list of them) as `Y` alone
    n_latents : tuple of int
        Of neurons alone, shared, of behaviour alone: streams of recordings are read if latents explain them.
    streams : tuple of str
        Of neural data and behaviour.
    bin_width : float or None
        Seconds, for irregular spikes; None for the bins of the behaviour.
    """
    if not _is_recording(Y):
        if _is_recording(X):
            raise UsageError("Give a recording first and alone: it has both streams.")
        if Y is None and X is None:
            raise UsageError("Expected neural data, behaviour, or both; got neither.")
        return None if Y is None else read_activity(Y), None if X is None else read_activity(X)
    if X is not None:
        raise UsageError(
            "A recording has both streams; leave X out, or give arrays for both (recording.stream(name).values)."
        )
    first: Recording = Y if isinstance(Y, Recording) else Y[0]
    neural_stream, behaviour_stream = streams
    behaviour = neural = None
    if n_latents[1] + n_latents[2]:
        behaviour = read_activity(Y, stream=behaviour_stream)
    if n_latents[0] + n_latents[1]:
        if bin_width is None and behaviour is not None and not is_regular(first.stream(neural_stream)):
            bin_width = None if behaviour.sfreq is None else 1 / behaviour.sfreq
        neural = read_activity(Y, stream=neural_stream, bin_width=bin_width)
    return neural, behaviour


def check_presence(has_neurons: bool, has_behaviour: bool, n_latents: tuple[int, int, int], fusion: str | None) -> None:
    """Refuse modalities without latents and latents without modality; of a fitted model (whose `fusion` is given) one may be missing."""
    n_neural, n_shared, n_behaviour = n_latents
    groups = {
        "behaviour": (has_behaviour, {"n_shared": n_shared, "n_behaviour": n_behaviour}),
        "neural data": (has_neurons, {"n_neural": n_neural, "n_shared": n_shared}),
    }
    for name, (present, latents) in groups.items():
        some = ", ".join(f"{key}={value}" for key, value in latents.items())
        needed = sum(latents.values()) > 0
        if present and not needed:
            raise UsageError(f"With {some} no latent explains the {name}; leave it out, or ask for such latents.")
        if present or not needed:
            continue
        if fusion is None:
            raise UsageError(f"Without {name} there is nothing for {some} to explain; give it, or set both to 0.")
        if fusion == "mean" and n_shared:
            raise UsageError(
                f"The {name} is missing, which fusion='mean' cannot do without: shared latents are averages of both encoders; "
                "fit with fusion='poe'."
            )


def check_together(neural: Activity, behaviour: Activity) -> None:
    """Refuse modalities with different trials or bins."""
    if len(neural.sequences) != len(behaviour.sequences):
        raise DataError(
            f"Both modalities must have the same trials; there are {len(neural.sequences)} of neural data and "
            f"{len(behaviour.sequences)} of behaviour."
        )
    for trial, (ours, theirs) in enumerate(zip(neural.lengths, behaviour.lengths, strict=True)):
        if ours != theirs:
            raise DataError(
                f"Both modalities must have the same bins; trial {trial} has {ours} bins of neural data and {theirs} of behaviour: "
                "bring them to one rate and cut them alike."
            )


def has_names(X: Any) -> bool:
    """Whether units have names of their own, as arrays' do not."""
    return _is_recording(X) or hasattr(X, "coords") or hasattr(X, "columns")


def _is_recording(X: Any) -> bool:
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    return isinstance(first, Recording)
