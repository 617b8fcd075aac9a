"""What a model family is: one record for each, which all that must know a model from inside reads; no other module names a family.

A name inside a family's encoder is written as of the encoder, so that a masked language model of the family has it, too. What the records say is compared with
the models of transformers, family by family, by the tests; what tells tokens apart (words, pieces, characters) is the tokenizer's, not the family's, see
`method.prior`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Layer:
    """The linear maps of one layer, by their names in it."""

    heads: tuple[str, ...] = ("attention.self.query", "attention.self.key", "attention.self.value")
    """From hidden states to queries, keys and values."""
    attended: str = "attention.output.dense"
    """From the heads back to hidden states."""
    inner: str = "intermediate.dense"
    """From hidden states to the inner units."""
    output: str = "output.dense"
    """From the inner units back to hidden states."""
    inner_size: str = "intermediate_size"
    """Name of the number of inner units in the config."""


@dataclass(frozen=True)
class FoldedNorm:
    """A normalisation that every layer has but the first, which follows the embeddings' own."""

    norm: str
    """Its name in a layer."""
    into: str
    """Name in a layer of the linear map that reads what it gives."""
    embeddings_norm: str
    """Name in the encoder of the one that the first layer follows."""


@dataclass(frozen=True)
class OlderNames:
    """What a family's config called the kinds of its layers before it listed them one by one. Written beside the list, so that older versions read the same."""

    until: str
    """The first version of transformers that reads the list."""
    every: str
    """Name of the number of layers from one that attends to everything to the next; the first one does."""
    everything: str
    """How the list calls such a layer."""
    angles: Mapping[str, str]
    """Names of the bases of the rotary positions, by the kind of layer."""


@dataclass(frozen=True)
class Family:
    """What must be known of a family."""

    model_type: str
    """As config.json names it."""
    title: str
    """As people call it."""
    encoder: str
    """Name of the encoder in a classifier."""
    head: tuple[str, str]
    """Names in a classifier of the linear maps of its head: from hidden states, and the last one, to the logits. They are the same where there is one only."""
    layers: str = "encoder.layer"
    """Name in the encoder of the list of layers."""
    one_layer: bool = False
    """Whether it is one layer that is repeated: a student of fewer layers is faster, and not smaller."""
    embeddings: str = "embeddings"
    """Name in the encoder of all that makes a hidden state of a word embedding."""
    words: str = "embeddings.word_embeddings"
    """Name in the encoder of the table of word embeddings."""
    positions: str = "embeddings.position_embeddings"
    """Name in the encoder of the table of position embeddings; empty where positions are encoded in another way."""
    positions_after_padding: bool = False
    """Whether positions are counted from the padding id + 1 on."""
    token_types: str = "embeddings.token_type_embeddings"
    """Name in the encoder of the table of token types; empty where the family has none."""
    widened: str = ""
    """Name in the encoder of the map from word embeddings that are narrower than hidden states; a model whose are not has none."""
    needed: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Values that a config must have, where it has these names."""
    folded_norm: FoldedNorm | None = None
    narrowed: Layer | None = None
    """The maps of a layer, in a family whose students can be narrower."""
    since: str = "4.57"
    """The oldest version of transformers, of those that were tried, that has the family."""
    older: OlderNames | None = None

    @property
    def all_layers(self) -> str:
        """Name of the list of layers in a classifier."""
        return f"{self.encoder}.{self.layers}"

    def layer(self, name: str) -> int | None:
        """The number of the layer that a part of a classifier belongs to, by the part's name; None for what belongs to none."""
        number = name.removeprefix(f"{self.all_layers}.").partition(".")[0]
        return int(number) if number.isdigit() and name.startswith(f"{self.all_layers}.") else None

    def moved(self, name: str, layer: int) -> str:
        """The name that a layer or a part of it has where it is another layer."""
        inside = name.removeprefix(f"{self.all_layers}.").partition(".")[2]
        return f"{self.all_layers}.{layer}.{inside}" if inside else f"{self.all_layers}.{layer}"


_DENSE_HEAD = ("classifier.dense", "classifier.out_proj")

_RECORDS = (
    Family(
        "albert",
        "ALBERT",
        "albert",
        ("albert.pooler", "classifier"),
        layers="encoder.albert_layer_groups",
        one_layer=True,
        widened="encoder.embedding_hidden_mapping_in",
        needed=MappingProxyType({"num_hidden_groups": 1, "inner_group_num": 1}),
    ),
    Family("bert", "BERT", "bert", ("bert.pooler.dense", "classifier"), narrowed=Layer()),
    Family("camembert", "CamemBERT", "roberta", _DENSE_HEAD, positions_after_padding=True, narrowed=Layer()),
    Family("deberta", "DeBERTa", "deberta", ("pooler.dense", "classifier"), widened="embeddings.embed_proj"),
    Family("deberta-v2", "DeBERTa v2 and v3", "deberta", ("pooler.dense", "classifier"), widened="embeddings.embed_proj"),
    Family(
        "distilbert",
        "DistilBERT",
        "distilbert",
        ("pre_classifier", "classifier"),
        layers="transformer.layer",
        token_types="",
        narrowed=Layer(("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin", "ffn.lin1", "ffn.lin2", "hidden_dim"),
    ),
    Family("electra", "ELECTRA", "electra", _DENSE_HEAD, widened="embeddings_project", narrowed=Layer()),
    Family("ernie", "ERNIE", "ernie", ("ernie.pooler.dense", "classifier"), narrowed=Layer()),
    Family(
        "modernbert",
        "ModernBERT",
        "model",
        ("head.dense", "classifier"),
        layers="layers",
        words="embeddings.tok_embeddings",
        positions="",
        token_types="",
        folded_norm=FoldedNorm("attn_norm", "attn.Wqkv", "embeddings.norm"),
        older=OlderNames(
            "5.1",
            "global_attn_every_n_layers",
            "full_attention",
            MappingProxyType({"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}),
        ),
    ),
    Family("mpnet", "MPNet", "mpnet", _DENSE_HEAD, positions_after_padding=True, token_types=""),
    Family("nomic_bert", "NomicBERT", "nomic_bert", ("nomic_bert.pooler.dense", "classifier"), layers="layers", positions="", since="5.5"),
    Family("roberta", "RoBERTa", "roberta", _DENSE_HEAD, positions_after_padding=True, narrowed=Layer()),
    Family("xlm-roberta", "XLM-RoBERTa", "roberta", _DENSE_HEAD, positions_after_padding=True, narrowed=Layer()),
    Family("xlm-roberta-xl", "XLM-RoBERTa XL", "roberta", _DENSE_HEAD, positions_after_padding=True),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.model_type: family for family in _RECORDS})
"""Every supported family by its `config.model_type`."""


def family_of(config: object) -> Family:
    """The family of a model by its config, one of those above."""
    return FAMILIES[getattr(config, "model_type", "")]
