"""The effect of each word on a prediction: the change in probability when the word is hidden."""

from collections.abc import Sequence

from ..data.text import RANK_OFFSET, UNKNOWN
from .reader import Prediction, TextModel

# (word, by how much it raises the probability of the predicted label), the largest change first.
Effects = list[tuple[str, float]]


def occlusion(model: TextModel, text: str, prediction: Prediction) -> Effects:
    """The effect of each known word that the model reads in `text`, all its occurrences together.

    A hidden word is replaced by the token for unknown words, so that no other word moves.
    """
    words: Sequence[str] = model.reader.words or []
    sequence = model.encode(text)
    known = list(dict.fromkeys(token for token in sequence if token > UNKNOWN))
    hidden = [[UNKNOWN if token == word else token for token in sequence] for word in known]
    if not known:
        return []
    label = model.reader.classes.index(prediction.label)
    without = model.probabilities(hidden)[:, label]
    effects = [
        (words[token - RANK_OFFSET - 1], prediction.probability - float(probability))
        for token, probability in zip(known, without, strict=True)
    ]
    return sorted(effects, key=lambda effect: -abs(effect[1]))
