"""Tasks run once, wherever they run, and what is finished stays finished."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from neuropil.errors import DataError, UsageError
from neuropil.experiments.runner import Outcome, WorkerError, run_tasks
from neuropil.experiments.store import Key, ResultStore


def square(x):
    if x < 0:
        raise DataError(f"Expected a number from 0 on, got {x}; take its size.")
    return {"square": x * x}


def scaled(factors, x):
    return {"scaled": float(factors[x] * 2), "pid": os.getpid()}


def log_call(folder, x, seconds=0.0):
    """Leave a trace of every call: that is how a test sees what was computed twice."""
    with open(f"{folder}/calls-{os.getpid()}", "a") as file:
        file.write(f"{x}\n")
    time.sleep(seconds)
    return {"x": x}


def calls(folder):
    return sorted(int(line) for path in folder.glob("calls-*") for line in path.read_text().split())


def keys_of(n):
    return [Key(("demo", f"task-{x}"), {"x": x}) for x in range(n)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_task_has_one_outcome_and_bad_input_does_not_stop_the_others(n_jobs):
    outcomes = sorted(run_tasks([{"x": 2}, {"x": -1}, {"x": 3}], square, n_jobs=n_jobs))
    assert outcomes == [
        Outcome(0, {"square": 4}, "", False),
        Outcome(1, None, "Expected a number from 0 on, got -1; take its size.", False),
        Outcome(2, {"square": 9}, "", False),
    ]


def test_what_tasks_share_reaches_every_worker():
    factors = np.arange(6.0)
    outcomes = sorted(run_tasks([{"x": x} for x in range(6)], scaled, shared=factors, n_jobs=2), key=lambda o: o.index)
    assert [outcome.result["scaled"] for outcome in outcomes] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert os.getpid() not in {outcome.result["pid"] for outcome in outcomes}


def test_functions_without_a_module_run_in_workers_too():
    offset = 5
    outcomes = list(run_tasks([{"x": 1}], lambda x: x + offset, n_jobs=1))
    assert outcomes[0].result == 6


def test_little_work_stays_in_this_process():
    outcomes = list(run_tasks([{"x": 0}], scaled, shared=np.ones(1), costs=[0.1]))
    assert outcomes[0].result["pid"] == os.getpid()


def test_the_longest_start_first(tmp_path):
    tasks = [{"folder": str(tmp_path), "x": x} for x in range(4)]
    order = [outcome.index for outcome in run_tasks(tasks, log_call, costs=[1.0, 3.0, 2.0, 4.0], n_jobs=1)]
    assert order == [3, 1, 2, 0]


def test_stored_results_are_not_computed_again_and_failures_are(tmp_path):
    store = ResultStore(tmp_path)
    tasks, keys = [{"x": 2}, {"x": -1}], keys_of(2)
    first = sorted(run_tasks(tasks, square, keys=keys, store=store, n_jobs=1))
    again = sorted(run_tasks(tasks, square, keys=keys, store=store, n_jobs=1))
    assert [o.stored for o in first] == [False, False]
    assert [o.stored for o in again] == [True, False]
    assert again[0].result == first[0].result == {"square": 4}
    assert "got -1" in again[1].error


def test_a_result_is_stored_before_its_outcome_is_seen(tmp_path):
    store = ResultStore(tmp_path)
    keys = keys_of(3)
    running = run_tasks([{"x": x} for x in range(3)], square, keys=keys, store=store, n_jobs=1)
    first = next(running)
    running.close()
    assert store.get(keys[first.index]) == first.result
    assert sum(store.get(key) is not None for key in keys) == 1
    assert not list((tmp_path / ".locks").iterdir())


def test_progress_counts_every_task(tmp_path):
    seen = []
    tasks = [{"x": x} for x in range(3)]
    for _ in range(2):
        list(
            run_tasks(
                tasks,
                square,
                keys=keys_of(3),
                store=ResultStore(tmp_path),
                n_jobs=1,
                progress=lambda t, n: seen.append(n),
            )
        )
    assert seen == [1] * 6


RUN = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that runs in the background hands down that it is ignored
    sys.path.insert(0, sys.argv[1])
    from pathlib import Path
    from test_runner import keys_of, log_call
    from neuropil.experiments.runner import run_tasks
    from neuropil.experiments.store import ResultStore
    tasks = [{"folder": sys.argv[2], "x": x, "seconds": float(sys.argv[3])} for x in range(12)]
    print("start", flush=True)
    n_jobs = int(sys.argv[4])
    for outcome in run_tasks(tasks, log_call, keys=keys_of(12), store=ResultStore(sys.argv[2]), n_jobs=n_jobs):
        print("done", outcome.index, flush=True)
"""


