"""The registry: which data sets there are, what is known of each, and how to load it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from neuropil.errors import UsageError
from neuropil.recording import Recording

Loader = Callable[..., Recording | list[Recording]]
PLACES = ("bundled", "simulated", "internet", "registered")
MOABB_PREFIX = "moabb:"


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    Parameters
    ----------
    name, title, modality : str
        Name for `load`, one line, and kind of activity ("eeg", "meg" ...).
    description, provenance, licence, doi : str
        What was done and recorded; where the data come from; under which terms; identifier of the publication.
    citations : tuple of str
        Publications to cite.
    size_mb : float
        Size on disk or to download in megabytes, 0 where nothing is stored or known.
    n_subjects, n_trials : int or None
        None where it depends on the options.
    sfreq : float or None
        Sampling rate in Hz.
    channels, classes : tuple of str
        Names; empty where they depend on the options.
    chance : float or None
        Accuracy of a guess among equally likely classes.
    reference_score : float or None
        Published accuracy on the test trials, and in `reference_source` whose.
    task : str
        What to do with it first.
    notes : str
        What to know before a result is believed.
    where : str
        "bundled", "simulated", "internet" or "registered".
    """

    name: str
    title: str
    modality: str
    description: str = ""
    provenance: str = ""
    licence: str = ""
    citations: tuple[str, ...] = ()
    doi: str = ""
    size_mb: float = 0.0
    n_subjects: int | None = None
    n_trials: int | None = None
    sfreq: float | None = None
    channels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    chance: float | None = None
    reference_score: float | None = None
    reference_source: str = ""
    task: str = "classification"
    notes: str = ""
    where: str = "registered"

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(MOABB_PREFIX) or any(c.isspace() or c in "/\\" for c in self.name):
            raise UsageError(
                f"A data set's name needs letters and no blanks, slashes or {MOABB_PREFIX!r}, got {self.name!r}."
            )
        if self.where not in PLACES:
            raise UsageError(f"A data set is one of {', '.join(PLACES)}, got {self.where!r}.")


_entries: dict[str, tuple[DatasetInfo, Loader]] = {}


def _registry() -> dict[str, tuple[DatasetInfo, Loader]]:
    if "scp-healthy" not in _entries:
        from neuropil.datasets.entries import ENTRIES

        _entries.update({info.name: (info, loader) for info, loader in ENTRIES})
    return _entries


def register(info: DatasetInfo, loader: Loader, *, replace: bool = False) -> None:
    """Make a data set loadable by name, for this session.

    Parameters
    ----------
    info : DatasetInfo
        Its name is that for `load`.
    loader : callable
        Returns a Recording or a list of them; its keyword arguments are the options of `load`.
    replace : bool
        Take the place of a data set of the same name.

    Raises
    ------
    UsageError
        If the name is taken.

    Examples
    --------
    >>> from neuropil.io import from_array
    >>> register(DatasetInfo("zeros", "Zeros", "eeg"), lambda: from_array([[0.0] * 9], 3.0), replace=True)
    >>> load("zeros").duration
    3.0
    """
    if not callable(loader):
        raise UsageError(f"The loader of {info.name} must be a function, got {type(loader).__name__}.")
    if info.name in _registry() and not replace:
        raise UsageError(f"There is a data set {info.name!r} already; choose another name or pass replace=True.")
    _entries[info.name] = (info, loader)


def names() -> list[str]:
    """Names of all data sets but those of MOABB, in alphabetical order."""
    return sorted(_registry())


def _entry(name: str) -> tuple[DatasetInfo, Loader]:
    if name not in _registry():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}."
        raise UsageError(f"There is no data set {name!r}; {hint} Every MOABB data set loads as {MOABB_PREFIX}NAME.")
    return _registry()[name]


def information(name: str) -> DatasetInfo:
    """What is known of a data set; nothing is loaded or fetched for it."""
    if name.startswith(MOABB_PREFIX):
        from neuropil.datasets.moabb import information as of_moabb

        return of_moabb(name)
    return _entry(name)[0]


def describe(name: str) -> dict[str, Any]:
    """`information` as a dictionary of plain values.

    Examples
    --------
    >>> describe("scp-healthy")["classes"]
    ['negativity', 'positivity']
    """
    facts = {**asdict(information(name)), "name": name}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}


def load(name: str, **options: Any) -> Recording | list[Recording]:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        One of `names()`, or "moabb:" and the name of any data set of MOABB.
    **options
        Of the data set: `subjects` for MOABB (and the arguments of its class), sizes and `seed` for simulated ones.

    Returns
    -------
    Recording or list of Recording
        One for each subject, session and run where there are several.

    Raises
    ------
    UsageError
        If there is no such data set, or it has no such option.
    MissingExtraError
        If MOABB is needed and not installed.
    DataError
        If the data cannot be fetched or read.

    Examples
    --------
    >>> import neuropil
    >>> X = neuropil.windows(neuropil.load("hand-direction-meg"))
    >>> X.shape, X.attrs["sfreq"]
    ((234, 10, 400), 400.0)
    """
    if not isinstance(name, str):
        raise UsageError(
            f"Expected the name of a data set, got {type(name).__name__}; open a file with neuropil.open()."
        )
    if name.startswith(MOABB_PREFIX):
        from neuropil.datasets.moabb import load as load_moabb

        return load_moabb(name, **options)
    _, loader = _entry(name)
    try:
        inspect.signature(loader).bind(**options)
    except TypeError as error:
        known = [p.name for p in inspect.signature(loader).parameters.values()]
        raise UsageError(f"{name} has the options {', '.join(known) or '(none)'}: {error}.") from error
    return loader(**options)
