"""The report: one well-formed file that fetches nothing, runs nothing, escapes everything and says what was found."""

import errno
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from small_comparisons import CHANNELS, Guess, LabelsOnly, MeanLDA, NoisyLDA, Refuses, trials

import neuropil.experiments.compare as module
from neuropil import storage
from neuropil.errors import DataError
from neuropil.experiments import report_figures as figures
from neuropil.experiments import report_missed as missing
from neuropil.experiments import report_patterns as patterns
from neuropil.experiments.compare import compare
from neuropil.experiments.inputs import load_material

HOSTILE = '<script>alert("x")</script>&"\'$title ${style}'
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    systems = {"lda": MeanLDA(), "noisy": NoisyLDA(), "labels": LabelsOnly(), "guess": Guess(), "refuses": Refuses()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "N_PERMUTATIONS", 100)
        return compare(trials(n=90), systems, seeds=2, results=tmp_path_factory.mktemp("runs"), n_jobs=1)


@pytest.fixture(scope="module")
def page(comparison, tmp_path_factory):
    return comparison.report(tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


class Checker(HTMLParser):
    """Collects tags with their attributes and complains about tags that do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs), f"doubled attribute in {tag}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def nothing_is_fetched(page):
    found = Checker(page)
    for tag, attrs in found.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attrs.items():
            assert not name.startswith("on"), f"{name} in {tag}"
            if name in ("src", "href", "srcset", "action", "data", "poster", "background"):
                assert value.startswith(("data:", "#")), f"{name}={value}"
            assert "javascript:" not in (value or "")
    assert "@import" not in page
    assert not re.search(r"url\s*\((?!\s*['\"]?data:)", page)
    policy = [attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    return found


def test_it_is_well_formed_and_fetches_nothing(page):
    found = nothing_is_fetched(page)
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"\$\{?[a-z]+", re.sub(r"<style>.*</style>", "", page, flags=re.S)), "an unfilled place"
    titles = [tag for tag, _ in found.tags if tag in ("h1", "h2")]
    assert titles[0] == "h1"
    assert titles.count("h1") == 1
    assert titles.count("h2") >= 7


def test_every_drawing_is_xml_with_a_text_alternative(page):
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(drawings) > 10
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.attrib["role"] == "img"
        assert len(root.attrib["aria-label"]) > 10
        numbers = [
            float(v) for e in root.iter() for k, v in e.attrib.items() if k in ("x", "y", "cx", "cy", "width", "height")
        ]
        assert np.isfinite(numbers).all()
        assert min(numbers) > -50
    for attrs in [a for t, a in Checker(page).tags if t == "img"]:
        assert attrs["alt"]


def test_tables_have_headers_with_scope(page):
    found = Checker(page)
    scopes = [attrs.get("scope") for tag, attrs in found.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    tables = sum(tag == "table" for tag, _ in found.tags)
    assert tables == sum(tag == "caption" for tag, _ in found.tags) == 4


def test_it_says_what_was_found(comparison, page):
    text = " ".join(Checker(page).text)
    for standing in comparison.board("own").standings:
        assert f"{standing.score:.3f}" in text
    assert "not above chance: guess" in text
    assert "This decoder needs windows of 10 s, got 1 s; cut longer windows." in text
    assert comparison.command.split("(")[0] in text
    for expected in (
        "Learning curves",
        "How the networks were trained",
        "torch",
        "scikit-learn",
        "resampling windows within classes",
    ):
        assert expected in text
    for name in CHANNELS:
        assert name in text


def test_names_from_data_and_users_are_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "N_PERMUTATIONS", 20)
    recording = trials(channels=[HOSTILE, "b", "c", "d", "e"], labels=(HOSTILE, "right"), dataset=HOSTILE)
    comparison = compare(
        recording, {HOSTILE: MeanLDA(), "x": Refuses()}, split="own", results=tmp_path / "runs", n_jobs=1
    )
    page = comparison.report(tmp_path / "report.html").read_text(encoding="utf-8")
    nothing_is_fetched(page)
    assert "<script" not in page
    text = " ".join(Checker(page).text)
    assert HOSTILE in text
    assert 'alert("x")' in text
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        ElementTree.fromstring(drawing)


def test_maps_on_the_head_where_positions_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "N_PERMUTATIONS", 20)
    positions = np.array([[0, 0.08, 0.05], [-0.06, 0, 0.07], [0, 0, 0.1], [0.06, 0, 0.07], [0, -0.08, 0.05]])
    recording = trials(positions=positions)
    comparison = compare(recording, {"lda": MeanLDA()}, split="own", results=tmp_path / "runs", n_jobs=1)
    page = comparison.report(tmp_path / "report.html").read_text(encoding="utf-8")
    images = [attrs for tag, attrs in nothing_is_fetched(page).tags if tag == "img"]
    assert len(images) == 2, "what goes with the output, and what is missed"
    for image in images:
        assert image["src"].startswith("data:image/png;base64,iVBOR")
        assert "strongest: C3" in image["alt"], "the channel in which the classes differ"


def test_it_says_what_the_best_decoders_miss(comparison, page):
    text = " ".join(Checker(page).text)
    assert "What the decoders use" in text
    assert "What is missed when it is taken away" in text
    labels = [attrs["aria-label"] for tag, attrs in Checker(page).tags if tag == "svg"]
    (electrodes,) = [label for label in labels if label.startswith("fall of probability without each electrode")]
    assert "strongest: C3" in electrodes
    (bands,) = [label for label in labels if label.startswith("fall of probability without each band")]
    assert "slow" in bands, "the classes differ in the mean of a channel"
    found = missing.missed_by_the_best(comparison)
    assert 1 <= len(found.losses) <= missing.MAX_DECODERS
    assert "guess" not in [loss.name for loss in found.losses], "it is not above chance"


def test_slow_decoders_are_named_instead_of_waited_for(comparison, monkeypatch):
    monkeypatch.setattr(missing, "SECONDS", 0.0)
    found = missing.missed_by_the_best(comparison)
    assert found.losses == []
    assert found.left_out.startswith("Left out, since fitting or asking them again takes too long: ")


def test_positions_are_used_only_if_they_are_all_known():
    unknown = np.full((5, 3), np.nan)
    assert patterns.head_positions(load_material(trials(positions=unknown))) is None
    assert patterns.head_positions(load_material(trials())) is None


def test_correlations_are_those_of_numpy():
    material = load_material(trials(n=60, seed=5))
    features = patterns.channel_features(material)
    X = material.X.values
    np.testing.assert_allclose(features[:, 2, 0], X[:, 2, :5].mean(axis=1))
    np.testing.assert_allclose(features[:, 3, -1], np.log(X[:, 3].var(axis=1)))
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.9, size=60)
    result = {
        "test": np.arange(60),
        "y_true": material.codes,
        "y_pred": (p > 0.5).astype(int),
        "proba": np.stack([1 - p, p], 1),
    }
    found = patterns.correlations(features, [[result]], 1)
    expected = np.corrcoef(np.log(p / (1 - p)), features[:, 1, 3])[0, 1]
    assert found[1, 3] == pytest.approx(expected)


def test_it_is_written_whole_or_not_at_all(comparison, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("the one before")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(DataError, match="disk is full"):
        comparison.report(path)
    assert path.read_text() == "the one before"
    assert os.listdir(tmp_path) == ["report.html"]


def test_it_lies_beside_the_results_by_default(comparison):
    assert comparison.report() == comparison.root / "small.html"


def test_scales_have_round_ticks_inside():
    scale = figures.Scale(0.43, 0.91, 0.0, 100.0)
    assert scale.ticks(5) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert scale(0.43) == 0.0
    assert scale(0.91) == 100.0
    assert figures.Scale(1.0, 1.0, 0.0, 10.0).ticks() == [1.0]


def test_long_names_lose_their_middle():
    assert figures.shorten("negativity", 20) == "negativity"
    assert figures.shorten("a-very-long-name-of-a-decoder", 11) == "a-ver…coder"
    assert len(figures.shorten("x" * 100)) <= 26