def start_run(folder, seconds, n_jobs=1):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), os.path.dirname(__file__), str(folder), str(seconds), str(n_jobs)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_runs_at_once_share_the_work(tmp_path):
    runs = [start_run(tmp_path, 0.1) for _ in range(2)]
    said = [run.communicate(timeout=60)[0].split() for run in runs]
    assert all(run.returncode == 0 for run in runs)
    assert [words.count("done") for words in said] == [12, 12]
    assert calls(tmp_path) == list(range(12))


def test_a_killed_run_is_taken_up_where_it_stopped(tmp_path):
    run = start_run(tmp_path, 0.05)
    for _ in range(6):
        run.stdout.readline()
    time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    finished = sum(ResultStore(tmp_path).get(key) is not None for key in keys_of(12))
    assert finished >= 5
    store = ResultStore(tmp_path)
    tasks = [{"folder": str(tmp_path), "x": x} for x in range(12)]
    outcomes = list(run_tasks(tasks, log_call, keys=keys_of(12), store=store, n_jobs=1))
    assert sum(outcome.stored for outcome in outcomes) == finished
    assert sorted(outcome.result["x"] for outcome in outcomes) == list(range(12))
    assert len(calls(tmp_path)) <= 13, "only the task in the middle of which the run was killed is computed again"


def test_workers_do_not_outlive_a_killed_run(tmp_path):
    run = start_run(tmp_path, 0.2, n_jobs=2)
    while "done" not in run.stdout.readline():
        pass
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    workers = [int(path.name.split("-")[1]) for path in tmp_path.glob("calls-*")]
    assert workers
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    run = start_run(tmp_path, 1.0, n_jobs=2)
    while "done" not in run.stdout.readline():
        pass
    os.kill(run.pid, signal.SIGINT)
    run.wait(timeout=30)
    assert run.returncode != 0
    assert 1 <= sum(ResultStore(tmp_path).get(key) is not None for key in keys_of(12)) < 12
    assert not list((tmp_path / ".locks").iterdir())


def end_worker(x):
    os._exit(3)


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(WorkerError, match=r"what was finished is kept, start again with fewer processes"):
        list(run_tasks([{"x": 1}, {"x": 2}], end_worker, n_jobs=2))


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="1 or more, got 0"):
        list(run_tasks([], square, n_jobs=0))
    with pytest.raises(UsageError, match="one key for each"):
        list(run_tasks([{"x": 1}], square, keys=keys_of(1)))


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch):
    import distributed

    class Absent:
        def __init__(self, *arguments, **options):
            raise TimeoutError("timed out")

    monkeypatch.setattr(distributed, "Client", Absent)
    with pytest.raises(UsageError, match=r"Expected a Dask scheduler at tcp://127\.0\.0\.1:1, none answered"):
        list(run_tasks([{"x": 1}], square, cluster="tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_outcomes(tmp_path):
    from distributed import LocalCluster

    tasks, factors = [{"x": x} for x in range(4)], np.arange(4.0)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        outcomes = list(
            run_tasks(
                tasks,
                scaled,
                shared=factors,
                keys=keys_of(4),
                store=ResultStore(tmp_path),
                cluster=cluster.scheduler_address,
            )
        )
    assert sorted(outcome.result["scaled"] for outcome in outcomes) == [0.0, 2.0, 4.0, 6.0]
    assert all(ResultStore(tmp_path).get(key) is not None for key in keys_of(4))
