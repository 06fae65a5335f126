"""Honest evaluation: splits that cannot leak, metrics, pseudo-online evaluation, comparisons."""
