from rstar2.evaluation.conversations import LONGEST_PART_CHARS, Part, conversation, selection


def record(segments, calls, statuses, **more):
    return {
        "phase": "rl1",
        "step": 3,
        "kept": False,
        "task": "gcd",
        "question": " Q? ",
        "expected": "6",
        "answer": None,
        "reward": 0.0,
        "ending": "token_limit",
        "tokens": 9,
        "statuses": statuses,
        "calls": calls,
        "segments": [{"source": "prompt", "text": "p"}, *segments],
        **more,
    }


def model(text):
    return {"source": "model", "text": text}


def environment(text):
    return {"source": "environment", "text": text}


def test_a_turn_is_split_into_thought_code_and_result():
    found = conversation(
        record(
            [
                model(' so </reason><tool_call>{"code": ...}</tool_call><|im_end|>'),
                environment("<|im_end|>\n<tool_response>ValueError</tool_response><|im_end|>"),
                model("<answer>\\boxed{6}</answer>"),
            ],
            ["int('x')", None],
            ["exception"],
        )
    )
    assert found.parts == (
        Part(kind="text", text="so </reason>"),
        Part(kind="code", text="int('x')", status="exception"),
        Part(kind="result", text="ValueError", status="exception"),
        Part(kind="text", text="<answer>\\boxed{6}</answer>"),
    )
    assert (found.num_calls, found.num_errors, found.ending) == (1, 1, "token limit")
    assert (found.is_right, found.is_kept, found.question) == (False, False, "Q?")


def test_a_malformed_call_shows_what_the_model_wrote():
    found = conversation(record([model("<tool_call>{oops</tool_call>")], ["not valid JSON"], ["malformed"]))
    assert found.parts == (Part(kind="bad call", text="{oops", status="malformed"),)


def test_an_unclosed_call_is_shown_to_its_end():
    found = conversation(record([model("<tool_call>{oops")], ["not closed"], ["malformed"]))
    assert found.parts == (Part(kind="bad call", text="{oops", status="malformed"),)


def test_a_call_that_nobody_answered_says_so():
    found = conversation(record([model("<tool_call>{}</tool_call>")], ["print(1)"], []))
    assert found.parts == (Part(kind="code", text="print(1)", status="not run"),)


def test_a_response_without_our_tags_is_shown_whole():
    found = conversation(
        record([model("<tool_call>"), environment("[RESULT]6[/RESULT]")], ["print(6)"], ["ok"])
    )
    assert found.parts[-1] == Part(kind="result", text="[RESULT]6[/RESULT]", status="ok")


def test_evaluations_know_nothing_of_roc():
    assert conversation(record([], [], [], phase="evaluation/rl1", kept=True)).is_kept is None


def test_long_texts_keep_head_and_tail():
    (part,) = conversation(record([model("a" * 9000 + "b" * 9000)], [None], [])).parts
    assert part.text.startswith("aaa")
    assert part.text.endswith("bbb")
    assert len(part.text) < LONGEST_PART_CHARS + 100


def occasion(phase, step, chars):
    return record([model("x" * chars)], [None], [], phase=phase, step=step)


def test_without_pressure_evaluations_and_three_steps_of_each_stage_are_shown():
    run = [occasion("rl1", n, 10) for n in range(1, 8)] + [occasion("evaluation/rl1", 7, 10)]
    chosen = [(r["phase"], r["step"]) for r in selection(run, max_chars=10**6)]
    assert chosen == [("rl1", 1), ("rl1", 4), ("rl1", 7), ("evaluation/rl1", 7)]


def test_under_pressure_evaluations_come_first_and_then_the_last_step():
    run = [occasion("rl1", n, 99) for n in range(1, 8)] + [occasion("evaluation/rl1", 7, 99)]
    chosen = [(r["phase"], r["step"]) for r in selection(run, max_chars=2 * 100)]
    assert chosen == [("rl1", 7), ("evaluation/rl1", 7)]


def test_a_step_is_shown_whole_or_not_at_all():
    run = [occasion("rl1", 1, 99)] * 3
    assert selection(run, max_chars=299) == []
    assert selection(run, max_chars=300) == run
