"""When does a network grow, where, and by what (arXiv:2401.05686, section 3)?

`expansion` is what can be added, `proposal` what new filters look for at first, `candidates` what
each would be worth: η, and η·exp(−λ·Δp²) (section 3.1). `criterion` holds the rules that read these
scores, the paper's η > τ·η_c first; `controls` those that read none, `decision` what both are given
and answer. `consideration` asks one of them.
"""

from secnn.growth.candidates import score_candidates
from secnn.growth.consideration import affordable, consider
from secnn.growth.expansion import AddChannels, AddLayer, Expansion

__all__ = ["AddChannels", "AddLayer", "Expansion", "affordable", "consider", "score_candidates"]
