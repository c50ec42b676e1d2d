"""Which words moved a prediction: each is hidden in turn, and the change of the label's probability is what it added."""

from collections.abc import Sequence

from pipeline.data.text import RANK_OFFSET, UNKNOWN
from pipeline.serving.reader import Prediction, TextModel

# (word, by how much it raises the probability of the label told), the largest change first.
Moved = list[tuple[str, float]]


def occlusion(model: TextModel, text: str, told: Prediction) -> Moved:
    """What each known word of `text` that the model saw adds to the probability of the label `told`, all its places at once.

    A hidden word becomes the one that stands for unknown words, so that no other word moves.
    """
    words: Sequence[str] = model.reader.words or []
    sequence = model.encode(text)
    known = list(dict.fromkeys(token for token in sequence if token > UNKNOWN))
    hidden = [[UNKNOWN if token == one else token for token in sequence] for one in known]
    if not known:
        return []
    without = model.probabilities(hidden)[:, model.reader.classes.index(told.label)]
    changes = [(words[token - RANK_OFFSET - 1], told.probability - float(one)) for token, one in zip(known, without, strict=True)]
    return sorted(changes, key=lambda change: -abs(change[1]))
