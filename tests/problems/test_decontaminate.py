from hypothesis import given
from hypothesis import strategies as st

from rstar2.problems.decontaminate import benchmark_grams, contaminated, grams, without_overlap
from rstar2.problems.identity import normalised
from rstar2.types import Problem

BENCHMARK = ["Find the least prime p such that p^2 divides n^4 + 1 for some n.", "Compute $1+1$."]


def survives(question: str) -> bool:
    problem = Problem(id="a", question=question, answer="1")
    return without_overlap([problem], benchmark_grams(BENCHMARK)) == [problem]


def test_eight_words_in_a_row_are_too_many_and_seven_are_not():
    assert not survives("Here we find the least prime p such that p is odd.")
    assert survives("Here we find the least prime p such that q is odd.")


def test_case_and_punctuation_do_not_hide_an_overlap():
    assert not survives("FIND: the (least) prime, $p$; such -- that p?")


def test_unicode_spelling_does_not_hide_an_overlap():
    assert not survives(
        "\u210dere: \uff26\uff29\uff2e\uff24 the least prime \U0001d45d such that p\u00b2 divides"
    )
    assert list(grams("x\u00b2 + x\u2081", num_words=4)) == [("x", "2", "x", "1")]


@given(st.text("aAeE\u0301\u00e9\ufb00f \u00b22^_\u20811", min_size=1, max_size=20))
def test_one_question_in_two_spellings_overlaps_itself(question):
    spelled = Problem(id="a", question=normalised(question), answer="1")
    assert without_overlap([spelled], benchmark_grams([question])) == []


def test_a_short_benchmark_question_meets_only_its_equal():
    assert not survives("compute 1 + 1")
    assert survives("compute 1 + 1 + 1")
    assert survives("Please add: then compute 1 + 1 and after that go home")


def test_grams_by_hand():
    assert list(grams("a b, C", num_words=2)) == [("a", "b"), ("b", "c")]
    assert list(grams("x_1^2", num_words=3)) == [("x", "1", "2")]


@given(
    words=st.lists(st.sampled_from("abcd"), min_size=8, max_size=20),
    before=st.lists(st.sampled_from("xyz"), max_size=5),
    start=st.integers(0, 12),
)
def test_any_quoted_run_of_eight_words_is_found(words, before, start):
    start = min(start, len(words) - 8)
    quote = " ".join(before + words[start : start + 8] + before)
    problem = Problem(id="a", question=quote, answer="1")
    assert without_overlap([problem], benchmark_grams([" ".join(words)])) == []


def test_the_problems_of_a_benchmark_that_were_trained_on_are_named():
    seen, fresh = (Problem(id=str(n), question=q, answer="1") for n, q in enumerate(BENCHMARK))
    trained_on = ("Now find the least prime p such that q divides r.", "Compute $1+1$ and more.")
    assert contaminated([seen, fresh], trained_on) == []
    assert contaminated([seen, fresh], [*trained_on, "So p such that p^2 divides n^4 + 1 for us."]) == [seen]
    assert contaminated([seen, fresh], iter(["compute 1 + 1"])) == [fresh]
    assert contaminated([], trained_on) == []


@given(st.lists(st.text("ab ", max_size=30), max_size=5), st.lists(st.text("ab ", max_size=30), max_size=5))
def test_who_is_contaminated_is_who_would_be_dropped(benchmark, trained_on):
    problems = [Problem(id=str(n), question=q, answer="1") for n, q in enumerate(benchmark)]
    clean = without_overlap(problems, benchmark_grams(trained_on))
    assert contaminated(problems, trained_on) == [p for p in problems if p not in clean]
