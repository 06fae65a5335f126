"""Decoding: from activity to what was seen, heard, meant or done.

`DECODERS` lists the decoders by name without importing any; `make` builds one.

>>> from neuropil import decoding
>>> decoding.make("binned-lda", n_bins=5)
BinnedLDA(n_bins=5)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuropil.errors import UsageError


@dataclass(frozen=True, slots=True)
class DecoderEntry:
    """One decoder of the registry.

    Attributes
    ----------
    slug, title : str
        Name on the command line, and in print.
    import_path : str
        "module:class".
    method : str
        "linear", "riemannian", "ensemble" or "network".
    signal : str
        What it decodes from: "potentials" (time courses), "oscillations" (power; wants band-limited windows), or "any".
    applies : str
        When to use it and what it needs, in one sentence.
    default : bool
        Whether it is compared where none is named.
    needs_sfreq : bool
        Whether it must know the sampling rate: from labelled windows, or as the argument `sfreq`.
    laptop : mapping
        Arguments with which it is compared within minutes on two cores, where the paper's defaults would take longer.
    """

    slug: str
    title: str
    import_path: str
    method: str
    signal: str
    applies: str
    default: bool = False
    needs_sfreq: bool = False
    laptop: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> type:
        """Import the class."""
        import importlib

        module, name = self.import_path.split(":")
        return getattr(importlib.import_module(module), name)


DECODERS: tuple[DecoderEntry, ...] = (
    DecoderEntry(
        "auto",
        "Ensemble of ridge classifiers",
        "neuropil.decoding.auto:AutoDecoder",
        "ensemble",
        "any",
        "Unfiltered windows of any sort: chooses between slow potentials, band power and covariances by inner cross-validation.",
        default=True,
    ),
    DecoderEntry(
        "binned-lda",
        "Binned LDA",
        "neuropil.decoding.lda:BinnedLDA",
        "linear",
        "potentials",
        "Slow or evoked potentials that are locked to an event; windows of ten samples or more.",
        default=True,
    ),
    DecoderEntry(
        "xdawn-lda",
        "xDAWN + LDA",
        "neuropil.decoding.lda:XdawnLDA",
        "linear",
        "potentials",
        "Evoked responses in many channels; windows of twenty samples or more.",
        default=True,
    ),
    DecoderEntry(
        "xdawn-tangent",
        "xDAWN + tangent space",
        "neuropil.decoding.riemann:XdawnTangentSpace",
        "riemannian",
        "potentials",
        "Evoked responses that vary in strength or mixing; more samples a window than filters.",
        default=True,
    ),
    DecoderEntry(
        "csp-lda",
        "CSP + LDA",
        "neuropil.decoding.csp:CSPLDA",
        "linear",
        "oscillations",
        "Band-limited oscillations, such as motor imagery at 8-30 Hz: filter the recording first, or pass band.",
        default=True,
    ),
    DecoderEntry(
        "fbcsp",
        "Filter-bank CSP",
        "neuropil.decoding.csp:FilterBankCSP",
        "linear",
        "oscillations",
        "Unfiltered oscillations between 4 and 40 Hz in windows of about one second or more.",
        needs_sfreq=True,
        default=True,
    ),
    DecoderEntry(
        "tangent-space",
        "Tangent space + logistic regression",
        "neuropil.decoding.riemann:TangentSpaceLR",
        "riemannian",
        "oscillations",
        "Band-limited oscillations, also of several classes: filter the recording first, or pass band.",
        default=True,
    ),
    DecoderEntry(
        "mdm",
        "Minimum distance to mean",
        "neuropil.decoding.riemann:RiemannMDM",
        "riemannian",
        "oscillations",
        "Band-limited oscillations and few windows: no setting to choose.",
        default=True,
    ),
    DecoderEntry(
        "eegnet",
        "EEGNet",
        "neuropil.decoding.eegnet:EEGNetClassifier",
        "network",
        "any",
        "Hundreds of windows or more, at about 128 Hz.",
        needs_sfreq=True,
        laptop={"max_epochs": 40},
    ),
    DecoderEntry(
        "shallow-convnet",
        "Shallow ConvNet",
        "neuropil.decoding.shallow_convnet:ShallowConvNetClassifier",
        "network",
        "oscillations",
        "Hundreds of windows or more, of oscillations.",
        needs_sfreq=True,
        laptop={"max_epochs": 40},
    ),
    DecoderEntry(
        "dbconformer",
        "DBConformer",
        "neuropil.decoding.dbconformer:DBConformerClassifier",
        "network",
        "any",
        "Hundreds of windows or more, of several subjects or one.",
        default=True,
        needs_sfreq=True,
        laptop={"max_epochs": 40},
    ),
    DecoderEntry(
        "agtcnet",
        "AGTCNet",
        "neuropil.decoding.agtcnet:AGTCNetClassifier",
        "network",
        "oscillations",
        "Hundreds of windows of 1.5 s or more, at about 62.5 to 160 Hz, best of several people; channels with 10-10 names or positions.",
        needs_sfreq=True,
        laptop={
            "gcat_kernel_sizes": (4, 2),
            "n_filters_global": 48,
            "global_kernel_size": 4,
            "norm_momentum": 0.1,
            "max_epochs": 40,
        },
    ),
    DecoderEntry(
        "rbtransformer",
        "RBTransformer",
        "neuropil.decoding.rbtransformer:RBTransformerDecoder",
        "network",
        "oscillations",
        "States that change the power of rhythms, such as emotions: unfiltered windows of 0.5 s or more, hundreds of them.",
        needs_sfreq=True,
        laptop={
            "embed_dim": 32,
            "depth": 1,
            "num_heads": 4,
            "head_dim": 8,
            "mlp_hidden_dim": 64,
            "lr": 2e-3,
            "batch_size": 64,
            "max_epochs": 30,
        },
    ),
)

DEFAULT_DECODERS: tuple[str, ...] = tuple(entry.slug for entry in DECODERS if entry.default)


def get(slug: str) -> DecoderEntry:
    """The registry's entry of that name.

    Raises
    ------
    UsageError
        If there is none; the message names the nearest ones, or says that it is planned.
    """
    for entry in DECODERS:
        if entry.slug == slug:
            return entry
    from difflib import get_close_matches

    from neuropil import catalog

    if slug in {system.slug for system in catalog.systems(status="planned")}:
        catalog.require_working(slug)
    names = [entry.slug for entry in DECODERS]
    wanted = slug.strip().lower().replace("_", "-").replace(" ", "-")
    near = get_close_matches(wanted, names) or names
    raise UsageError(f"There is no decoder {slug!r}; choose {' or '.join(map(repr, near))}.")


def make(slug: str, **params: Any) -> Any:
    """A new decoder of that name, not fitted.

    Parameters
    ----------
    slug : str
        Of `DECODERS`.
    **params
        Constructor arguments.

    Raises
    ------
    UsageError
        If there is no such decoder or argument.
    """
    cls = get(slug).load()
    try:
        return cls(**params)
    except TypeError as error:
        from inspect import signature

        known = ", ".join(name for name in signature(cls).parameters)
        unknown = ", ".join(name for name in params if name not in signature(cls).parameters)
        if not unknown:
            raise
        raise UsageError(f"The decoder {slug} has no argument {unknown}; it takes {known}.") from error


def default_decoders(signal: str | None = None) -> list[str]:
    """Names of the decoders that are compared where none is named.

    Parameters
    ----------
    signal : {"potentials", "oscillations"}, optional
        Only those that decode from it, or from anything.

    Raises
    ------
    UsageError
        If the signal is another one.

    Examples
    --------
    >>> default_decoders("oscillations")
    ['auto', 'csp-lda', 'fbcsp', 'tangent-space', 'mdm', 'dbconformer']
    """
    if signal not in (None, "potentials", "oscillations"):
        raise UsageError(f"signal must be 'potentials' or 'oscillations', got {signal!r}.")
    wanted = ("potentials", "oscillations", "any") if signal is None else (signal, "any")
    return [entry.slug for entry in DECODERS if entry.default and entry.signal in wanted]
