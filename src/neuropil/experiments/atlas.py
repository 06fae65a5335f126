"""Measured claims as text: lines for the terminal, a page for the atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuropil.catalog import System

COMMANDS = {"quick": "neuropil reproduce {slug} --record", "full": "neuropil reproduce {slug} --full --record"}


def figure(measure: Mapping[str, Any]) -> str:
    """A mean with its 95 % interval, or one number where nothing varies.

    Examples
    --------
    >>> figure({"mean": 0.71234, "low": 0.65, "high": 0.77})
    '0.712 [0.650, 0.770]'
    """
    mean, low, high = (float(measure[key]) for key in ("mean", "low", "high"))
    if low == high:
        return f"{mean:g}" if mean == round(mean) or 0 < abs(mean) < 1e-3 else f"{mean:.3f}"
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _role(entry: Mapping[str, Any], name: str) -> str:
    if name == entry["system"]:
        return "system"
    return (
        "tuned linear baseline"
        if name in entry["linear_baselines"]
        else "baseline"
        if name in entry["baselines"]
        else "reported"
    )


def _linear_sentence(entry: Mapping[str, Any]) -> str:
    if not entry["linear_baselines"]:
        return ""
    unbeaten = entry["linear_not_beaten"]
    if not unbeaten:
        return "The system beats every tuned linear baseline here."
    means = entry["measures"]
    named = ", ".join(f"{name} ({means[name]['mean']:.3f})" for name in unbeaten)
    return f"The system ({means[entry['system']]['mean']:.3f}) does not beat the tuned linear {named} here."


def claim_lines(entry: Mapping[str, Any]) -> list[str]:
    """One claim for the terminal."""
    lines = [
        entry["sentence"],
        f"measured on {entry['data']}; {entry['n_seeds']} seeds, {entry['seconds_a_seed']:.0f} s a seed",
    ]
    width = max(map(len, entry["measures"]))
    lines += [f"{name:<{width}}  {figure(m):<24} {_role(entry, name)}" for name, m in entry["measures"].items()]
    lines += [
        f"{c['verdict']}: {c['criterion']} (slack {figure({'mean': c['slack'], 'low': c['low'], 'high': c['high']})})"
        for c in entry["criteria"]
    ]
    return [line for line in [*lines, _linear_sentence(entry), entry["note"]] if line]


def _section(entry: Mapping[str, Any]) -> list[str]:
    lines = [
        f"### {entry['name'].replace('_', ' ').capitalize()}: {entry['verdict']}",
        "",
        f"> {entry['sentence']}",
        "",
    ]
    lines += [f"Source: {entry['source']}  ", f"Data: {entry['data']}; {entry['n_seeds']} seeds.", ""]
    unit = f" ({entry['unit']})" if entry["unit"] else ""
    lines += [f"| measure{unit} | mean [95 % interval] | role |", "|---|---|---|"]
    lines += [f"| {name} | {figure(m)} | {_role(entry, name)} |" for name, m in entry["measures"].items()]
    if entry["criteria"]:
        lines += ["", "| criterion | slack [95 % interval] | verdict |", "|---|---|---|"]
        lines += [
            f"| {c['criterion']} | {figure({'mean': c['slack'], 'low': c['low'], 'high': c['high']})} | {c['verdict']} |"
            for c in entry["criteria"]
        ]
    lines += [""] + [line + "\n" for line in (_linear_sentence(entry), entry["note"]) if line]
    return lines


def page(system: System, documents: Sequence[Mapping[str, Any]]) -> str:
    """The atlas page of a system from its recorded results, in Markdown."""
    lines = [
        f"# {system.title}",
        "",
        system.question,
        "",
        system.cite() + (f" <{system.url}>" if system.url else ""),
        "",
    ]
    lines += [f"`{system.import_path}`", "", "This page is generated from measured results; do not edit it.", ""]
    for document in documents:
        versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
        command = COMMANDS[document["scale"]].format(slug=system.slug)
        lines += [f"## {document['scale'].capitalize()} scale", ""]
        lines += [
            f"`{command}`, measured {document['measured']} on {document['machine']['cores']} cores ({versions}).",
            "",
        ]
        lines += ["| claim | verdict |", "|---|---|"]
        lines += [f"| {entry['sentence']} | {entry['verdict']} |" for entry in document["claims"]]
        lines.append("")
        for entry in document["claims"]:
            lines += _section(entry)
    return "\n".join(lines).rstrip() + "\n"
