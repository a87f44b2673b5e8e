"""The ladder lists a trial's networks and finds the best within a budget."""

import itertools

import pytest
import torch

from secnn import SECNN, AddLayer, ladder, load_dataset, load_within
from secnn.network.network import count_flops
from secnn.store import checkpoint
from secnn.store.ladder import Folder
from secnn.study.ladder import main as show_ladder
from secnn.study.status import main as show_status


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three sizes in two trials, the accuracy not always higher for the larger."""
    data = load_dataset("digits")
    out = tmp_path_factory.mktemp("study")
    accuracies = iter([60.0, 75.0, 70.0, 62.0, 74.0, 80.0])
    for trial in ("a", "b"):
        network = SECNN(input_channels=1, channels=(4, 4, 4))
        rungs = Folder(out / "trials" / trial / "ladder")
        for epoch in range(1, 4):
            metrics = {
                "epoch": epoch,
                "parameters": network.n_parameters,
                "flops": count_flops(network),
                "val_accuracy": next(accuracies),
            }
            content = checkpoint.describe(network, data, [], metrics)
            rungs[f"size-{network.n_parameters}"] = content
            AddLayer(0).apply(network)
    return out


def test_the_table_has_every_network_smallest_first(folder):
    rows = ladder(folder)
    assert len(rows) == 6
    assert [r["parameters"] for r in rows] == sorted(r["parameters"] for r in rows)
    assert {r["trial"] for r in rows} == {"a", "b"}
    for row in rows:
        network = checkpoint.load(row["file"])
        assert (network.n_parameters, count_flops(network)) == (row["parameters"], row["flops"])
    assert len(ladder(folder / "trials" / "a")) == 3
    assert len(ladder(folder / "trials" / "a" / "ladder")) == 3


def test_a_ladder_whose_owner_has_changed_is_left_alone(folder):
    def refuse():
        raise PermissionError("taken over")

    theirs = Folder(folder / "trials" / "a" / "ladder")
    former, names = Folder(theirs.path, refuse), list(theirs)
    with pytest.raises(PermissionError):
        former["best"] = theirs[names[0]]
    with pytest.raises(PermissionError):
        del former[names[0]]
    assert list(theirs) == names


def test_the_best_network_within_every_budget_is_found(folder):
    rows = ladder(folder)
    sizes = {r["parameters"] for r in rows}
    flops = {r["flops"] for r in rows}
    budgets = itertools.product([None, *sizes], [None, *flops], [None, 61.0, 74.0, 80.0])
    for parameters, operations, accuracy in budgets:
        fits = [
            r
            for r in rows
            if (parameters is None or r["parameters"] <= parameters)
            and (operations is None or r["flops"] <= operations)
            and (accuracy is None or r["val_accuracy"] >= accuracy)
        ]
        budget = {
            "max_parameters": parameters,
            "max_flops": operations,
            "min_accuracy": accuracy,
        }
        if not fits:
            with pytest.raises(LookupError, match="smallest"):
                load_within(folder, **budget)
            continue
        found = load_within(folder, **budget)
        if accuracy is None:
            best = max(fits, key=lambda r: r["val_accuracy"])
            assert _same(found, best["file"])
        else:
            assert found.n_parameters == min(r["parameters"] for r in fits)


def _same(network: SECNN, file: str) -> bool:
    other = checkpoint.load(file).state_dict()
    return all(torch.equal(p, other[name]) for name, p in network.named_parameters())


def test_a_budget_that_nothing_meets_is_answered_with_those_that_could_be(folder, capsys):
    rows = ladder(folder)
    met = f"the smallest has {rows[0]['parameters']:,} parameters, the fewest FLOPs are "
    met += f"{min(row['flops'] for row in rows):,}, the highest accuracy is 80.00 %"
    with pytest.raises(LookupError, match=met):
        load_within(folder, max_parameters=10)
    for option in ("--max-parameters=5", "--max-flops=5", "--min-accuracy=99.9"):
        assert show_ladder([str(folder), option]) == 2
        assert f"{option.replace('=', ' ')}; {met}\n" in capsys.readouterr().err


def test_status_names_the_folder_that_holds_no_study(tmp_path, capsys):
    for folder, problem in (("nope", "is not a folder"), ("", "holds no study.json")):
        assert show_status([str(tmp_path / folder)]) == 2
        expected = f"error: {tmp_path / folder} {problem}: expected a study's results folder\n"
        assert capsys.readouterr().err == expected
    (tmp_path / "study.json").write_text("{")
    assert show_status([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'study.json'} ")


def test_no_ladder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no ladder below"):
        ladder(tmp_path)


def test_a_folder_is_a_mapping(tmp_path):
    rungs = Folder(tmp_path / "ladder")
    assert list(rungs) == []
    content = checkpoint.describe_network(SECNN()) | {"metrics": {"epoch": 3}}
    rungs["best"] = rungs["size-9024"] = content
    assert list(rungs) == ["best", "size-9024"]
    assert rungs["best"]["metrics"] == {"epoch": 3}
    assert rungs["best"].keys() == content.keys()
    del rungs["best"]
    assert list(rungs) == ["size-9024"]
    with pytest.raises(KeyError):
        rungs["best"]
