"""The catalog is complete, consistent and cheap to read, and it says clearly what does not work yet."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from neuropil import catalog
from neuropil.errors import UsageError

MODALITIES = {
    "audio",
    "behaviour",
    "calcium",
    "chemistry",
    "connectome",
    "eeg",
    "events",
    "fmri",
    "ieeg",
    "images",
    "meg",
    "seismic",
    "simulated",
    "spikes",
    "text",
    "video",
}
WITHOUT_PAPER = {"alignment-core", "eeg-simulator", "visual-cortex-simulator"}
ALL = catalog.systems()
WORKING = catalog.systems(status="working")
PLANNED = catalog.systems(status="planned")


def slugs(found: list[catalog.System]) -> set[str]:
    return {system.slug for system in found}


def test_sixty_published_systems_and_three_without_a_paper():
    assert slugs([system for system in ALL if not system.paper]) == WITHOUT_PAPER
    assert len(ALL) - len(WITHOUT_PAPER) == 60


@pytest.mark.parametrize("system", ALL, ids=lambda system: system.slug)
def test_entry_is_complete(system):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", system.slug)
    assert system.title.strip() == system.title != ""
    assert all(isinstance(name, str) and name for name in system.authors)
    assert system.authors
    assert isinstance(system.year, int)
    assert 1990 <= system.year <= 2026
    assert system.family in catalog.FAMILIES
    assert system.status in catalog.STATUSES
    assert system.modalities
    assert set(system.modalities) <= MODALITIES
    assert len(set(system.modalities)) == len(system.modalities)
    assert len(system.question) <= 110
    assert "?" in system.question
    assert not system.doi or re.fullmatch(r"10\.\d{4,9}/\S+", system.doi)
    assert not system.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", system.arxiv)
    assert re.fullmatch(rf"neuropil\.{system.family}\.[a-z0-9_]+:[A-Za-z_]\w*", system.import_path)


@pytest.mark.parametrize("system", ALL, ids=lambda system: system.slug)
def test_publication_can_be_found(system):
    if system.slug in WITHOUT_PAPER:
        assert "no paper" in system.question
        assert system.url == system.doi == system.arxiv == ""
    else:
        assert system.url.startswith(("https://doi.org/10.", "https://arxiv.org/abs/"))


def test_import_paths_titles_publications_and_questions_are_unique():
    for field in ("import_path", "title", "question"):
        assert len({getattr(system, field) for system in ALL}) == len(ALL), field
    assert len({system.url for system in ALL if system.url}) == len(ALL) - len(WITHOUT_PAPER)


def test_planned_systems_live_in_a_module_named_after_them():
    for system in PLANNED:
        module = system.import_path.split(":")[0]
        assert module == f"neuropil.{system.family}.{system.slug.replace('-', '_')}"


def test_systems_are_ordered_by_family_and_name():
    families = list(catalog.FAMILIES)
    assert [(system.family, system.slug) for system in ALL] == sorted(
        ((system.family, system.slug) for system in ALL), key=lambda pair: (families.index(pair[0]), pair[1])
    )


def test_every_family_has_a_system_and_every_modality_is_used():
    assert {system.family for system in ALL} == set(catalog.FAMILIES)
    assert {name for system in ALL for name in system.modalities} == MODALITIES


def test_filters_combine():
    found = catalog.systems(family="decoding", modality="meg")
    assert slugs(found) == {"brainflora", "meg-image-decoding", "speech-decoding"}
    assert slugs(WORKING) | slugs(PLANNED) == slugs(ALL)
    assert slugs(WORKING).isdisjoint(slugs(PLANNED))
    assert catalog.systems(family="assistant", modality="spikes") == []


def test_the_list_is_the_callers_own():
    catalog.systems().clear()
    assert catalog.systems() == ALL


@pytest.mark.parametrize(("name", "value"), [("family", "decoder"), ("modality", "EEG"), ("status", "done")])
def test_unknown_filter_names_the_choices(name, value):
    with pytest.raises(UsageError, match=rf"^{name} must be one of .*; got '{value}'\.$"):
        catalog.systems(**{name: value})


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("dbconfomer", "dbconformer"), ("pseudo_online", "pseudo-online"), ("NCAP", "ncap"), ("hmmglm", "onehot-hmmglm")],
)
def test_unknown_name_suggests_the_nearest(wrong, near):
    with pytest.raises(UsageError, match=f"no system '{wrong}'; did you mean .*'{near}'"):
        catalog.get(wrong)


@pytest.mark.parametrize("wrong", ["", "zzzzzz"])
def test_unknown_name_without_neighbours_points_to_the_list(wrong):
    with pytest.raises(UsageError, match="`neuropil systems` lists them all"):
        catalog.get(wrong)


@pytest.mark.parametrize("system", PLANNED, ids=lambda system: system.slug)
def test_planned_system_is_refused_in_one_sentence(system):
    sentence = (
        f"{system.title} ({system.slug}) is planned, not yet working in neuropil {version('neuropil')}; "
        "`neuropil systems --status working` lists what works."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        catalog.require_working(system.slug)
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        system.load()


@pytest.mark.parametrize("system", WORKING, ids=lambda system: system.slug)
def test_working_system_imports(system):
    assert catalog.require_working(system.slug) is system
    loaded = system.load()
    assert callable(loaded)
    assert loaded.__name__ == system.import_path.split(":")[1]


def test_citations():
    assert catalog.get("heterogeneous-delays").cite() == (
        "Grimaldi & Perrinet (2023). Learning heterogeneous delays in a layer of spiking neurons for fast motion "
        "detection. Biological Cybernetics. doi:10.1007/s00422-023-00975-8."
    )
    assert catalog.get("rbtransformer").cite().startswith("N. K. Bhatnagar et al. (2025). A Brain Wave ")
    assert catalog.get("at-at").cite().startswith("B. J. Choi (2025). ")
    assert catalog.get("eeg-simulator").cite() == (
        "The neuropil developers (2026). EEG simulator (no publication of its own)."
    )


@pytest.mark.parametrize("system", ALL, ids=lambda system: system.slug)
def test_citation_is_one_clean_line(system):
    line = system.cite()
    assert line == line.strip()
    assert "\n" not in line
    assert "  " not in line
    assert not line.endswith("..")
    assert line.endswith(".")


def test_reading_the_catalog_imports_nothing_heavy():
    code = (
        "import sys; import neuropil.catalog as c; c.systems(); "
        "print(sorted({'numpy', 'scipy', 'pandas', 'torch', 'xarray', 'sklearn', 'mne'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
