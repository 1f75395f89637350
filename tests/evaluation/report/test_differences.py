from rstar2.evaluation.report.differences import differences


def test_only_settings_that_differ_are_listed_by_their_dotted_path():
    stage = '[[stages]]\nname = "{}"\nlr = {}\n'
    one = "[run]\nseed = 0\nthreads = 1\n" + stage.format("rl1", 0.1) + stage.format("rl2", 0.2)
    other = one.replace("seed = 0", "seed = 7").replace("lr = 0.2", "lr = 0.3")
    assert differences([one, other]) == [
        {"key": "run.seed", "values": ["0", "7"]},
        {"key": "stages.rl2.lr", "values": ["0.2", "0.3"]},
    ]


def test_a_setting_that_one_run_does_not_have_is_a_gap():
    assert differences(["[a]\nx = [1, 2]", ""]) == [{"key": "a.x", "values": ["[1, 2]", "-"]}]


def test_a_run_alone_differs_from_nobody():
    assert differences(["[a]\nx = 1"]) == []
    assert differences([]) == []
