"""How well a teacher's word table tells how often each token occurred in its training texts, and the powers that tell it best.

The teachers of `teachers.py` are fine-tunings whose texts are known. The estimate is a product of powers: of a token's general probability by rank, of how far
its row moved, of how far the farthest of the row's numbers moved beside the others, and of the length of the encoder's row. Powers are fitted to all data
sets, each alike, by the likelihood of the true counts; each data set is also judged by the powers that the others give. The distance is Kullback and
Leibler's, of the true shares from the estimated ones, in nats.

    python benchmarks/footprint_counts.py            # writes results/footprint_counts.json; the teachers must be there
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import teachers
import torch
from arms import machine, training_tokens
from safetensors.torch import load_file

from asdfd.method.prior import RANK_POWER, frame_of, vocabulary_prior
from asdfd.models.classifiers import Classifier, load_classifier
from asdfd.models.footprint import LENGTH_POWER, MOVE_POWER, PEAK_POWER, drift, traces

RESULTS = Path(__file__).resolve().parent / "results" / "footprint_counts.json"
WORDS = "embeddings.word_embeddings.weight"
POWERS = (RANK_POWER, MOVE_POWER, PEAK_POWER, LENGTH_POWER)
"""What the product takes: about what TREC and Banking77 give together; sets that came later check it."""
EARLIER = (0.7, 2.0, 0.0, 0.0)
"""The powers before the shape of a move was looked at."""
PULL = 1e-2
"""Weight of the squared powers in the fit, so that one data set alone does not run away."""


@dataclass(frozen=True)
class Known:
    """A fine-tuning whose texts are known: K tokens that moved."""

    logs: np.ndarray
    """Logarithms of rank's probability, move, peak and length, float64 [K, 4]."""
    shares: np.ndarray
    """True shares of the tokens in the training texts, float64 [K]."""

    def distance(self, powers: Sequence[float]) -> float:
        """Of the true shares from those that the powers tell, in nats."""
        scores = self.logs @ np.asarray(powers)
        told = scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())
        seen = self.shares > 0
        return float((self.shares[seen] * (np.log(self.shares[seen]) - told[seen])).sum())


def known(dataset: str) -> Known:
    """The traces in a teacher of `teachers.py` and the counts that made them."""
    teacher: Classifier = load_classifier(teachers.CACHE / dataset, dataset)
    (base,) = (table.float().numpy() for name, table in load_file(teachers.encoder_folder() / "model.safetensors").items() if name.endswith(WORDS))
    tuned = teacher.embedding_table.numpy()
    found, prior = traces(tuned, base, drift(tuned, base)), vocabulary_prior(teacher.tokenizer, "zipf", ranked_characters=True)
    rows = training_tokens(teacher, dataset, frame_of(teacher.tokenizer).length)
    counts = np.bincount(np.concatenate([np.array(row, dtype=np.int64) for row in rows]), minlength=len(base))
    kept = found.moves[prior.token_ids] > 0
    ids = prior.token_ids[kept]
    columns = (prior.probabilities[kept], found.moves[ids], found.peaks[ids], found.lengths[ids])
    return Known(np.log(np.stack(columns, axis=1).astype(np.float64)), counts[ids] / counts[ids].sum())


def fitted(sets: Sequence[Known]) -> list[float]:
    """The powers under which the true counts of all sets, each alike, are likeliest."""
    powers = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    tensors = [(torch.from_numpy(each.logs), torch.from_numpy(each.shares)) for each in sets]
    optimizer = torch.optim.LBFGS([powers], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -sum((shares * torch.log_softmax(logs @ powers, 0)).sum() for logs, shares in tensors) / len(tensors) + PULL * (powers**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]  # torch's stubs want a float
    return [round(float(power), 3) for power in powers.detach()]


def main() -> None:
    """Fit, judge, and write the result."""
    torch.set_num_threads(1)
    sets = {name: known(name) for name in teachers.DATASETS if (teachers.CACHE / name / "model.safetensors").exists() and name != teachers.LONG}
    of = {
        name: {
            "tokens": len(each.shares),
            "general frequency": round(each.distance((1, 0, 0, 0)), 3),
            "distance of the move": round(each.distance(EARLIER), 3),
            "shape of the move": round(each.distance(POWERS), 3),
            "powers of the others": (powers := fitted([other for key, other in sets.items() if key != name])),
            "with those": round(each.distance(powers), 3),
        }
        for name, each in sets.items()
    }
    result = {
        "machine": machine(),
        "powers": dict(zip(("rank", "move", "peak", "length"), POWERS, strict=True)),
        "together": fitted([*sets.values()]),
        "of": of,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"together": result["together"], "of": of}, indent=1))


if __name__ == "__main__":
    main()
