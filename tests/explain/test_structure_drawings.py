"""Every record of findings has a drawing that shows its numbers."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.explain.structure import drawn, page, save
from neuropil.findings import (
    Connectivity,
    Curves,
    Findings,
    Heatmap,
    Intervals,
    Panel,
    Raster,
    Trajectories,
    TransitionGraph,
)

RNG = np.random.default_rng(0)
NAMES = [f"u{k}" for k in range(6)]
COUNTS = RNG.poisson(0.5, (100, 6))
STATES = np.repeat([0, 1, 0, 2], 25)
COMMUNITIES = np.array([1, 0, 1, 0, 0, 1])
WEIGHTS = np.arange(36.0).reshape(6, 6) - 18
PATH = RNG.standard_normal((50, 2))
PANELS = {
    "raster": Raster("Raster", COUNTS, NAMES, STATES, 50.0, None, COMMUNITIES),
    "traces": Raster("Traces", RNG.standard_normal((100, 6)), NAMES),
    "graph": TransitionGraph("Transitions", np.array([[0.9, 0.1], [0.3, 0.7]])),
    "single": TransitionGraph("One state", np.ones((1, 1))),
    "weights": Connectivity("Couplings", WEIGHTS, NAMES, COMMUNITIES),
    "heat": Heatmap("Loadings", np.abs(WEIGHTS), NAMES, NAMES, "loading"),
    "paths": Trajectories("Latents", {"a": PATH, "b": PATH[:, 0]}, {"a": (PATH - 1, PATH + 1)}, {"b": PATH[:, 1]}),
    "curves": Curves("Objective", np.arange(30), {"fit": np.arange(30.0)}, "step", "objective"),
    "intervals": Intervals("Baselines", NAMES, np.zeros(6), -np.ones(6), np.ones(6), "log rate"),
}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_record_is_drawn(panel, tmp_path):
    path = save(panel, tmp_path / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 4000


def test_connectivity_is_ordered_by_community():
    axis = drawn(PANELS["weights"]).axes[0]
    order = [1, 3, 4, 0, 2, 5]
    np.testing.assert_array_equal(axis.images[0].get_array(), WEIGHTS[np.ix_(order, order)])
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [NAMES[k] for k in order]
    assert axis.get_xlabel() == "from (pre)"


def test_the_raster_shows_one_mark_a_bin_with_spikes_and_its_states():
    axis = drawn(PANELS["raster"]).axes[0]
    marks = next(c for c in axis.collections if hasattr(c, "get_segments"))
    assert len(marks.get_segments()) == np.count_nonzero(COUNTS)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["state 0", "state 1", "state 2"]


def test_the_graph_writes_its_probabilities():
    texts = {text.get_text() for text in drawn(PANELS["graph"]).axes[0].texts}
    assert {"0.10", "0.30", "0\n0.90", "1\n0.70"} <= texts


def test_bands_and_truth_are_said():
    figure = drawn(PANELS["paths"])
    assert "95 %" in figure.axes[0].get_title(loc="right")
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_ydata(), PATH[:, 1])


def test_the_page_holds_all_pictures_and_escapes_what_comes_from_data():
    findings = Findings(
        {"n_states": 2, "scores": [1.0, 2.5]}, {}, {"a": Curves("<b>", np.arange(3), {"x": np.arange(3)}, "x", "y")}
    )
    html = page("Title & more", "lead", findings)
    assert html.count("data:image/png") == 1
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "1, 2.5" in html


def test_an_unknown_record_is_refused():
    with pytest.raises(UsageError, match="no drawing"):
        drawn(Panel("nothing"))
