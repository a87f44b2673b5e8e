"""Expansions that do not do what they promise are found, and stop a trial before it trains on."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from secnn import CELLS, SECNN, AddChannels, AddLayer, Cell, check_growth
from secnn.growth.checks import expect_grown
from secnn.growth.consideration import expand
from secnn.network.conv.cell import Block
from secnn.network.surgery import Surgery


def images(count=64):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def small(cell, **fields):
    torch.manual_seed(0)
    return SECNN(cell=cell, channels=(4, 6), layers=(2, 1), image_size=(8, 8), **fields)


@pytest.mark.parametrize("cell", ["conv", "separable"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_nothing_is_wrong_with_ours(cell, dropout):
    network = small(cell, dropout=dropout, head_dropout=dropout)
    state = copy.deepcopy(network.state_dict())
    assert check_growth(network, images()) == []
    assert network.training and str(network.state_dict()) == str(state)


class Forgets(Block):
    """Does not tell the optimizer of its new layers."""

    def deepen(self, surgery):
        super().deepen(Surgery(None, surgery.generator))


class Breaks(Block):
    """New layers double what they get."""

    def forward(self, x, kernel):
        return super().forward(x, kernel) * 2.0 ** (len(self.layers) - 1)


class Swaps(Block):
    """Gives its first convolution another weight when it deepens; tells the optimizer or not."""

    told = False

    def deepen(self, surgery):
        super().deepen(surgery)
        conv = next(m for m in self.modules() if isinstance(m, nn.Conv2d))
        old, conv.weight = conv.weight, nn.Parameter(conv.weight.detach().clone())
        if self.told:
            surgery.replace(old, conv.weight)


class Tells(Swaps):
    told = True


FAULTS = {
    Forgets: "the optimizer does not train blocks.0.",
    Breaks: "moves logits by ",
    Swaps: "the optimizer does not train blocks.0.",
}


@pytest.fixture
def own(request, monkeypatch):
    monkeypatch.setitem(CELLS, "own", Cell(request.param, CELLS["conv"].head))
    return request.param


@pytest.mark.parametrize("own", FAULTS, indirect=True)
def test_a_cell_that_breaks_the_protocol_is_found(own):
    faults = check_growth(small("own", dropout=0.0, head_dropout=0.0), images(), [AddLayer(0)])
    assert faults and all(fault.startswith("AddLayer(block=0): ") for fault in faults)
    assert any(FAULTS[own] in fault for fault in faults)


@pytest.mark.parametrize("own", [Tells], indirect=True)
def test_a_tensor_may_be_replaced(own):
    network = small("own")
    assert check_growth(network, images(), [AddLayer(0)]) == []
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(images()).sum().backward()
    optimizer.step()
    before = len(optimizer.param_groups[0]["params"])
    AddLayer(0).apply(network, optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [before + 3]
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in network.parameters()}
    assert {id(p) for p in optimizer.state} <= trained
    weight = network.blocks[0].layers[0].conv.weight
    old = weight.detach().clone()
    network(images()).sum().backward()
    optimizer.step()
    assert not torch.equal(weight, old)


@pytest.mark.parametrize("own", [Forgets, Swaps], indirect=True)
def test_a_trial_does_not_train_on(own):
    network = small("own")
    optimizer = torch.optim.Adam(network.parameters())
    batch = images(), torch.zeros(64, dtype=torch.long)
    with pytest.raises(ValueError, match=r"AddLayer\(block=0\): the optimizer does not train"):
        expand(network, optimizer, AddLayer(0), "noise", batch, 0)


def test_what_was_replaced_and_not_told_is_named():
    network = small("conv")
    optimizer = torch.optim.Adam([*network.parameters(), nn.Parameter(torch.zeros(3))])
    with pytest.raises(ValueError, match="still trains 1 tensors that the network has no more"):
        expect_grown(network, optimizer, AddLayer(0), network.n_parameters)


class Fewer(AddChannels):
    """Adds half of what it says."""

    def apply(self, network, *given):
        replace(self, channels=self.channels // 2).apply_half(network, *given)

    def apply_half(self, network, *given):
        super().apply(network, *given)


def test_another_number_of_parameters_than_told_is_found():
    (fault,) = check_growth(small("conv"), images(), [Fewer(0, 4)])
    assert fault.startswith("Fewer(block=0, channels=4): ValueError: ")
    assert "as its grown() says, got" in fault
