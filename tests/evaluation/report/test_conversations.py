from rstar2.evaluation.report.conversations import LONGEST_PART_CHARS, Part, ScoredTokens, conversation


def record(segments, calls, statuses, **more):
    return {
        "phase": "rl1",
        "step": 3,
        "kept": False,
        "problem": "gcd-1",
        "index": 2,
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
        Part(kind="text", turn=0, text="so </reason>"),
        Part(kind="code", turn=0, text="int('x')", status="exception"),
        Part(kind="result", turn=0, text="ValueError", status="exception"),
        Part(kind="text", turn=1, text="<answer>\\boxed{6}</answer>"),
    )
    assert (found.num_calls, found.num_errors, found.ending) == (1, 1, "token limit")
    assert (found.is_right, found.is_kept, found.question) == (False, False, "Q?")


def test_a_malformed_call_shows_what_the_model_wrote():
    found = conversation(record([model("<tool_call>{oops</tool_call>")], ["not valid JSON"], ["malformed"]))
    assert found.parts == (Part(kind="bad call", turn=0, text="{oops", status="malformed"),)


def test_an_unclosed_call_is_shown_to_its_end():
    found = conversation(record([model("<tool_call>{oops")], ["not closed"], ["malformed"]))
    assert found.parts == (Part(kind="bad call", turn=0, text="{oops", status="malformed"),)


def test_a_call_that_nobody_answered_says_so():
    found = conversation(record([model("<tool_call>{}</tool_call>")], ["print(1)"], []))
    assert found.parts == (Part(kind="code", turn=0, text="print(1)", status="not run"),)


def test_a_response_without_our_tags_is_shown_whole():
    found = conversation(
        record([model("<tool_call>"), environment("[RESULT]6[/RESULT]")], ["print(6)"], ["ok"])
    )
    assert found.parts[-1] == Part(kind="result", turn=0, text="[RESULT]6[/RESULT]", status="ok")


def test_evaluations_know_nothing_of_roc():
    assert conversation(record([], [], [], phase="evaluation/rl1", kept=True)).is_kept is None


def test_long_texts_keep_head_and_tail():
    (part,) = conversation(record([model("a" * 9000 + "b" * 9000)], [None], [])).parts
    assert part.text.startswith("aaa")
    assert part.text.endswith("bbb")
    assert len(part.text) < LONGEST_PART_CHARS + 100


def test_a_rollout_is_named_by_where_it_belongs():
    assert conversation(record([], [], [])).id == "rl1/3/gcd-1/2"
    assert conversation(record([], [], [], occasion=0)).id == "rl1/3/gcd-1/2"
    assert conversation(record([], [], [], occasion=1)).id == "rl1/3/gcd-1/2~1"


def test_what_roc_held_against_it_is_shown_where_it_was_recorded():
    penalties = {"error_penalty": 0.5, "format_penalty": 0.0}
    known = conversation(record([], [], [], **penalties))
    assert (known.error_penalty, known.format_penalty) == (0.5, 0.0)
    assert conversation(record([], [], [])).error_penalty is None
    assert conversation(record([], [], [], phase="evaluation/rl1", **penalties)).error_penalty is None


def test_entropies_come_with_the_turns_they_belong_to():
    score = {"pieces": ["so", "!"], "entropies_nats": [0.123, 1.456], "kinds": [None, "forking"]}
    found = conversation(record([model("so!")], [None], []), [score])
    assert found.tokens == (
        ScoredTokens(pieces=("so", "!"), entropies_nats=(0.12, 1.46), kinds=(None, "forking")),
    )
