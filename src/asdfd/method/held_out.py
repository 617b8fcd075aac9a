"""Held-out samples: what a student is judged on where there is no text.

They are drawn of a seed that no bank uses, and in another way than the samples that a student learns from: every one has class words, more of them and sharper
ones, so that the teacher is about as sure of them as of texts. How often a student gives its teacher's class on them tells how often it will on texts
(`evaluation.prediction`); on samples such as a bank's own it is the other way round, and a better student can agree less.
"""

from __future__ import annotations

from dataclasses import replace

from asdfd.base.config import Synthesis
from asdfd.method.class_words import Mixture, class_words_of
from asdfd.method.prior import frame_of
from asdfd.method.randomness import generator
from asdfd.method.synthesis import GROUP, draw_group, make_guesser
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded

JUDGING = Mixture(samples=1.0, words=0.8, sharpness=3.0)
"""Of the samples that a student is judged on."""
OF_ONE_LENGTH = 4
"""Samples that share a length: fewer than of a bank, which has so many more of them."""


def held_out_sequences(classifier: Classifier, config: Synthesis, samples: int, seed: int, mixture: Mixture = JUDGING) -> list[Encoded]:
    """Token ids, with special tokens, of samples that the classifier's vocabulary, its answers and, where it has one, its footprint tell; in a drawn order, so
    that neighbours differ in length.

    Of `config` only the lengths count and whether samples are pairs: how a bank was guessed, or where its words came from, changes nothing.
    """
    plain = config.changed(samples=samples, initial="tokens", prior="zipf", guessing="none", prior_text="", prior_model="")
    guesser = make_guesser(classifier, plain, held_out_seed(seed))
    words = class_words_of(classifier, frame_of(classifier.tokenizer), guesser.prior, mixture)
    guesser, sequences = replace(guesser, class_words=words), []
    for start in range(0, samples, OF_ONE_LENGTH):
        group = draw_group(guesser, start // OF_ONE_LENGTH, GROUP)
        frame = guesser.frame.at(group.first)
        sequences += [frame.sequence(tokens) for tokens in group.content[: min(OF_ONE_LENGTH, samples - start)].tolist()]
    return [sequences[row] for row in generator(seed, "held-out order").permutation(samples).tolist()]


def held_out_seed(seed: int) -> int:
    """Seed of the held-out samples of a run's seed."""
    return int(generator(seed, "held out").integers(2**62))
