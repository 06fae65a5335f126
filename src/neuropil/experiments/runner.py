"""Running many independent tasks: in this process, in worker processes, or on a Dask cluster; each result is stored at once.

Workers have one thread each for linear algebra and torch, so that n workers use n cores and the figures do not depend on their
number. They are started once and reused, ignore Ctrl-C (the parent decides), and end by themselves when the parent is killed. With
a store, a task whose result is there already is not run, a task that another run is computing is left to it, and the lock of a
run that was killed is free at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuropil.errors import NeuropilError, UsageError
from neuropil.experiments.store import Key, Lock, ResultStore, decode, encode

WORTH_A_PROCESS = 6.0
"""Seconds of work below which starting worker processes (imports) costs more than it saves."""
POLL_SECONDS = 0.25
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
Progress = Callable[[str, int], None]


@dataclass(frozen=True, order=True)
class Outcome:
    """What became of one task."""

    index: int
    """Position of the task in the sequence given."""
    result: Any
    """What the function returned; None if it failed."""
    error: str
    """Why it could not be done, in one sentence; empty if it could."""
    stored: bool
    """True if the result was there already (or another run computed it meanwhile)."""


class _Reply(NamedTuple):
    result: Any
    error: str


class WorkerError(NeuropilError):
    """A worker process ended without an answer."""


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for linear algebra, and for torch if it is loaded, inside the block."""
    from threadpoolctl import threadpool_limits

    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with threadpool_limits(1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


_shared: Any = None


def _start_worker(parent: int, shared: Any) -> None:
    """In a new worker: keep what all tasks share, leave Ctrl-C to the parent, and do not outlive it."""
    from joblib.externals.loky import process_executor

    global _shared
    _shared = shared
    # A worker that has loaded torch for its second task is not leaking: without this it would be replaced, and import all again
    process_executor._USE_PSUTIL = False
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()


def _call(function: Callable[..., Any], kwargs: Mapping[str, Any], with_shared: bool, shared: Any = None) -> _Reply:
    """Run one task; what is wrong with its input becomes a sentence, what is wrong with the code an exception."""
    arguments = (shared if shared is not None else _shared,) if with_shared else ()
    with single_threaded():
        try:
            return _Reply(function(*arguments, **kwargs), "")
        except (NeuropilError, ValueError, TypeError) as error:
            if os.environ.get("NEUROPIL_DEBUG"):
                raise
            return _Reply(None, " ".join(str(error).split()) or type(error).__name__)


class _InProcess:
    slots = 1

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def submit(self, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Future[_Reply]:
        future: Future[_Reply] = Future()
        future.set_result(_call(function, kwargs, self.shared is not None, self.shared))
        return future

    def close(self) -> None:
        """Nothing to end."""


class _Processes:
    """Worker processes of loky: functions and estimators defined in a notebook or a script without a main guard work, too."""

    def __init__(self, n_jobs: int, shared: Any) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        self.slots, self.with_shared = n_jobs + 1, shared is not None
        self.pool = ProcessPoolExecutor(
            n_jobs, initializer=_start_worker, initargs=(os.getpid(), shared), env=dict.fromkeys(THREAD_VARIABLES, "1")
        )

    def submit(self, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Future[_Reply]:
        return self.pool.submit(_call, function, kwargs, self.with_shared)

    def close(self) -> None:
        self.pool.shutdown(kill_workers=True)


class _Cluster:
    def __init__(self, address: str, shared: Any) -> None:
        from distributed import Client

        try:
            self.client = Client(address, timeout=10)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"Expected a Dask scheduler at {address}, none answered ({error or 'time out'}); check the address, "
                "for example tcp://127.0.0.1:8786."
            ) from error
        self.with_shared = shared is not None
        self.shared = self.client.scatter(shared, broadcast=True) if self.with_shared else None
        self.pool = self.client.get_executor()
        self.slots = max(2, 2 * sum(self.client.nthreads().values()))

    def submit(self, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Future[_Reply]:
        return self.pool.submit(_call, function, kwargs, self.with_shared, self.shared)

    def close(self) -> None:
        self.pool.shutdown(wait=False)
        self.client.close()


def _open_pool(
    n_jobs: int | None, cluster: str | None, shared: Any, costs: Sequence[float] | None, n_tasks: int
) -> Any:
    if cluster is not None:
        return _Cluster(cluster, shared)
    if n_jobs is None:
        from joblib import cpu_count

        quick = costs is not None and sum(costs) < WORTH_A_PROCESS
        n_jobs = 1 if quick else min(cpu_count(), n_tasks)
    return _InProcess(shared) if n_jobs == 1 else _Processes(min(n_jobs, n_tasks), shared)


def run_tasks(
    tasks: Sequence[Mapping[str, Any]],
    function: Callable[..., Any],
    *,
    shared: Any = None,
    keys: Sequence[Key] | None = None,
    store: ResultStore | None = None,
    costs: Sequence[float] | None = None,
    n_jobs: int | None = None,
    cluster: str | None = None,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Call `function(**task)` for every task and yield the outcomes as they finish.

    Parameters
    ----------
    tasks : sequence of mappings
        Keyword arguments of every call.
    function : callable
        Its errors about input (`NeuropilError`, `ValueError`, `TypeError`) become outcomes, and the other tasks go on.
    shared : optional
        First argument of every call, sent once to every worker; for data.
    keys, store : optional
        Names of the results and where they are kept; every result is written before its outcome is yielded. Failures are not
        stored. Results must be mappings then.
    costs : sequence of float, optional
        Expected seconds of every task; the longest start first, and little work is done without starting processes.
    n_jobs : int, optional
        Worker processes; by default one a core, or none for little work. 1 means in this process.
    cluster : str, optional
        Address of a Dask scheduler.
    progress : callable, optional
        `progress(text, steps)` after every outcome, as `neuropil.progress.bar` makes one.

    Raises
    ------
    WorkerError
        If a worker process dies, for example for want of memory.
    DataError
        If a result cannot be stored.
    """
    if n_jobs is not None and n_jobs < 1:
        raise UsageError(f"The number of processes must be 1 or more, got {n_jobs}.")
    if (keys is None) != (store is None) or (keys is not None and len(keys) != len(tasks)):
        raise UsageError("Stored tasks need a store and one key for each task.")
    advance = progress or (lambda text, steps: None)
    pending: list[int] = []
    for index in range(len(tasks)):
        found = store.get(keys[index]) if store and keys else None
        if found is None:
            pending.append(index)
            continue
        advance("", 1)
        yield Outcome(index, found, "", True)
    if costs is not None:
        pending.sort(key=lambda index: -costs[index])
    if pending:
        loop = _Loop(tasks, function, keys, store, advance)
        pool = _open_pool(n_jobs, cluster, shared, costs and [costs[k] for k in pending], len(pending))
        try:
            yield from loop.run(pending, pool)
        finally:
            loop.release()
            pool.close()


class _Loop:
    """The tasks in flight, their locks, and those that another run is busy with."""

    def __init__(
        self,
        tasks: Sequence[Mapping[str, Any]],
        function: Callable[..., Any],
        keys: Sequence[Key] | None,
        store: ResultStore | None,
        advance: Progress,
    ) -> None:
        self.tasks, self.function, self.keys, self.store, self.advance = tasks, function, keys, store, advance
        self.flying: dict[Future[_Reply], tuple[int, Lock | None]] = {}

    def release(self) -> None:
        for _, lock in self.flying.values():
            if lock is not None:
                lock.release()
        self.flying.clear()

    def run(self, pending: Sequence[int], pool: Any) -> Iterator[Outcome]:
        queue, elsewhere = deque(pending), deque[int]()
        while queue or elsewhere or self.flying:
            while queue and len(self.flying) < pool.slots:
                outcome = self._start(queue.popleft(), pool, elsewhere)
                if outcome is not None:
                    yield outcome
            if self.flying:
                done, _ = wait(self.flying, timeout=POLL_SECONDS if elsewhere else None, return_when=FIRST_COMPLETED)
                for future in done:
                    yield self._finish(future)
            elif elsewhere:
                time.sleep(POLL_SECONDS)
            if not queue:
                queue.extend(elsewhere)
                elsewhere.clear()

    def _start(self, index: int, pool: Any, elsewhere: deque[int]) -> Outcome | None:
        lock = None
        if self.store and self.keys:
            lock = self.store.try_lock(self.keys[index])
            if lock is None:
                elsewhere.append(index)
                return None
            found = self.store.get(self.keys[index])
            if found is not None:
                lock.release()
                self.advance("", 1)
                return Outcome(index, found, "", True)
        try:
            self.flying[pool.submit(self.function, self.tasks[index])] = (index, lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return None

    def _finish(self, future: Future[_Reply]) -> Outcome:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        index, lock = self.flying.pop(future)
        try:
            result, error = future.result()
            if self.store and self.keys and not error:
                self.store.put(self.keys[index], result)
                result = decode(encode(result))
        except TerminatedWorkerError as ended:
            raise WorkerError(
                "A worker process was ended from outside, most often for want of memory; what was finished is kept, "
                "start again with fewer processes (--jobs 1)."
            ) from ended
        finally:
            if lock is not None:
                lock.release()
        self.advance("", 1)
        return Outcome(index, result, error, False)
