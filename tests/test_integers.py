import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.integers import canonical_integer, with_joined_thousands


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("7", "7"),
        ("007", "7"),
        ("+7", "7"),
        ("-7", "-7"),
        ("\u22127", "-7"),
        ("- 7", "-7"),
        ("-0", "0"),
        ("000", "0"),
        (" 42\n", "42"),
        ("1,234", "1234"),
        ("12,345,678", "12345678"),
        (r"1{,}234", "1234"),
        (r"1\,234", "1234"),
        (r"12\,345\,678", "12345678"),
        (r"42\,", "42"),
        (r"1,\!234", "1234"),
        (r"10,\,080", "10080"),
        (r"1,\!234,\!567", "1234567"),
        ("1 234", "1234"),
        ("-1 000 000", "-1000000"),
        (r"12\ 345", "12345"),
        (r"12\;345", "12345"),
        ("12~345~678", "12345678"),
        ("12\u00a0345", "12345"),
        ("12\u2009345", "12345"),
        ("12\u202f345", "12345"),
        (r"~-\ 42\;", "-42"),
        ("$42$", "42"),
        ("$$-42$$", "-42"),
        (r"\(42\)", "42"),
        (r"\[ 42 \]", "42"),
    ],
)
def test_spellings_of_one_integer_meet(text, canonical):
    assert canonical_integer(text) == canonical


@pytest.mark.parametrize(
    "text",
    ["", " ", "-", "$", "$$", "4.0", "1,2", "1234,567", ",123", "3 or 4", "7 apples", "1e3", "1_000", "--7",
     "\u0663", "0x10", "1/1", "x=7", "7%", "1 23", "1 2 3", "1  234", "1234 567", "1,234 567", "12 345 6",
     r"12,\ 345", "12,~345", r"4\;2", r"4\:2", r"4\ 2", "4~2", r"4\,2", r"4\,\,2",
     r"1234\,567"],
)  # fmt: skip
def test_anything_else_is_no_integer(text):
    assert canonical_integer(text) is None


@given(st.integers())
def test_the_canonical_form_is_what_python_prints(number):
    assert canonical_integer(str(number)) == str(number)
    assert canonical_integer(f" {number:,} ") == str(number)
    assert canonical_integer(f"${number:+09d}$") == str(number)


@given(st.integers(min_value=0), st.sampled_from([",", "{,}", r"\,", r",\!", " ", "~", r"\ ", "\u202f"]))
def test_thousands_are_joined_within_an_expression(number, mark):
    spelt = f"{number:,}".replace(",", mark)
    assert with_joined_thousands(rf"x = {spelt}.5 \text{{ cm}}") == rf"x = {number}.5 \text{{ cm}}"


@pytest.mark.parametrize("text", ["25 16", "3.141 592", "1234 567", "41, 420", r"\frac{1}{2}", "1 2345"])
def test_other_numbers_side_by_side_stay_apart(text):
    assert with_joined_thousands(text) == text


def test_a_million_digits_are_compared_as_text():
    assert canonical_integer("0" + "9" * 1_000_000) == "9" * 1_000_000
