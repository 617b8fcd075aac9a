"""Held-out samples: what a student is judged on where there is no text.

They are drawn of a seed that no bank uses, and in another way than a bank's: of the whole vocabulary by how frequent words are in general, whatever the
footprint tells, and every one has words of a class, more of them and sharper ones, so that the teacher is nearly as sure as of texts. How far the student's
probabilities are from the teacher's on them tells how often it gives the same class on texts (`evaluation.prediction`). On samples that are drawn as a bank's
are it does not: students that learned from such samples agree there, and may not on texts (docs/research.md).
"""

from __future__ import annotations

from dataclasses import replace

from asdfd.base.config import Synthesis
from asdfd.method.class_words import Mixture, class_words_of
from asdfd.method.prior import frame_of
from asdfd.method.randomness import generator
from asdfd.method.synthesis import GROUP, draw_group, make_guesser
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded, input_limit

JUDGING = Mixture(samples=1.0, words=0.8, sharpness=3.0)
"""Of the samples that a student is judged on."""
OF_ONE_LENGTH = 4
"""Samples that share a length: fewer than of a bank, which has so many more of them."""


def held_out_sequences(classifier: Classifier, samples: int, seed: int, *, pairs: bool = False, mixture: Mixture = JUDGING) -> list[Encoded]:
    """Token ids, with special tokens, of samples that the classifier's vocabulary and its answers tell, in a drawn order, so that neighbours differ in length.

    No parameter of a bank changes them: they are what the prediction was calibrated on, of 4 to 20 tokens where the classifier takes so many.
    """
    frame, usual = frame_of(classifier.tokenizer, pairs=pairs), Synthesis()
    longest = min(usual.maximum_length, input_limit(classifier, 0) - frame.length)
    config = Synthesis(samples=samples, pairs=pairs, maximum_length=longest, minimum_length=min(usual.minimum_length, longest))
    guesser = make_guesser(replace(classifier, footprint=None), config, held_out_seed(seed))
    guesser = replace(guesser, class_words=class_words_of(classifier, frame_of(classifier.tokenizer), guesser.prior, mixture))
    sequences: list[Encoded] = []
    for start in range(0, samples, OF_ONE_LENGTH):
        group = draw_group(guesser, start // OF_ONE_LENGTH, GROUP)
        around = frame.at(group.first)
        sequences += [around.sequence(tokens) for tokens in group.content[: min(OF_ONE_LENGTH, samples - start)].tolist()]
    return [sequences[row] for row in generator(seed, "held-out order").permutation(samples).tolist()]


def held_out_seed(seed: int) -> int:
    """Seed of the held-out samples of a run's seed."""
    return int(generator(seed, "held out").integers(2**62))
