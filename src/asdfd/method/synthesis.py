"""Synthesis, Plug & Play Embedding Guessing: pseudo inputs that drive the frozen teacher to a drawn class.

Shapes: B group, L content tokens, D embedding width, V vocabulary, C classes. The paper's abstract (arXiv 2010.04883) fixes the idea, the details are a
reconstruction: normalised gradient steps in embedding space, or gradient-guided token replacement (HotFlip, Ebrahimi et al. 2018, and "Universal Adversarial
Triggers", Wallace et al. 2019) among tokens drawn from the vocabulary prior, which keeps an input on the manifold that the student meets at inference.

Entries are made in groups of `GROUP` that share a length. A group is always computed alone and whole, and its random numbers come from its own streams, so
the bank has the same bits however it is split into shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from asdfd.base.config import Synthesis
from asdfd.method import objectives
from asdfd.method.bank import PART, Entries, Guessed, concatenate, part_path, part_range, write_part
from asdfd.method.class_words import ClassWords, class_words_of
from asdfd.method.lengths import Lengths, lengths_of
from asdfd.method.prior import Frame, VocabularyPrior, frame_of, prior_of
from asdfd.method.randomness import generator
from asdfd.method.word_order import LanguageModel, PublicText, open_word_order
from asdfd.models.classifiers import Classifier, type_inputs

GROUP = 32
"""Entries that are guessed together; a divisor of a part's size."""


@dataclass(frozen=True)
class Guesser:
    """What every group needs: the frozen teacher, its frame, the prior, the parameters, and the declared source of word order where there is one."""

    teacher: Classifier
    frame: Frame
    prior: VocabularyPrior
    config: Synthesis
    seed: int
    word_order: PublicText | LanguageModel | None = None
    lengths: Lengths | None = None
    """Those of the training texts, where the teacher's footprint tells them."""
    class_words: ClassWords | None = None
    """Drawn where the footprint tells the training vocabulary."""

    @property
    def table(self) -> Tensor:
        """The teacher's word-embedding table [V, D]."""
        return self.teacher.embedding_table

    @property
    def row_length(self) -> float:
        """Root-mean-square length of a row of the table, the unit of step sizes."""
        return row_length(self.table)


@dataclass(frozen=True)
class Group:
    """State of one group while it is guessed."""

    number: int
    targets: Tensor
    """Drawn classes, int64 [B], or sets of labels, bool [B, C]."""
    content: Tensor
    """Token ids int64 [B, L] or embeddings float32 [B, L, D]."""
    first: int | None = None
    """Content tokens of the first text of its pairs; None for single texts."""


def synthesize_parts(
    teacher: Classifier, config: Synthesis, seed: int, folder: Path, parts: list[int], on_part: Callable[[int], None] = lambda _: None
) -> None:
    """Write the parts that are not yet in `folder`; a part that is there was finished before and is kept."""
    guesser = make_guesser(teacher, config, seed)
    for part in parts:
        if not part_path(folder, part).exists():
            write_part(folder, part, synthesize_part(guesser, part))
        on_part(part)


def make_guesser(teacher: Classifier, config: Synthesis, seed: int) -> Guesser:
    """What every group needs, with what the teacher's footprint tells where there is one.

    Raises:
        InputError, RefusedError: a declared source of word order that is of no use.
    """
    frame, prior = frame_of(teacher.tokenizer, pairs=config.pairs), prior_of(teacher, config.prior)
    lengths = lengths_of(teacher, config.minimum_length, config.maximum_length, pairs=config.pairs)
    if lengths is not None:
        config = config.changed(maximum_length=int(lengths.lengths[-1]))
    word_order = open_word_order(config, teacher, prior)
    telling = teacher.footprint is not None and config.prior == "zipf" and config.initial == "tokens" and word_order is None
    return Guesser(teacher, frame, prior, config, seed, word_order, lengths, class_words_of(teacher, frame_of(teacher.tokenizer), prior) if telling else None)


