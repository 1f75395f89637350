from rstar2.evaluation.samples import last_evaluation, telling


def record(phase, reward, *statuses):
    return {"phase": phase, "reward": reward, "statuses": list(statuses)}


def test_only_the_last_evaluation_counts():
    old, new = record("evaluation/sft", 1.0), record("evaluation/rl1", 0.0)
    assert last_evaluation([old, record("rl1", 1.0), new]) == [new]
    assert last_evaluation([record("rl1", 1.0)]) == []


def test_one_of_each_kind_is_picked():
    plain = record("e", 1.0)
    one_call = record("e", 1.0, "ok")
    recovered = record("e", 1.0, "exception", "ok")
    two_calls = record("e", 1.0, "ok", "ok")
    wrong = record("e", 0.0, "ok")
    assert telling([plain, two_calls, wrong, recovered, one_call]) == {
        "right, in one call": one_call,
        "right, after an error": recovered,
        "wrong": wrong,
    }


def test_kinds_that_did_not_happen_are_left_out():
    assert list(telling([record("e", 0.0)])) == ["wrong"]
    assert telling([]) == {}
