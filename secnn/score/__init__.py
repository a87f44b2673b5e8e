"""What is a network's natural expansion score, η = gᵀF⁻¹g (arXiv:2401.05686, section 3.1)?

`gradients` records what passes through any module and back (`watch` does it, `rules` says for which
modules, and refuses others), `parts` turns that into gradients of each sample, `fisher` holds
approximations of F, the diagonal that the paper takes among them, and η in each, `natural` is the
score. Nothing here knows of expansions.
"""

from secnn.score.gradients import per_sample_gradients
from secnn.score.natural import natural_expansion_score

__all__ = ["natural_expansion_score", "per_sample_gradients"]
