"""The names that studies and their logs use, in words."""

from __future__ import annotations

from secnn.analysis.logs import Study

RULES = {
    "natural": "the candidate with the highest score, if that is above τ times the network's own "
    "(the paper's rule)",
    "density": "the candidate that gains most for each parameter it adds, if its density is above "
    "τ",
    "balanced": "of the candidates whose density is above τ the next in turn: a layer for each "
    "block, then channels for each block",
    "balanced-pyramid": "of the candidates whose density is above τ the next towards blocks each "
    "twice as wide as the one before, a layer and channels by turns",
    "confident": "as density, with only as much of each gain as is beyond doubt",
    "gain": "the candidate with the highest gain, if that is above τ % of the network's score",
    "never": "nothing: the network stays as it is",
    "random": "any candidate, all equally likely",
    "schedule": "the next in turn: a layer for each block, then channels for each block",
    "pyramid": "a layer and channels by turns, towards blocks each twice as wide as the one before",
    "random-place": "as schedule, but in blocks drawn by chance",
    "layers-first": "a layer in the deepest block, as long as one fits; then channels",
    "channels-first": "channels in turn, from the deepest block on, as long as they fit",
    "retrain (epochs)": "no growing: the reference's last network from scratch, for as many epochs",
    "retrain (FLOPs)": "no growing: the reference's last network from scratch, for as many "
    "operations",
}
"""Criterion, or setting that has none → what it adds when it is asked."""

MEASURES = {
    "predicted_reduction": "what the loss should fall by",
    "ratio": "η/η_c",
    "gain": "gain in η",
    "gain_per_parameter": "gain in η for each parameter added",
    "added_parameters": "parameters added",
    "epoch": "epoch",
    "realised": "what it fell by",
    "realised - before": "that, beyond the size before",
}
"""Measures of `secnn.analysis.calibration`, as the page calls them."""


def rules(study: Study) -> list[tuple[str, str]]:
    """The criteria of the study, each with what it adds; of the user's own nothing is known."""
    names = dict.fromkeys(setting.criterion for setting in study.settings)
    return [(name, RULES.get(name, "a rule of the user's own")) for name in names]
