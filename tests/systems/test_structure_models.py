"""What every model of hidden structure does alike: its arguments, seeds, saving, findings, objectives and the choice of a size."""

import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from neuropil.evaluate.model_choice import choose
from neuropil.experiments.structure import plain, structure_systems
from neuropil.explain.structure import drawn
from neuropil.findings import Panel
from neuropil.persistence import load_model
from neuropil.stats.convergence import check_never_falls
from structure_cases import CASES, TRIALS, findings, fitted, made, score

pytestmark = pytest.mark.filterwarnings("ignore:The chains have not converged", "ignore:No kick neurons")

every = pytest.mark.parametrize("system", structure_systems())


def test_there_is_a_case_for_every_system():
    assert set(CASES) == set(structure_systems())


@every
def test_arguments_are_kept_as_they_are(system):
    given = CASES[system].options
    model = made(system)
    assert all(vars(model)[name] is value for name, value in given.items())
    assert set(vars(model)) == set(model.get_params())
    before = dict(vars(model))
    for use in (lambda: score(system, model), lambda: findings(system, model), lambda: model.save("nowhere")):
        with pytest.raises(NotFittedError):
            use()
    assert model.fit(*CASES[system].data) is model
    assert all(vars(model)[name] is value for name, value in before.items())
    copy = clone(model).set_params(random_state=7)
    assert copy.get_params() == {**model.get_params(), "random_state": 7}
    with pytest.raises(NotFittedError):
        score(system, copy)


@every
def test_the_same_seed_gives_the_same_model_and_leaves_global_random_numbers_alone(system):
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    ours, theirs = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    again = made(system).fit(*CASES[system].data)
    np.testing.assert_array_equal(np.random.get_state()[1], ours)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), theirs)
    assert score(system, again) == score(system, fitted(system))
    other = made(system, random_state=1).fit(*CASES[system].data)
    assert score(system, other) != score(system, again)


@every
def test_a_saved_model_is_the_same_model_and_nothing_is_unpickled(system, tmp_path, monkeypatch):
    model = fitted(system)
    path = model.save(tmp_path / "model")
    with monkeypatch.context() as patched:
        for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
            patched.setattr(module, name, lambda *given, **options: pytest.fail("unpickled"))
        again = type(model).load(path), load_model(path)
    for loaded in again:
        assert type(loaded) is type(model)
        assert loaded.get_params() == model.get_params()
        assert score(system, loaded) == score(system, model)
        assert plain(findings(system, loaded).summary) == plain(findings(system, model).summary)


@every
def test_findings_can_be_written_and_drawn(system):
    found = findings(system, fitted(system))
    for names in (found.summary, found.tables, found.panels):
        assert names
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
    assert all(isinstance(v, bool | int | float | str | list | None) for v in found.summary.values())
    written = plain(found.summary)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    for table in found.tables.values():
        assert isinstance(table, pd.DataFrame)
        assert all(isinstance(column, str) for column in table.columns)
        assert table.columns.is_unique
    for panel in found.panels.values():
        assert isinstance(panel, Panel)
        figure = drawn(panel)
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()


@every
def test_the_course_of_the_fit_is_kept(system):
    model = fitted(system)
    course = model.trace_["log_likelihood"] if system == "bayesian-biclustering" else model.objective_
    assert course.size > 1
    assert np.isfinite(course).all()
    if "n_init" in model.get_params():
        assert model.restart_scores_.shape == (model.n_init,)
        assert np.isfinite(model.restart_scores_).all()


def test_objectives_with_a_guarantee_never_fall():
    check_never_falls(-fitted("functional-connectome").objective_)
    for prior in ("gaussian", None):
        check_never_falls(made("onehot-hmmglm", prior=prior).fit(TRIALS).objective_)


@every
def test_a_size_is_chosen_by_what_was_held_out(system):
    case = CASES[system]
    data = case.data if len(case.data) > 1 else case.data[0]
    found = choose(made(system), data, case.sizes, n_folds=2)
    assert found.folds.shape == (2, 2)
    assert np.isfinite(found.folds).all()
    assert found.table["reason"].eq("").all()
    (name, sizes), = case.sizes.items()  # fmt: skip
    assert found.params[name] == sizes[int(found.folds.mean(axis=1).argmax())]
    assert np.isfinite(score(system, found.model))
