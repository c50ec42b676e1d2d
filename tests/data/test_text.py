import numpy as np
import pytest

from pipeline.data.text import build_vocabulary, encode, pad_tokens, tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GREAT, really (5/5)!<br />", ["it's", "great", "really", "5", "5", "br"]),
        ("tabs\tand\nlines  twice", ["tabs", "and", "lines", "twice"]),
        ("", []),
        ("... !!", []),
        ("caf\u00e9\u00a0noir", ["caf\u00e9\u00a0noir"]),
    ],
)
def test_words_are_those_of_keras(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def test_vocabulary_ranks_by_count_then_word() -> None:
    reviews = [["b", "a", "c"], ["c", "d"]]
    assert build_vocabulary(reviews) == {"c": 1, "a": 2, "b": 3, "d": 4}
    assert list(build_vocabulary(reviews[::-1])) == ["c", "a", "b", "d"]


def test_ids_start_with_1_and_stay_below_the_size() -> None:
    vocabulary = {"the": 1, "film": 2, "was": 3}
    assert encode(["the", "film", "was", "odd"], vocabulary, 6) == [1, 4, 5, 2, 2]
    assert encode(["the", "was"], vocabulary, 7) == [1, 4, 6]
    assert encode(["the"], vocabulary, 5) == [1, 4]
    assert encode([], vocabulary, 5) == [1]


@pytest.mark.parametrize(("padding", "short"), [("pre", [0, 0, 1]), ("post", [1, 0, 0])])
def test_padding_keeps_the_last_tokens(padding: str, short: list[int]) -> None:
    rows = pad_tokens([[1, 4, 5, 6], [1], []], 3, padding)
    assert rows.dtype == np.int32
    assert rows.tolist() == [[4, 5, 6], short, [0, 0, 0]]


def test_padding_has_two_sides() -> None:
    with pytest.raises(ValueError, match="'pre' or 'post', not 'left'"):
        pad_tokens([[1]], 3, "left")
