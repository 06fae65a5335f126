"""What a translation of EEG to fMRI measured: its table, its courses, its picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from neuropil.errors import UsageError
from neuropil.evaluate.volumes import scan_correlations
from neuropil.storage import atomic_write_text

SYSTEMS = ("neurobolt", "ridge")


@dataclass(frozen=True)
class Translation:
    """What a translation measured.

    Attributes
    ----------
    name : str
        The data.
    table : DataFrame
        `split`, `system`, `region`, `r`, `low`, `high`, `n_scans`, `null_95`, `p`; the last region is the mean over regions.
    courses : DataFrame
        Measured and predicted values of every tested volume: `split`, `scan`, `onset`, `region`, `measured` and one column a system.
    settings : dict
        How it was done.
    """

    name: str
    table: pd.DataFrame
    courses: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the courses."""
        return {"data": self.name, "settings": self.settings, "table": self.table.to_dict(orient="records")}

    def save_courses(self, path: str | Path) -> Path:
        """Write the measured and predicted courses to a CSV file."""
        atomic_write_text(Path(path), self.courses.to_csv(index=False))
        return Path(path)

    def plot(self, path: str | Path) -> Path:
        """Draw measured and predicted courses of the scan that is tested first, one panel a region and split."""
        from matplotlib.figure import Figure

        from neuropil.display import COLOURS

        check_picture(path)
        splits = list(dict.fromkeys(self.courses["split"]))
        regions = list(dict.fromkeys(self.courses["region"]))[:8]
        systems = [name for name in SYSTEMS if name in self.courses]
        figure = Figure(figsize=(5.6 * len(splits) + 0.6, 1.6 * len(regions) + 1.0), layout="constrained")
        axes = figure.subplots(len(regions), len(splits), sharex="col", squeeze=False)
        for column, split in enumerate(splits):
            mine = self.courses[self.courses["split"] == split]
            mine = mine[mine["scan"] == mine["scan"].iloc[0]]
            for row, region in enumerate(regions):
                axis, course = axes[row, column], mine[mine["region"] == region]
                axis.plot(course["onset"], course["measured"], color="0.55", linewidth=2.2, label="measured")
                for k, system in enumerate(systems):
                    r = scan_correlations(course["measured"], course[system])[0, 0]
                    axis.plot(
                        course["onset"], course[system], color=COLOURS[k], linewidth=1.3, label=f"{system}, r {r:.2f}"
                    )
                axis.set_title(region, fontsize=9, loc="left", pad=2)
                axis.tick_params(labelsize=7)
                axis.legend(fontsize=6.5, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97), frameon=False)
            axes[-1, column].set_xlabel(f"time (s), scan {course['scan'].iloc[0]}, {TITLES[split]}", fontsize=8)
        figure.suptitle(f"Regions predicted from EEG: {self.name}", fontsize=10)
        figure.savefig(path, dpi=110)
        return Path(path)


TITLES = {"scan": "its last part, trained on its beginning", "subject": "an unseen subject"}


def check_picture(path: str | Path) -> None:
    """Refuse, before any work, a name that is no picture's or lies in no folder."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg") or path.is_dir():
        raise UsageError(f"A picture's name ends in .png, .pdf or .svg, got {path}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent} to write {path.name} into; make it first.")
