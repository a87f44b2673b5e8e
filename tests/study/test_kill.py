"""A study killed again and again gives exactly the rows of one left alone."""

from studies import command

from benchmarks.interruption import differences, killed_study, logs

KILLS = 10
OPTIONS = [
    *("--preset", "quick", "--dataset", "digits", "--num-samples", "2", "--epochs", "6"),
    *("--tau", "1.1", "--lam", "1e-6", "--criterion", "schedule"),
]


def test_ten_kills_lose_and_double_nothing(tmp_path):
    undisturbed = command("study/run.py", *OPTIONS, "--out", tmp_path / "whole")
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    whole = logs(tmp_path / "whole")
    assert len([name for name in whole if name.startswith("logs/epochs")]) == 6

    # Counted from the first new row, as starting Ray and its workers takes longer than an epoch.
    happened = killed_study(OPTIONS, tmp_path / "killed", KILLS, between=(0, 1.5), progress=True)
    assert happened["processes killed"] > KILLS
    rows = happened["rows at each kill"]
    assert 0 < rows[0] < rows[KILLS // 2] <= sum(map(len, whole.values()))
    assert logs(tmp_path / "killed") == whole, differences(whole, logs(tmp_path / "killed"))


def test_differences_are_counted():
    whole = {"a": [{"epoch": 1}, {"epoch": 2}], "b": [{"epoch": 1}]}
    other = {"a": [{"epoch": 1}, {"epoch": 1}], "b": [{"epoch": 1}]}
    found = {"rows": 3, "lost or changed": 1, "doubled or changed": 1}
    assert differences(whole, other) == found
