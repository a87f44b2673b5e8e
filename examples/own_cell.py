r"""A cell of your own: plain residual layers, with the head of the separable cell.

secnn run --import examples.own_cell --set cell=residual \
    --preset quick --dataset digits --out runs/residual
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from secnn import CELLS, Block, Cell, NetworkSpec, Surgery


class Residual(Block):
    """Convolution → batch norm; then x + BatchNorm(Convolution(ReLU(x))) a layer; pooling."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__()
        inputs = spec.channels[index - 1] if index else spec.input_channels
        sizes = [inputs] + [spec.channels[index]] * spec.layers[index]
        self.layers = nn.ModuleList(layer(a, b) for a, b in pairwise(sizes))

    @property
    def width(self) -> int:
        return self.layers[0][0].out_channels

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        x = self.layers[0](x)
        for added in self.layers[1:]:
            x = x + added(F.relu(x))
        return F.max_pool2d(F.relu(x), 2)

    def deepen(self, surgery: Surgery) -> None:
        new = layer(self.width, self.width).to(self.layers[0][0].weight)
        nn.init.zeros_(new[1].weight)  # x + 0: the function is kept exactly.
        surgery.hand_over(new, beside=self.layers[-1])
        self.layers.append(new)

    def widen(self, surgery: Surgery, added: int, filters: Sequence[Tensor] | None = None) -> None:
        for i, (conv, norm) in enumerate(self.layers):
            surgery.widen_outputs(conv, added, as_old=True)
            surgery.widen_norm(norm, added)
            if i:
                surgery.widen_inputs(conv, added)

    def widen_inputs(self, surgery: Surgery, added: int) -> None:
        surgery.widen_inputs(self.layers[0][0], added)


def layer(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


CELLS["residual"] = Cell(Residual, CELLS["separable"].head)
