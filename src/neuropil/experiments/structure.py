"""Hidden structure for everyday use: fit a model of states, factors, communities or trajectories, and write what it found.

A result is a folder: the model (safetensors and JSON), one table a finding, one picture a finding, `report.html` with all of them, and
`summary.json`. It appears whole or not at all.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neuropil import catalog
from neuropil.activity import BIN_WIDTH
from neuropil.decoding import DECODERS
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.model_choice import Choice, choose
from neuropil.experiments.inputs import load_recordings
from neuropil.explain import structure as drawings
from neuropil.findings import Findings
from neuropil.persistence import read_model, save_model
from neuropil.recording import Recording
from neuropil.storage import whole_folder
from neuropil.streams import bin_spikes, is_regular
from neuropil.structure import StructureModel

MODEL = "model"
FAMILIES = ("latent", "foundation", "learning")
Setting = Literal["paper", "laptop"]


def structure_systems() -> list[str]:
    """Names of the working systems that find hidden structure.

    Examples
    --------
    >>> "onehot-hmmglm" in structure_systems()
    True
    """
    return [system.slug for system in _working() if _is_model(system.load())]


def is_structure(system: str) -> bool:
    """Whether a name is that of a model of hidden structure, and not of a decoder; other systems' modules are not imported.

    Raises
    ------
    UsageError
        If it is neither's; the message names the nearest.

    Examples
    --------
    >>> is_structure("onehot-hmmglm"), is_structure("auto")
    (True, False)
    """
    decoders = [entry.slug for entry in DECODERS]
    if system in decoders:
        return False
    working = {entry.slug: entry for entry in _working()}
    if system in working and _is_model(working[system].load()):
        return True
    if system in {entry.slug for entry in catalog.systems(status="planned")}:
        catalog.require_working(system)
    names = [*decoders, *(slug for slug, entry in working.items() if _is_model(entry.load()))]
    near = get_close_matches(system.strip().lower().replace("_", "-").replace(" ", "-"), names) or names
    raise UsageError(
        f"There is no decoder and no model of hidden structure {system!r} to fit; choose {' or '.join(map(repr, near))}."
    )


def _working() -> list[catalog.System]:
    return [system for family in FAMILIES for system in catalog.systems(family, status="working")]


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, StructureModel)


def make_structure(system: str, *, setting: Setting = "paper", seed: int = 0, **options: Any) -> StructureModel:
    """A model by its system's name, not fitted.

    Parameters
    ----------
    system : str
    setting : {"paper", "laptop"}
        Sizes of the publication, or those with which its claims are measured within minutes.
    seed : int
        Of everything random.
    **options
        Further parameters of the model.

    Examples
    --------
    >>> make_structure("onehot-hmmglm", n_states=3).n_states
    3
    """
    found = catalog.require_working(system).load()
    if not _is_model(found):
        raise UsageError(f"{system} is no model of hidden structure; there are {', '.join(structure_systems())}.")
    known = inspect.signature(found).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"{system} has the parameters {', '.join(known)}; got {', '.join(unknown)}.")
    small = getattr(sys.modules[found.__module__], "LAPTOP", {}) if setting == "laptop" else {}
    start = {"random_state": seed} if "random_state" in known else {}
    return found(**{**start, **small, **options})


def fit_structure(
    system: str,
    data: Any,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    choices: Mapping[str, Sequence[Any]] | None = None,
    data_options: Mapping[str, Any] | None = None,
    setting: Setting = "paper",
    stream: str | None = None,
    bin_width: float | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fit a model of hidden structure to recordings and write model, tables, pictures and report into a folder.

    Parameters
    ----------
    system : str
        One of `structure_systems()`.
    data
        Name of a data set, path of a recording, Recording or several of them.
    out : path-like
        Folder; appears whole or not at all.
    options : mapping, optional
        Parameters of the model.
    choices : mapping of str to sequence, optional
        Parameters to choose by held-out data, with their candidates; see `neuropil.evaluate.model_choice.choose`.
    data_options : mapping, optional
        Of a named data set.
    setting, seed
        As in `make_structure`.
    stream : str, optional
        Only this stream is given to the model.
    bin_width : float, optional
        Seconds; spikes are counted in bins of that width first.
    n_jobs : int, optional
        Processes for the choice.
    overwrite : bool
        Replace a folder that is there.

    Returns
    -------
    dict
        `system`, `data`, `folder`, `summary` (of the findings), `tables`, `pictures`, `fit_seconds`, and `choice` (one row a candidate)
        where one was made.

    Raises
    ------
    DataError, UsageError, FileNotFoundError
        If data, names or arguments do not fit, or `out` is there already; before any work.
    """
    if Path(out).exists() and not overwrite:
        raise DataError(f"{out} exists already; choose another name or pass --overwrite.")
    model = make_structure(system, setting=setting, seed=seed, **dict(options or {}))
    name, recordings, _ = load_recordings(data, data_options)
    X = prepared(recordings, stream, bin_width)
    began = time.perf_counter()
    choice: Choice | None = None
    if choices:
        choice = choose(model, X, choices, n_jobs=n_jobs, random_state=seed)
        model = choice.model
    else:
        model.fit(X)
    seconds = time.perf_counter() - began
    findings = model.findings(X)
    if choice is not None:
        findings.tables["choice"] = choice.table
        findings.panels["choice"] = choice.panel()
    facts = {
        "system": system,
        "data": name,
        "seed": seed,
        "setting": setting,
        "stream": stream,
        "bin_width": bin_width,
        "fit_seconds": seconds,
        "summary": plain(findings.summary),
        **({"choice": plain(choice.table.to_dict(orient="records")), "chosen": plain(choice.params)} if choice else {}),
    }
    with whole_folder(out, overwrite=overwrite) as folder:
        save_model(model, folder / MODEL, extra=facts)
        tables, pictures = write_findings(findings, folder)
        title = f"{catalog.get(system).title}: {name}"
        (folder / "report.html").write_text(
            drawings.page(title, catalog.get(system).question, findings), encoding="utf-8"
        )
        (folder / "summary.json").write_text(json.dumps(facts, indent=1, allow_nan=False), encoding="utf-8")
    return {**facts, "folder": str(out), "tables": tables, "pictures": pictures}


