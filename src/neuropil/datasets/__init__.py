"""Named data sets: bundled, simulated, fetched through MOABB, or registered by the user.

>>> from neuropil import datasets
>>> datasets.names()[:2]
['deap', 'dreamer']
>>> datasets.load("hand-direction-meg").stream().sizes["channel"]
10
"""

from __future__ import annotations

from neuropil.datasets.picture import plot
from neuropil.datasets.registry import DatasetInfo, describe, information, load, names, register

__all__ = ["DatasetInfo", "describe", "information", "load", "names", "plot", "register"]
