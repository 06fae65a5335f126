"""Claims run once, are stored at once, judged, and recorded where the atlas finds them."""

import json

import pytest

from neuropil.claims.core import Claim, Verdict
from neuropil.errors import NeuropilError, UsageError
from neuropil.experiments.atlas import figure
from neuropil.experiments.reproduce import reproduce


def run(tmp_path, **options):
    options = {
        "claims": ["forward_model"],
        "seeds": 2,
        "results": tmp_path / "runs",
        "n_jobs": 1,
        "progress": False,
        **options,
    }
    return reproduce("eeg-simulator", **options)


def test_a_claim_is_measured_once_and_recorded(tmp_path, monkeypatch):
    first = run(tmp_path, record=True, record_to=tmp_path)
    assert first.judgements["forward_model"].verdict == Verdict.HOLDS
    assert not first.failed
    document = json.loads((tmp_path / "results" / "eeg-simulator.json").read_text())
    (entry,) = document["claims"]
    assert entry["verdict"] == "holds"
    assert entry["n_seeds"] == 2
    assert len(entry["measures"]["error_against_mne"]["values"]) == 2
    page = (tmp_path / "docs" / "atlas" / "eeg-simulator.md").read_text()
    assert "Forward model: holds" in page
    assert "neuropil reproduce eeg-simulator --record" in page

    def never(self, seed, scale):
        raise AssertionError("measured again")

    monkeypatch.setattr(Claim, "run", never)
    again = run(tmp_path)
    assert again.rows == first.rows


def test_a_failed_experiment_keeps_what_was_measured(tmp_path, monkeypatch):
    real = Claim.run

    def breaks(self, seed, scale):
        if seed == 1:
            raise ValueError("the second seed broke.")
        return real(self, seed, scale)

    monkeypatch.setattr(Claim, "run", breaks)
    with pytest.raises(NeuropilError, match=r"the second seed broke\. What was measured before is kept"):
        run(tmp_path)
    assert len(list((tmp_path / "runs").rglob("forward-model-seed-0-*.json"))) == 1
    calls = []
    monkeypatch.setattr(Claim, "run", lambda self, seed, scale: calls.append(seed) or real(self, seed, scale))
    run(tmp_path)
    assert calls == [1]


def test_recording_keeps_claims_that_were_not_measured_this_time(tmp_path):
    run(tmp_path, record=True, record_to=tmp_path)
    path = tmp_path / "results" / "eeg-simulator.json"
    document = json.loads(path.read_text())
    document["claims"].append(document["claims"][0] | {"name": "physiology"})
    path.write_text(json.dumps(document))
    run(tmp_path, record=True, record_to=tmp_path)
    assert [entry["name"] for entry in json.loads(path.read_text())["claims"]] == ["forward_model", "physiology"]


def test_unknown_claims_and_scales_are_named(tmp_path):
    with pytest.raises(UsageError, match="has no claim nonsense; it has: forward_model"):
        run(tmp_path, claims=["nonsense"])
    with pytest.raises(UsageError, match="quick or full"):
        run(tmp_path, scale="huge")


def test_figures_show_intervals_only_where_something_varies():
    assert figure({"mean": 93747.0, "low": 93747.0, "high": 93747.0}) == "93747"
    assert figure({"mean": 0.5, "low": 0.4, "high": 0.6}) == "0.500 [0.400, 0.600]"
