"""From a review's text to token ids: the rules of Keras's Tokenizer and of its encoded copy of the reviews.

Ids: 0 padding, 1 start, 2 out of vocabulary, 3 unused, 3 + rank for a word, ranks from 1.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

PADDING, START, UNKNOWN = 0, 1, 2
RANK_OFFSET = 3

# The default `filters` of keras.preprocessing.text.Tokenizer: the apostrophe stays, so "don't" is one word.
_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_TO_SPACE = str.maketrans(dict.fromkeys(_FILTERS, " "))


def tokenize(text: str) -> list[str]:
    """The words of `text`: lower case, punctuation as spaces, split at spaces (and at no other white space, as Keras does)."""
    return [word for word in text.lower().translate(_TO_SPACE).split(" ") if word]


def build_vocabulary(reviews: Iterable[Sequence[str]]) -> dict[str, int]:
    """Each word's rank, from 1: by count, the most frequent first, then by the word, so that no file order matters."""
    counts = Counter(chain.from_iterable(reviews))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {word: rank for rank, (word, _) in enumerate(ranked, 1)}


def encode(words: Iterable[str], vocabulary: Mapping[str, int], size: int) -> list[int]:
    """The ids of one review, the start token first, every id below `size`.

    Args:
        words: as `tokenize` gives them.
        vocabulary: word to rank, from 1.
        size: what the embedding has rows for; ranks up to `size - 4` keep an id of their own.
    """
    last = size - RANK_OFFSET
    ranks = map(vocabulary.get, words, repeat(size))
    return [START, *[rank + RANK_OFFSET if rank < last else UNKNOWN for rank in ranks]]


def pad_tokens(sequences: Sequence[Sequence[int] | NDArray[np.int32]], length: int, padding: str) -> NDArray[np.int32]:
    """The last `length` tokens of each sequence, zeros on the side that `padding` names.

    Returns:
        <int32>[sequences, length].

    Raises:
        ValueError: `padding` is neither "pre" nor "post".
    """
    if padding not in ("pre", "post"):
        raise ValueError(f"padding must be 'pre' or 'post', not {padding!r}")
    rows = np.full((len(sequences), length), PADDING, np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        kept = sequence[-length:]
        if padding == "post":
            row[: len(kept)] = kept
        else:
            row[length - len(kept) :] = kept
    return rows
