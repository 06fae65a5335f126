"""Random recordings for property tests."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8)
REGULAR_DTYPES = st.sampled_from(["f8", "f4", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16", "?"])
POSITION = st.floats(-1, 1) | st.just(float("nan"))


@st.composite
def regular_streams(draw):
    """A regular stream of any dtype, with or without mask and positions, perhaps sliced."""
    n_times, n_channels = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    data = draw(hnp.arrays(draw(REGULAR_DTYPES), (n_times, n_channels)))
    channels = draw(st.lists(NAMES, min_size=n_channels, max_size=n_channels, unique=True))
    positions = draw(st.none() | hnp.arrays("f8", (n_channels, 3), elements=POSITION))
    mask = draw(st.none() | hnp.arrays("?", (n_times, n_channels)))
    stream = regular_stream(
        data,
        draw(st.sampled_from([1.0, 100.0, 256.0, 1000 / 3, 0.1])),
        channels=channels,
        kind=draw(st.sampled_from(["eeg", "misc"])),
        unit=draw(st.sampled_from(["V", "µV", ""])),
        positions=positions,
        t0=draw(st.sampled_from([0.0, -1.5, 3.01171875, 1e6])),
        bads=[name for name in channels if draw(st.booleans())],
        mask=mask,
    )
    if draw(st.booleans()):
        first = draw(st.integers(0, n_times - 1))
        stream = stream.isel(time=slice(first, draw(st.integers(first + 1, n_times))))
    if draw(st.booleans()):
        order = draw(st.permutations(range(n_channels)))
        stream = stream.isel(channel=list(order[: draw(st.integers(1, n_channels))]))
    return stream


@st.composite
def irregular_streams(draw):
    """An irregular stream, perhaps empty, perhaps with a second dimension."""
    n = draw(st.integers(0, 30))
    times = np.sort(draw(hnp.arrays("f8", n, elements=st.floats(-1e3, 1e6))))
    shape = (n,) if draw(st.booleans()) else (n, 2)
    return irregular_stream(times, draw(hnp.arrays(draw(st.sampled_from(["i8", "f4", "u2"])), shape)), unit="a")


@st.composite
def event_tables(draw):
    """Events with columns of every sort, perhaps none."""
    n = draw(st.integers(0, 6))
    finite = st.floats(-1e6, 1e6)
    columns = {
        "onset": draw(hnp.arrays("f8", n, elements=finite)),
        "duration": draw(hnp.arrays("f8", n, elements=st.floats(0, 1e3))),
        "label": pd.Series(draw(st.lists(NAMES, min_size=n, max_size=n)), dtype=object),
    }
    if draw(st.booleans()):
        columns["run"] = draw(hnp.arrays("i8", n))
        columns["score"] = draw(hnp.arrays("f8", n, elements=st.floats(allow_nan=True)))
        columns["hit"] = draw(hnp.arrays("?", n))
        notes = draw(
            st.lists(st.none() | NAMES | st.integers(-5, 5) | st.lists(NAMES, max_size=2), min_size=n, max_size=n)
        )
        columns["note é"] = pd.Series(notes, dtype=object)
    return pd.DataFrame(columns)


@st.composite
def recordings(draw):
    """A recording of up to three streams under names in any script."""
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    streams = {name: draw(regular_streams() | irregular_streams()) for name in names}
    info = draw(
        st.dictionaries(NAMES, st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | NAMES, max_size=3)
    )
    events = draw(st.none() | event_tables())
    return Recording(streams, events, subject=draw(NAMES), session=draw(st.just("") | NAMES), dataset="d/ä", info=info)
