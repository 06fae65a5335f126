"""Results are written whole or not at all, under names that stay in their folder, and are computed once."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest

from neuropil import storage
from neuropil.errors import DataError, UsageError
from neuropil.experiments.store import Key, ResultStore, decode, encode, readable_name


def key(name="seed-0", **settings):
    return Key(("data", "blocks", "lda", name), settings or {"seed": 0})


def fill(store):
    for k in range(100):
        store.put(key(f"seed-{k}"), {"values": list(range(1000))})


def script(body, *arguments):
    """A Python process that runs `body`."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_a_result_comes_back_exactly(tmp_path):
    store = ResultStore(tmp_path)
    values = {"a": 0.1 + 0.2, "b": np.arange(3), "c": [True, None, "µV"], "d": {"x": np.float32(0.5)}}
    store.put(key(), values)
    assert store.get(key()) == {"a": 0.1 + 0.2, "b": [0, 1, 2], "c": [True, None, "µV"], "d": {"x": 0.5}}


def test_json_is_strict_and_numbers_that_are_not_finite_survive(tmp_path):
    store = ResultStore(tmp_path)
    path = store.put(key(), {"values": [math.nan, math.inf, -math.inf]})

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    values = store.get(key())["values"]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_other_settings_are_another_file(tmp_path):
    store = ResultStore(tmp_path)
    store.put(key(c=1.0), {"score": 1})
    assert store.get(key(c=2.0)) is None
    assert store.get(key(c=1.0)) == {"score": 1}
    assert store.path(key(c=1.0)).name.startswith("seed-0-")


def test_what_is_no_value_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"numbers, text, lists and dictionaries, got object"):
        ResultStore(tmp_path).put(key(), {"x": object()})
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "part", ["..", "../up", "/etc/passwd", "a/b", "", "a\0b", "a\nb", ".hidden", "x" * 200, "a..b", "~"]
)
def test_names_that_leave_the_folder_or_are_odd_are_refused(tmp_path, part):
    store = ResultStore(tmp_path / "runs")
    with pytest.raises(UsageError, match=r"stay inside their folder, got .*; choose another name\."):
        store.put(Key(("data", part, "seed-0"), {}), {"score": 1})
    assert not list(tmp_path.rglob("*.json"))


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "runs" / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="leads out of the results folder"):
        ResultStore(tmp_path / "runs").put(key(), {"score": 1})
    assert not list((tmp_path / "outside").iterdir())


def test_readable_names_are_names(tmp_path):
    store = ResultStore(tmp_path)
    for text in ("moabb:BNCI2014_001", "../../etc/passwd", "äöü", "a b.fif", "x" * 500, "...", "<script>"):
        store.put(Key((readable_name(text),), {"text": text}), {"ok": 1})
    assert len(list(tmp_path.glob("*.json"))) == 7


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", None])
def test_a_damaged_file_is_set_aside_and_counts_as_none(tmp_path, damage):
    store = ResultStore(tmp_path)
    path = store.put(key(), {"score": 0.75})
    path.write_bytes(path.read_bytes().replace(b"0.75", b"0.95") if damage is None else damage)
    with pytest.warns(UserWarning, match=r"was damaged; it is kept as .*\.damaged and the result is computed again"):
        assert store.get(key()) is None
    assert len(list(path.parent.glob("*.damaged"))) == 1
    store.put(key(), {"score": 0.75})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.get(key()) == {"score": 0.75}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(tmp_path, monkeypatch, code):
    store = ResultStore(tmp_path)
    store.put(key(), {"score": 0.5})

    def full(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(storage.os, "fsync", full)
    for name in ("seed-0", "seed-1"):
        with pytest.raises(
            DataError, match=r"^The disk is full: .* free some space and start again, everything written"
        ):
            store.put(key(name), {"score": 0.6})
    monkeypatch.undo()
    assert store.get(key()) == {"score": 0.5}
    assert store.get(key("seed-1")) is None
    assert not list(tmp_path.rglob("*.partial"))


def test_a_disk_that_is_really_full(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("needs the right to mount a file system")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("this machine does not let anyone mount a file system")
    try:
        store = ResultStore(mount)
        with pytest.raises(DataError, match=r"disk is full"):
            fill(store)
        kept = len(list(mount.rglob("*.json")))
        assert kept > 2
        for k in range(kept):
            assert store.get(key(f"seed-{k}")) == {"values": list(range(1000))}
        assert store.get(key(f"seed-{kept}")) is None
        assert not list(mount.rglob("*.partial"))
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_results_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UsageError, match="name a folder"):
        ResultStore(tmp_path / "runs")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "runs").mkdir()
    store = ResultStore(tmp_path / "runs")
    (tmp_path / "runs" / "data").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written .*check the folder and its permissions"):
        store.put(key(), {"score": 1})


def test_only_one_holds_the_lock_and_a_killed_holder_frees_it(tmp_path):
    store = ResultStore(tmp_path)
    holder = script(
        """
        import sys, time
        from neuropil.experiments.store import Key, ResultStore
        lock = ResultStore(sys.argv[1]).try_lock(Key(("data", "blocks", "lda", "seed-0"), {"seed": 0}))
        print("held" if lock else "busy", flush=True)
        time.sleep(60)
        """,
        tmp_path,
    )
    assert holder.stdout.readline().strip() == "held"
    assert store.try_lock(key()) is None
    other = store.try_lock(key("seed-1"))
    assert other is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock = store.try_lock(key())
    assert lock is not None
    lock.release()
    lock.release()
    with store.lock(key()):
        assert store.try_lock(key()) is None
    other.release()
    assert not list((tmp_path / ".locks").iterdir())


def test_killed_at_any_moment_of_writing_there_is_the_old_result_or_the_new_one(tmp_path):
    store = ResultStore(tmp_path)
    body = """
        import sys
        from neuropil.experiments.store import Key, ResultStore
        store, k = ResultStore(sys.argv[1]), Key(("data", "blocks", "lda", "seed-0"), {"seed": 0})
        store.put(k, {"values": [0] * 50000})
        print("ready", flush=True)
        count = 0
        while True:
            count += 1
            store.put(k, {"values": [count] * 50000})
        """
    for delay in (0.0, 0.011, 0.023, 0.037):
        writer = script(body, tmp_path)
        writer.stdout.readline()
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            values = store.get(key())["values"]
        assert len(values) == 50000
        assert len(set(values)) == 1
    lock = store.try_lock(key())
    lock.release()
    assert not list(tmp_path.rglob("*.partial"))


def test_encoding_is_undone_by_decoding():
    value = {"nested": [{"x": [1.5, math.inf]}, "text", None, True]}
    assert decode(encode(value)) == value
