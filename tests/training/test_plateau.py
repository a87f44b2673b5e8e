"""A learning rate that waits its time."""

import pytest

from secnn.training.recipe import Recipe
from secnn.training.schedule import Plateau


def rates(accuracies, patience, restart_after=(), **recipe):
    """The learning rate of each epoch, given the validation accuracies after them."""
    settings = Recipe(learning_rate=1.0, patience=patience, epochs=len(accuracies), **recipe)
    schedule, found = Plateau(settings, cooldown=0), []
    for epoch, accuracy in enumerate(accuracies):
        found.append(schedule.rate(epoch + 1)(0.0))
        assert schedule.rate(epoch + 1)(0.9) == found[-1]
        schedule.observe(accuracy, loss=1.0)
        schedule.go_on(epoch + 1, grown=epoch in restart_after, grows=True)
    return found


@pytest.mark.parametrize("patience", [1, 2, 15])
def test_the_rate_halves_after_exactly_so_many_epochs_without_better(patience):
    # The first epoch is the best; after `patience` others the next one has half the rate.
    found = rates([50.0] * (3 * patience + 2), patience)
    halvings = [max(0, (epoch - 1) // patience) for epoch in range(len(found))]
    assert found == [0.5**n for n in halvings]


def test_any_better_accuracy_starts_the_count_anew():
    patience = 3
    accuracies = [50.0, 50.0, 49.0, 50.001, 50.0, 50.0, 50.0, 50.0]
    assert rates(accuracies, patience) == [1, 1, 1, 1, 1, 1, 1, 0.5]


def test_a_rising_accuracy_keeps_the_rate():
    assert set(rates([float(n) / 100 for n in range(60)], 1)) == {1.0}


def test_an_equal_accuracy_is_not_better():
    assert rates([0.0, 0.0, 0.0], 1) == [1, 1, 0.5]


def test_an_expansion_starts_the_count_anew_and_keeps_rate_and_best():
    patience = 4
    #            best  1     2     3 | grown, 1  2     3     4    | halved
    accuracies = [50.0, 40.0, 40.0, 40.0, 45.0, 45.0, 45.0, 45.0, 45.0]
    assert rates(accuracies, patience, restart_after=[3]) == [1] * 8 + [0.5]
    # 45 is better than what followed growth, but not than the best before it.
    halved = rates([50.0] + [40.0] * 12, patience, restart_after=[6])
    assert halved == [1] * 5 + [0.5] * 6 + [0.25] * 2


def test_the_rate_may_fall_at_the_end():
    accuracies = [float(n) for n in range(10)]
    assert rates(accuracies, 1, decay=0.4) == pytest.approx([1] * 6 + [0.8, 0.6, 0.4, 0.2])


def test_the_criterion_is_not_asked_in_a_cooldown_nor_while_the_rate_falls():
    schedule = Plateau(Recipe(epochs=12, decay=0.25), cooldown=2)
    asked = []
    for epoch in range(1, 13):
        if schedule.asks(epoch):
            asked.append(epoch)
            schedule.go_on(epoch, grown=epoch >= 2, grows=True)
    assert asked == [1, 2, 5, 8]


def test_a_restored_schedule_goes_on_as_the_first():
    accuracies = [50.0, 40.0, 60.0, 30.0, 30.0, 30.0, 30.0]
    first, other = (Plateau(Recipe(patience=2), cooldown=1) for _ in range(2))
    for epoch, accuracy in enumerate(accuracies, 1):
        first.observe(accuracy, loss=1.0)
        first.go_on(epoch, grown=epoch == 3, grows=True)
        other = Plateau(Recipe(patience=2), cooldown=1)
        other.restore(first.state())
        assert other.rate(epoch + 1)(0.0) == first.rate(epoch + 1)(0.0)
        assert [other.asks(e) for e in range(9)] == [first.asks(e) for e in range(9)]
        assert other.state() == first.state()