def apply_structure(model: str | Path, data: Any) -> Findings:
    """What a model that `fit_structure` saved finds in recordings of the same units.

    Parameters
    ----------
    model : path-like
        The folder that `fit_structure` wrote.
    data
        As in `fit_structure`.

    Raises
    ------
    DataError, UsageError, FileNotFoundError
        If the model is damaged, or the recordings have other units or another rate.
    """
    estimator, facts = read_model(model_folder(model))
    if not isinstance(estimator, StructureModel):
        raise UsageError(f"{model} holds a {type(estimator).__name__}, which is no model of hidden structure.")
    _, recordings, _ = load_recordings(data)
    return estimator.findings(prepared(recordings, facts.get("stream"), facts.get("bin_width")))


def model_folder(path: str | Path) -> Path:
    """Where the model lies: the folder itself, or `model` within a result of `fit_structure`."""
    inner = Path(path) / MODEL
    return inner if (inner / "model.json").is_file() else Path(path)


def prepared(
    recordings: Sequence[Recording], stream: str | None, bin_width: float | None
) -> Recording | list[Recording]:
    """Recordings with the stream that was asked for alone, spikes counted in bins; a single one by itself."""
    if bin_width is not None and not bin_width > 0:
        raise UsageError(f"The bin width must be a positive number of seconds, got {bin_width:g}.")
    changed = []
    for recording in recordings:
        streams = recording.streams if stream is None else {stream: recording.stream(stream)}
        if bin_width is not None and all(is_regular(part) for part in streams.values()):
            raise UsageError("The recording holds no single spikes to count in bins; leave out the bin width.")
        streams = {
            key: bin_spikes(part, bin_width or BIN_WIDTH) if _are_spikes(part) and bin_width is not None else part
            for key, part in streams.items()
        }
        changed.append(recording.copy(streams=streams) if streams is not recording.streams else recording)
    return changed[0] if len(changed) == 1 else changed


def _are_spikes(stream: Any) -> bool:
    return stream.ndim == 1 and not is_regular(stream)


def write_findings(findings: Findings, folder: Path) -> tuple[list[str], list[str]]:
    """Tables as CSV and panels as PNG into a folder; their names."""
    for name, table in findings.tables.items():
        (folder / f"{name}.csv").write_text(table.to_csv(index=table.index.name is not None), encoding="utf-8")
    for name, panel in findings.panels.items():
        drawings.save(panel, folder / f"{name}.png")
    return [f"{name}.csv" for name in findings.tables], [f"{name}.png" for name in findings.panels]


def plain(value: Any) -> Any:
    """Numbers and text that fit into strict JSON; what is not finite becomes None.

    Examples
    --------
    >>> plain({"a": np.float64(1.5), "b": [np.nan, np.int64(2)]})
    {'a': 1.5, 'b': [None, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, bool | int | str | type(None)) else str(value)
