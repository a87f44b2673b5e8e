"""What is a network (arXiv:2401.05686, sections 3.2 and 4), and how do its tensors grow?

`spec` is its shape, `network` the blocks in a row and the head, `cell` the protocol of what a block
is made of, `cells` lists the cells that there are; `conv` is the paper's. `surgery` grows single
modules in place, `calibration` measures what new batch norms meet, `prediction` uses a network.
"""

from secnn.network.network import SECNN, count_flops
from secnn.network.spec import NetworkSpec

__all__ = ["SECNN", "NetworkSpec", "count_flops"]
