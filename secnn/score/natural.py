"""The natural expansion score of a network."""

from __future__ import annotations

from torch import Tensor, nn

from secnn.score.fisher import FISHERS, Fisher


def natural_expansion_score(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    fisher: str = "diagonal",
    damping: float | None = None,
    *,
    unbiased: bool = False,
) -> float:
    """η = gᵀF⁻¹g (arXiv:2401.05686, section 3.1).

    g is the mean gradient of the cross-entropy over the N images, F the empirical Fisher
    information in the named approximation, both over the parameters that are not frozen, the
    network in evaluation mode. η has no unit: half of it is the loss that one natural-gradient step
    would remove, were the loss quadratic with Hessian F.

    Args:
        network: any module made of Conv2d, Linear, BatchNorm1d, BatchNorm2d, and modules that have
            no parameters, or have a rule in `secnn.score.gradients.RULES`.
        images: normalised images N×C×H×W.
        labels: class indices N.
        fisher: a key of `secnn.score.fisher.FISHERS`.
        damping: added to F's diagonal, in its unit (squared loss per squared parameter); None for
            the approximation's own.
        unbiased: leave out what each sample has with itself, which is sampling noise of about 1/N
            for each parameter: η_U of `secnn.score.fisher.Fisher`. nan for a single image.

    Raises:
        ValueError: unknown `fisher`, no images, or `damping` not above 0; or a parameter has no
            per-sample gradients, for the reasons that `secnn.score.gradients.record` gives.
    """
    approximation, damping = resolve(images, fisher, damping)
    return approximation(network, images, labels, damping, unbiased)


def resolve(images: Tensor, fisher: str, damping: float | None) -> tuple[Fisher, float]:
    """The approximation, and its damping if none is given."""
    approximation = FISHERS.find(fisher)
    damping = approximation.damping if damping is None else damping
    if len(images) == 0 or damping <= 0:
        raise ValueError(
            f"images, damping: expected at least one image and damping above 0, "
            f"got {len(images)} images and {damping}"
        )
    return approximation, damping
