import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.rewards.stated_number import stated_part, states_a_number


@pytest.mark.parametrize(
    "before",
    [
        "x",
        "x = y",
        "S_{10}",
        "S_{ABC}",
        "a_{n+1}",
        "a_{i,j}",
        "x_{max}",
        "f(-1)",
        "f(2, 3)",
        "P(X=1)",
        "|S|",
        "m+n",
        "a + b + c",
        r"AB \cdot AC",
        "x^2+y^2",
        r"\theta",
        r"\angle BAC = \alpha",
        r"\phi(n)",
        r"\text{Area of } S_{ABC}",
        r"x = \frac{50}{2}",
        "40 + 2",
        r"\gcd(84, 126)",
    ],
)
def test_a_number_may_be_said_to_be_equal_to_something(before):
    assert stated_part(f"{before} = 42") == " 42"
    assert stated_part(f"${before}=42$") == "42"


@pytest.mark.parametrize(
    "answer",
    [
        "42",
        "",
        "x = 1 or x = 42",
        r"x = 1 \text{ or } x = 42",
        "41, x = 42",
        "x = 41; y = 42",
        r"x = 41 \quad y = 42",
        r"4 + 38\text{ = 3}",
        "x >= 42",
        "x <= 42",
        "x != 42",
    ],
)
def test_of_several_answers_all_are_stated(answer):
    assert stated_part(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "42",
        "42.0",
        "-.5",
        r"N \equiv 42",
        r"42 \text{ cm}",
        r"42\,\mathrm{cm}^2",
        r"42\ \mathrm{cm^2}",
        r"42\text{ cm^{-1}}",
        r"42 \text{ m}/\text{s}^{-1}",
        "42 units",
        r"\$42",
        r"42\%",
        r"42^{\circ}",
        "101010_2",
        r"\text{42}",
        r"\mathbf{42}",
        r"\left(-42\right)",
        r"\(42.0\)",
        r"\boxed{42}",
        "\u221242.0",
    ],
)
def test_one_number_is_stated_in_any_dress(answer):
    assert states_a_number(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "8/2",
        r"\frac{8}{2}",
        r"-\dfrac{-8}{2}",
        r"\tfrac82",
        r"\frac 8 2",
        "2^{10}",
        "(-2)^{10}",
        "10^6",
        r"4.2 \cdot 10^{4}",
        r"4.2 \times 10^4",
        "4.2 * 10^{-4}",
    ],
)
def test_a_fraction_a_power_and_scientific_form_are_stated(answer):
    assert states_a_number(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "4 + 8 + 9 + 4",
        "80 - 69",
        r"6 \cdot 7",
        "6*7",
        "6\u00d77",
        "6(7)",
        r"\gcd(282, 318)",
        r"\binom{20}{10}",
        r"\binom52",
        r"\sum_{k=1}^{100} k^2",
        "5!",
        r"\sqrt{1764}",
        r"\sqrt4",
        r"\log_{10} 100",
        r"\sin 0",
        r"|{-42}|",
        r"\lfloor 42.5 \rfloor",
        "-(-42)",
        "--42",
        r"\frac{42x}{x}",
        "42x/x",
        "2^{3^2}",
        "84/2/1",
        r"0.42 \times 100",
        r"1\frac{4}{2}",
        r"42 \mod 100",
        "x = 40 + 2",
        "42 = 40 + 2",
        "40 + 2 = 42",
    ],
)
def test_what_is_left_to_calculate_is_not_stated(answer):
    assert not states_a_number(answer)


@pytest.mark.parametrize(
    "answer", ["25 16", "1 2 3 4", "41, 42", r"41\quad 42", r"41 \text{ or 42}", "41 or 42"]
)
def test_several_numbers_state_none(answer):
    assert not states_a_number(answer)


@pytest.mark.parametrize(
    "answer", ["", "-", "x - x", r"2\pi/\pi", r"e^{i\pi}", "40 + 2 = x", r"\text{I do not know}"]
)
def test_without_a_number_none_is_stated(answer):
    assert not states_a_number(answer)


_NUMBERS = st.integers(-999, 9999).map(str) | st.decimals(-99, 99, places=2).map(str)
_DRESSES = st.sampled_from(["{}", r"{} \text{{ cm}}^2", r"\mathbf{{{}}}", r"\left({}\right)", "{} units"])


@given(_NUMBERS, _DRESSES)
def test_a_dressed_number_states_itself(number, dress):
    assert states_a_number(dress.format(number))


@given(
    st.lists(st.integers(0, 9999).map(str), min_size=2, max_size=5),
    st.sampled_from([" + ", " - ", r" \cdot ", " ", ", ", r"\;", ") (", r"\text{ and }", r" \bmod "]),
    _DRESSES,
)
def test_a_chain_of_numbers_states_none_in_any_dress(numbers, link, dress):
    assert not states_a_number(dress.format(link.join(numbers)))


@given(
    _NUMBERS, st.sampled_from([r"\sqrt", r"\ln", r"\cos", r"\Gamma", r"\phi", r"\det", r"\operatorname{lcm}"])
)
def test_a_function_of_a_number_states_none(number, function):
    assert not states_a_number(rf"{function}{{{number}}}")