def synthesize_part(guesser: Guesser, part: int) -> Entries:
    """All entries of one part."""
    rows = part_range(part, guesser.config.samples)
    return concatenate([synthesize_group(guesser, start // GROUP, min(GROUP, rows.stop - start)) for start in range(rows.start, rows.stop, GROUP)])


def synthesize_group(guesser: Guesser, number: int, size: int) -> Entries:
    """Draw one group of `size` entries; where they are guessed, also see what came of it."""
    group = draw_group(guesser, number, size)
    guesser = replace(guesser, frame=guesser.frame.at(group.first))
    if guesser.config.guessing == "none":
        return entries_of(stored(guesser, group.content), group.first)
    content, converged_round = (guess_embeddings if guesser.config.guessing == "embedding" else replace_tokens)(guesser, group)
    return label(guesser, group, stored(guesser, content), converged_round)


def draw_group(guesser: Guesser, number: int, size: int) -> Group:
    """Draw a group's length, classes (balanced inside the group, not by the teacher's bias) and initial content."""
    config, classes = guesser.config, len(guesser.teacher.label_names)
    random = generator(guesser.seed, "group", number)
    length = guesser.lengths.draw(random) if guesser.lengths else int(random.integers(config.minimum_length, config.maximum_length + 1))
    first = int(generator(guesser.seed, "first class").integers(classes)) + number * GROUP
    leading = random.permutation((first + np.arange(size)) % (classes + guesser.teacher.several))
    targets = draw_sets(leading, classes, random) if guesser.teacher.several else leading
    second = int(random.integers(1, length)) if config.pairs else None
    content = draw_content(guesser, leading % classes, length, second, random)
    if second is not None:
        content = related(content, second, random)
    device = guesser.table.device
    return Group(number, torch.from_numpy(targets).to(device), content.to(device), second)


def draw_sets(leading: np.ndarray, classes: int, random: np.random.Generator) -> np.ndarray:
    """Sets of labels, bool [B, C]: the `leading` label [B] of each, or none at all where that is C, and with a chance of 1 in C each of the others."""
    sets = (random.random((len(leading), classes)) < 1 / classes) & (leading < classes)[:, None]
    return sets | (leading[:, None] == np.arange(classes))


def draw_content(guesser: Guesser, classes: np.ndarray, length: int, first: int | None, random: np.random.Generator) -> Tensor:
    """Initial content of samples of the `classes` [B]: token ids int64 [B, L] or embeddings float32 [B, L, D].

    A declared source of word order is asked for each text of a pair by itself.
    """
    size = len(classes)
    if guesser.word_order is not None:
        texts = [length] if first is None else [first, length - first]
        return torch.from_numpy(np.concatenate([guesser.word_order.draw(size, each, random) for each in texts], axis=1))
    if guesser.class_words is not None:
        return torch.from_numpy(guesser.class_words.draw(classes, length, random))
    if guesser.config.initial == "tokens":
        return torch.from_numpy(guesser.prior.draw(size * length, random).reshape(size, length))
    noise = torch.from_numpy(random.standard_normal((size, length, guesser.table.shape[1]), dtype=np.float32))
    return noise * guesser.table.std(dim=0).cpu() + guesser.table.mean(dim=0).cpu()


def related(content: Tensor, first: int, random: np.random.Generator) -> Tensor:
    """Pairs [B, L, ...] whose second text repeats the first one in part: a share of its places, drawn anew for each pair from none to all, takes what stands in
    the first text, in order from a drawn place on.

    Two texts drawn by themselves have next to no word in common, and whether they have is most of what a reader of pairs looks at.
    """
    size, second = len(content), content.shape[1] - first
    taken = random.random((size, second)) < random.random((size, 1))
    places = (random.integers(first, size=(size, 1)) + np.arange(second)) % first
    sources = torch.from_numpy(np.where(taken, places, first + np.arange(second)))
    return torch.cat([content[:, :first], content[torch.arange(size)[:, None], sources]], dim=1)


def never(group: Group) -> Tensor:
    """Rounds int64 [B] of samples that have not converged yet."""
    return torch.full((len(group.targets),), -1, device=group.targets.device)


def guess_embeddings(guesser: Guesser, group: Group) -> tuple[Tensor, Tensor]:
    """Normalised gradient steps on the content's embeddings; each sample's best iterate is kept. Returns embeddings [B, L, D] and converged rounds [B]."""
    embeddings = as_embeddings(group.content, guesser.table)
    best, best_loss = embeddings.clone(), torch.full((len(embeddings),), torch.inf, device=embeddings.device)
    converged = never(group)
    for done in range(guesser.config.rounds + 1):
        last = done == guesser.config.rounds
        losses, gradient = (class_losses(guesser, embeddings, group.targets), None) if last else class_gradient(guesser, embeddings, group.targets)
        better = losses < best_loss
        best[better], best_loss = embeddings[better], torch.minimum(losses, best_loss)
        converged[(converged < 0) & (losses <= -np.log(guesser.config.confidence))] = done
        if gradient is not None:
            embeddings = embeddings - guesser.config.step_size * guesser.row_length * normalised(gradient)
    return best, converged


def replace_tokens(guesser: Guesser, group: Group) -> tuple[Tensor, Tensor]:
    """Rounds of gradient-guided token replacement; returns token ids [B, L] and the round [B] after which a sample had converged.

    A round draws a pool of tokens from the prior, scores them at some positions by how far they lower the class loss to first order (-gradient . row),
    and draws each replacement from the `candidates` best ones.
    """
    tokens = group.content
    converged = never(group)
    for done in range(guesser.config.rounds):
        losses, gradient = class_gradient(guesser, as_embeddings(tokens, guesser.table), group.targets)
        converged[(converged < 0) & (losses <= -np.log(guesser.config.confidence))] = done
        tokens = replacement_round(guesser, tokens, gradient, generator(guesser.seed, "replacement", group.number, done))
    return tokens, converged


def replacement_round(guesser: Guesser, tokens: Tensor, gradient: Tensor, random: np.random.Generator) -> Tensor:
    """One round for all samples of a group: tokens [B, L] and the class loss's gradient [B, L, D] give new tokens [B, L]."""
    config, (size, length), device = guesser.config, tokens.shape, tokens.device
    pool = torch.from_numpy(np.unique(guesser.prior.draw(config.pool, random))).to(device)
    count = max(1, round(config.replaced_share * length))
    positions = torch.from_numpy(random.permuted(np.tile(np.arange(length), (size, 1)), axis=1)[:, :count].copy()).to(device)
    chosen = torch.from_numpy(random.integers(min(config.candidates, len(pool)), size=(size, count))).to(device)
    picked = gradient.gather(1, positions.unsqueeze(-1).expand(-1, -1, gradient.shape[-1]))
    scores = -(picked @ guesser.table[pool].T)
    best = scores.topk(min(config.candidates, len(pool)), dim=-1).indices
    replacements = pool[best.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)]
    return tokens.scatter(1, positions, replacements)


@torch.no_grad()
def class_losses(guesser: Guesser, embeddings: Tensor, targets: Tensor) -> Tensor:
    """Class loss [B] of each sample."""
    logits = answers(guesser.teacher.model, embeddings, guesser.frame, guesser.table)
    return objectives.class_losses(logits, targets)


def class_gradient(guesser: Guesser, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Class loss [B] of each sample and its gradient [B, L, D] with respect to the sample's content embeddings."""
    content = embeddings.detach().requires_grad_(True)
    logits = answers(guesser.teacher.model, content, guesser.frame, guesser.table)
    (gradient,) = torch.autograd.grad(objectives.class_loss(logits, targets), content)
    return objectives.class_losses(logits.detach(), targets), gradient


def stored(guesser: Guesser, content: Tensor) -> Tensor:
    """Content as a bank keeps it: token ids int32 [B, L], or embeddings float16 [B, L, D]."""
    return content.to(torch.int32 if guesser.config.holds_tokens else torch.float16)


def entries_of(content: Tensor, first: int | None, guessed: Guessed | None = None) -> Entries:
    """Entries of a group's stored content."""
    size, length = content.shape[:2]
    lengths, firsts = (None if tokens is None else torch.full((size,), tokens, dtype=torch.int32) for tokens in (length, first))
    assert lengths is not None
    return Entries(lengths, content.flatten(0, 1).cpu(), guessed, firsts)


@torch.no_grad()
def label(guesser: Guesser, group: Group, content: Tensor, converged_round: Tensor) -> Entries:
    """Ask the teacher about guessed content as it is stored, and make the group's entries."""
    embeddings = as_embeddings(content.long() if guesser.config.holds_tokens else content.float(), guesser.table)
    logits = answers(guesser.teacher.model, embeddings, guesser.frame, guesser.table).float()
    confidence = objectives.probabilities(logits, group.targets)
    if guesser.config.guessing == "replacement":
        converged_round = converged_round.where((converged_round >= 0) | (confidence < guesser.config.confidence), guesser.config.rounds)
    guessed = Guessed(group.targets.to(torch.int32).cpu(), logits.cpu(), confidence.cpu(), converged_round.to(torch.int32).cpu())
    return entries_of(content, group.first, guessed)


def answers(model: PreTrainedModel, content: Tensor, frame: Frame, table: Tensor) -> Tensor:
    """Logits [B, C] of a model on content embeddings [B, L, D]."""
    return model(inputs_embeds=framed(content, frame, table), **type_inputs(model, frame.token_types(content))).logits


def framed(content: Tensor, frame: Frame, table: Tensor) -> Tensor:
    """Put the special tokens' embeddings around content embeddings [B, L, D]; they are pinned, no gradient reaches them."""
    return frame.around_embeddings(content, table)


def as_embeddings(content: Tensor, table: Tensor) -> Tensor:
    """Embeddings [B, L, D] of token ids [B, L]; embeddings stay as they are."""
    return table[content] if content.dtype == torch.int64 else content


def normalised(gradient: Tensor) -> Tensor:
    """Scale each sample's gradient [B, L, D] so that its rows have a root-mean-square length of one."""
    length = gradient.square().sum(-1).mean(-1).sqrt()
    return gradient / length.clamp_min(torch.finfo(gradient.dtype).tiny)[:, None, None]


def row_length(table: Tensor) -> float:
    """Root-mean-square length of a row of the table [V, D]."""
    return table.square().sum(-1).mean().sqrt().item()


assert PART % GROUP == 0
