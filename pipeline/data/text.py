"""Words and token ids of texts, as in Keras's Tokenizer and its encoded IMDB reviews.

Ids: 0 padding, 1 start, 2 out of vocabulary, 3 unused, 3 + rank for a word, with ranks from 1.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

PADDING, START, UNKNOWN = 0, 1, 2
RANK_OFFSET = 3

# The default `filters` of keras.preprocessing.text.Tokenizer. It keeps apostrophes.
_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_TO_SPACE = str.maketrans(dict.fromkeys(_FILTERS, " "))


def tokenize(text: str) -> list[str]:
    """Return the lower-case words of `text`, split at punctuation and spaces as Keras does."""
    return [word for word in text.lower().translate(_TO_SPACE).split(" ") if word]


def build_vocabulary(texts: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return each word's rank from 1, sorted by frequency and then by the word."""
    counts = Counter(chain.from_iterable(texts))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {word: rank for rank, (word, _) in enumerate(ranked, 1)}


def encode(words: Iterable[str], vocabulary: Mapping[str, int], size: int) -> list[int]:
    """Return the ids of a text, first the start token. Every id is below `size`.

    Args:
        words: the words of the text, as `tokenize` returns them.
        vocabulary: word to rank, from 1.
        size: number of rows of the embedding. Ranks up to `size - 4` have an id.
    """
    last = size - RANK_OFFSET
    ranks = map(vocabulary.get, words, repeat(size))
    return [START, *[rank + RANK_OFFSET if rank < last else UNKNOWN for rank in ranks]]


def pad_tokens(
    sequences: Sequence[Sequence[int] | NDArray[np.int32]], length: int, padding: str
) -> NDArray[np.int32]:
    """Return the last `length` tokens of each sequence, with zeros on the side `padding`.

    Returns:
        <int32>[sequences, length].

    Raises:
        ValueError: `padding` is neither "pre" nor "post".
    """
    if padding not in ("pre", "post"):
        raise ValueError(f"padding must be 'pre' or 'post', not {padding!r}")
    rows = np.full((len(sequences), length), PADDING, np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        tokens = sequence[-length:]
        start = 0 if padding == "post" else length - len(tokens)
        row[start : start + len(tokens)] = tokens
    return rows
