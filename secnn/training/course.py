"""How a trial will grow, before it trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from secnn.growth.candidates import NOT_SCORED, unscored
from secnn.growth.consideration import affordable, can_grow, channel_step, consider
from secnn.growth.controls import InTurn
from secnn.growth.criterion import criterion_of
from secnn.growth.decision import Growth
from secnn.growth.expansion import Expansion
from secnn.network.network import SECNN, outline
from secnn.network.spec import NetworkSpec
from secnn.training.config import TrialConfig
from secnn.training.schedule import SCHEDULES


def course(
    config: TrialConfig, image_shape: tuple[int, int, int], classes: int
) -> list[NetworkSpec]:
    """The network's shape in each epoch, if it grows whenever the criterion is asked: as the
    criterion decides where it reads no score, else in its turn, or in that of `Schedule`.

    A criterion that reads scores and has no bound, as in the paper, may decline as well as not: its
    network is taken to stay as it is.
    """
    network, made = outline(config.start(image_shape, classes)), list[Expansion]()
    schedule = SCHEDULES.find(config.schedule)(config, config.cooldown)
    foreseen = _scoreless(config) or config.max_parameters or config.max_flops
    schedule.go_on(0, False, can_grow(network, config, made))
    shapes = []
    for epoch in range(1, config.epochs + 1):
        shapes.append(network.spec)
        schedule.observe(0.0, 0.0)
        if not schedule.asks(epoch):
            continue
        expansion = _next(network, config, made, epoch) if foreseen else None
        if expansion is not None:
            network = outline(expansion.grown(network.spec))
            made.append(expansion)
        schedule.go_on(epoch, expansion is not None, can_grow(network, config, made))
    return shapes


def _scoreless(config: TrialConfig) -> bool:
    return not criterion_of(config).scored


def _next(
    network: SECNN, config: TrialConfig, made: Sequence[Expansion], epoch: int
) -> Expansion | None:
    if not _scoreless(config):
        fitting = affordable(network, config, channel_step(config, made))
        return _in_turn(network, config, made, fitting) if fitting else None
    no_images = torch.empty(0), torch.empty(0)
    try:
        considered = consider(network, config, no_images, made, [0.0] * epoch, epoch)
    except Exception:  # A criterion of one's own may fail; its trial tells how.
        return None
    return considered.decision.expansion


def _in_turn(
    network: SECNN, config: TrialConfig, made: Sequence[Expansion], fitting: Sequence[Expansion]
) -> Expansion | None:
    turn = getattr(criterion_of(config), "turn", InTurn())
    given = unscored(network, fitting), torch.Generator(), network.n_parameters, network.spec
    return turn.decide(Growth([], made, NOT_SCORED, *given)).expansion
