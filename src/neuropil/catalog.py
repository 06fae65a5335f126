"""The catalog of systems: what each one answers, who published it, where it lives and whether it works yet.

The entries are in `catalog.toml`, one table per system. Reading them imports nothing numerical, so that listing the
systems on the command line is immediate; the code of a system is imported only by `System.load`.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from neuropil.errors import UsageError

FAMILIES: dict[str, str] = {
    "decoding": "activity -> what was seen, heard, meant, done",
    "encoding": "stimulus or model -> activity; alignment of models and brains",
    "latent": "activity -> its hidden structure: states, factors, communities, connectivity",
    "foundation": "tokenise and pretrain on activity",
    "detection": "multichannel streams -> when does what happen",
    "spiking": "computing with spikes",
    "learning": "learning rules and network dynamics",
    "agents": "embodied control and reinforcement learning",
    "evaluate": "splits that cannot leak, metrics, benchmarks",
    "simulate": "generators with known ground truth",
    "assistant": "the collaborative workspace with a language model",
}
STATUSES = ("working", "planned")


@dataclass(frozen=True, slots=True)
class System:
    """One system of the catalog.

    Attributes
    ----------
    slug, title, paper : str
        Name on the command line, short name in print, full title of the publication (empty where there is none).
    authors : tuple of str
        In the order of the publication; an item "et al." or "..." marks a list that is not complete.
    year : int
        Year of the version named in `paper`, or of the design where there is no publication.
    family, status : str
        One of `FAMILIES` and one of `STATUSES`.
    modalities : tuple of str
        Kinds of data that go in or out, e.g. "eeg", "fmri", "simulated".
    question : str
        The question that the system answers for its user.
    import_path : str
        "module:object"; for a planned system the place where it will live.
    venue, doi, arxiv : str
        Empty where not known.
    """

    slug: str
    title: str
    paper: str
    authors: tuple[str, ...]
    year: int
    family: str
    modalities: tuple[str, ...]
    question: str
    import_path: str
    status: str
    venue: str = ""
    doi: str = ""
    arxiv: str = ""

    @property
    def working(self) -> bool:
        """Whether the system can be imported in this version."""
        return self.status == "working"

    @property
    def url(self) -> str:
        """Address of the publication, by DOI before arXiv; empty where there is neither."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    def cite(self) -> str:
        """Citation in one line.

        Examples
        --------
        >>> get("ctm").cite()
        'L. Darlow et al. (2025). Continuous Thought Machines. arXiv:2505.05522.'
        """
        complete = not {"et al.", "..."} & set(self.authors)
        names = " & ".join(self.authors) if complete and len(self.authors) < 3 else f"{self.authors[0]} et al."
        identifier = f"doi:{self.doi}" if self.doi else f"arXiv:{self.arxiv}" if self.arxiv else ""
        title = self.paper or f"{self.title} (no publication of its own)"
        parts = [f"{names} ({self.year})", title, self.venue, identifier]
        return " ".join(part if part.endswith(("?", "!")) else f"{part}." for part in parts if part)

    def load(self) -> Any:
        """Import the class or function of a working system.

        Raises
        ------
        UsageError
            If the system is planned.
        """
        require_working(self.slug)
        module, name = self.import_path.split(":")
        return getattr(importlib.import_module(module), name)


@cache
def _entries() -> MappingProxyType[str, System]:
    text = resources.files("neuropil").joinpath("catalog.toml").read_text(encoding="utf-8")
    entries = {}
    for slug, table in tomllib.loads(text).items():
        lists = {name: tuple(table[name]) for name in ("authors", "modalities")}
        entries[slug] = System(slug=slug, **(table | lists))
    return MappingProxyType(entries)


def systems(family: str | None = None, modality: str | None = None, status: str | None = None) -> list[System]:
    """List the systems that meet every condition given, by family and name.

    Raises
    ------
    UsageError
        If the family, modality or status is none that the catalog has.

    Examples
    --------
    >>> [system.slug for system in systems(family="evaluate", modality="eeg")]
    ['pseudo-online']
    """
    entries = list(_entries().values())
    _require_known("family", family, FAMILIES)
    _require_known("modality", modality, sorted({name for system in entries for name in system.modalities}))
    _require_known("status", status, STATUSES)
    return [
        system
        for system in entries
        if family in (None, system.family)
        and (modality is None or modality in system.modalities)
        and status in (None, system.status)
    ]


def get(slug: str) -> System:
    """Return the system of that name.

    Raises
    ------
    UsageError
        If there is none; the message names the nearest ones.
    """
    entries = _entries()
    if slug not in entries:
        from difflib import get_close_matches

        wanted = slug.strip().lower().replace("_", "-").replace(" ", "-")
        parts = [name for name in entries if len(wanted) > 2 and wanted in name]
        near = list(dict.fromkeys(parts + get_close_matches(wanted, entries)))[:3]
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`neuropil systems` lists them all."
        raise UsageError(f"The catalog has no system {slug!r}; {hint}")
    return entries[slug]


def require_working(slug: str) -> System:
    """Return the system of that name if it works in this version.

    Raises
    ------
    UsageError
        If the system is unknown or planned.
    """
    system = get(slug)
    if not system.working:
        from importlib.metadata import version

        raise UsageError(
            f"{system.title} ({slug}) is planned, not yet working in neuropil {version('neuropil')}; "
            "`neuropil systems --status working` lists what works."
        )
    return system


def _require_known(what: str, value: str | None, known: Iterable[str]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{what} must be one of {', '.join(known)}; got {value!r}.")
