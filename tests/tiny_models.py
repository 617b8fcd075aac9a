"""Tiny random classifiers of every supported family: the real architectures and real tokenizers, small enough for a test.

Their weights are drawn widely enough, and their heads centred on random texts, that different inputs get different classes.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    CamembertConfig,
    CamembertTokenizer,
    DebertaConfig,
    DebertaTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    NomicBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
    XLMRobertaXLConfig,
)

_FREQUENT = (
    "the of and to in is that it was for on with he as you his at be this have from or had by not are but what we were they all one there her "
    "she when which their said if will do each how up out them then many some so these would other into has more two like him see time could no "
    "make than first been its who now people my made over did down only way find use may water long little very after words called just where most "
    "know get through back much good new write our me man too any day same right look think also around another came come work three word must "
    "because does part even place well such here take why help put different away again off went old number great tell men say small every found "
    "still between name should home big give air line set own under read last never us left end along while might next sound below saw something "
    "thought both few those always looked show large often together asked house world going want school important until film movie terrible "
    "wonderful boring brilliant plot acting phone battery screen order refund delivery late broken bank match team price"
)
WORDS = _FREQUENT.split()
"""Whole words, most frequent first, as real vocabularies list them."""
PIECES = ("s", "ed", "ing", "ly", "er", "es", "al", "ion", "est", "ment", "ness", "able", "ful", "less", "ity")
LABEL_NAMES = ("complaint", "praise", "question", "request", "report", "greeting", "advertisement", "thanks")
POSITIONS = 128
"""Longest input, in tokens, special ones counted."""


def label_names(classes: int) -> tuple[str, ...]:
    """Label names that are no LABEL_0: the first `classes` of a fixed list."""
    return (*LABEL_NAMES, *(f"topic {i}" for i in range(len(LABEL_NAMES), classes)))[:classes]


def random_texts(count: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Texts of 3 to `longest` drawn words, frequent ones more often."""
    generator = torch.Generator().manual_seed(seed)
    weights = 1 / (torch.arange(len(WORDS)) + 3.0)
    lengths = torch.randint(3, longest + 1, (count,), generator=generator).tolist()
    return [" ".join(WORDS[i] for i in torch.multinomial(weights, length, replacement=True, generator=generator).tolist()) for length in lengths]


def wordpiece_vocabulary() -> dict[str, int]:
    """Like BERT's: reserved and special tokens, characters, then words by frequency, then pieces."""
    unused = [f"[unused{i}]" for i in range(12)]
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [*string.punctuation, *string.digits, *string.ascii_lowercase, "é", "中"]
    pieces = [f"##{piece}" for piece in dict.fromkeys([*string.ascii_lowercase, *string.digits, *PIECES])]
    return numbered(["[PAD]", *unused[:8], *special, *unused[8:], *characters, *[word for word in WORDS if len(word) > 1], *pieces])


def mpnet_vocabulary() -> dict[str, int]:
    """BERT's words behind RoBERTa's special tokens, as MPNet has them."""
    ordinary = [token for token in wordpiece_vocabulary() if token not in ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")]
    return numbered(["<s>", "<pad>", "</s>", "<unk>", *ordinary, "[UNK]", "<mask>"])


def byte_pairs(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE: special tokens, all bytes, then every word built up from its left, frequent words first; `Ġ` marks a word's start."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS[:120]:
        for end in range(1, len(word) + 1):
            merges[("Ġ" + word[: end - 1], word[end - 1])] = None
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    return numbered(tokens), list(merges)


def unigrams(special: list[str]) -> list[tuple[str, float]]:
    """Unigram pieces with their log-probabilities: special tokens, then words by frequency with `▁` at their start, then pieces and characters."""
    words = [(f"▁{word}", -2.0 - 0.02 * rank) for rank, word in enumerate(WORDS)]
    pieces = [(piece, -9.0) for piece in PIECES if len(piece) > 1]
    characters = [(character, -12.0) for character in ["▁", *string.ascii_letters, *string.digits, *string.punctuation]]
    seen = {piece for piece, _ in words}
    return [*((token, 0.0) for token in special), *words, *((piece, score) for piece, score in pieces + characters if piece not in seen)]


def numbered(tokens: list[str]) -> dict[str, int]:
    """Token ids in order; a token is listed once."""
    assert len(set(tokens)) == len(tokens), [a for a, b in pairwise(sorted(tokens)) if a == b]
    return {token: index for index, token in enumerate(tokens)}


def modernbert_tokenizer() -> PreTrainedTokenizerBase:
    """ModernBERT's kind: byte-level BPE with BERT's special tokens, kept in a tokenizer.json alone."""
    vocabulary, merges = byte_pairs(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    frame = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=frame)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=POSITIONS,
    )


def bert_tokenizer() -> PreTrainedTokenizerBase:
    """WordPiece with BERT's layout; DistilBERT's and ELECTRA's are the same."""
    return BertTokenizer(vocab=wordpiece_vocabulary(), model_max_length=POSITIONS)


def roberta_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE; a leading space is added, so that a text's first word is the word that it is elsewhere."""
    vocabulary, merges = byte_pairs(["<s>", "<pad>", "</s>", "<unk>"])
    vocabulary["<mask>"] = len(vocabulary)
    return RobertaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=True, model_max_length=POSITIONS)  # pyright: ignore[reportArgumentType]


def xlm_roberta_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram with RoBERTa's special tokens."""
    return XLMRobertaTokenizer(vocab=[*unigrams(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)], model_max_length=POSITIONS)


def albert_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram with BERT's special tokens."""
    return AlbertTokenizer(vocab=unigrams(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]), model_max_length=POSITIONS)


def camembert_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram in CamemBERT's order: sentencepiece's own special tokens, which it does not use, are among its own."""
    special = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    return CamembertTokenizer(vocab=[*unigrams(special), ("<mask>", 0.0)], model_max_length=POSITIONS)


def deberta_v1_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE with BERT's special tokens, in DeBERTa's own class."""
    vocabulary, merges = byte_pairs(["[CLS]", "[PAD]", "[SEP]", "[UNK]"])
    vocabulary["[MASK]"] = len(vocabulary)
    return DebertaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=True, model_max_length=POSITIONS)  # pyright: ignore[reportArgumentType]


def deberta_tokenizer() -> PreTrainedTokenizerBase:
    """Unigram in the order of DeBERTa v2 and v3, the mask last."""
    return DebertaV2Tokenizer(vocab=[*unigrams(["[PAD]", "[CLS]", "[SEP]", "[UNK]"]), ("[MASK]", 0.0)], model_max_length=POSITIONS)


def mpnet_tokenizer() -> PreTrainedTokenizerBase:
    """WordPiece with RoBERTa's special tokens."""
    return MPNetTokenizer(vocab=mpnet_vocabulary(), model_max_length=POSITIONS)


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "initializer_range": 0.2, "max_position_embeddings": POSITIONS}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0, "max_relative_positions": -1}
DISTILBERT = {"dim": 32, "hidden_dim": 48, "n_heads": 2, "initializer_range": 0.2, "max_position_embeddings": POSITIONS}
AFTER_PADDING = {**SIZES, "max_position_embeddings": POSITIONS + 2}
"""RoBERTa numbers its positions from the padding id + 1."""
MODERN = {**SIZES, "local_attention": 8, "global_attn_every_n_layers": 2, "hidden_activation": "gelu"}
"""A window of four tokens to either side, so that short texts tell local from global attention."""

FAMILIES: dict[str, tuple[Callable[..., PreTrainedConfig], Callable[[], PreTrainedTokenizerBase], dict]] = {
    "bert": (BertConfig, bert_tokenizer, SIZES),
    "roberta": (RobertaConfig, roberta_tokenizer, {**AFTER_PADDING, "type_vocab_size": 1}),
    "xlm-roberta": (XLMRobertaConfig, xlm_roberta_tokenizer, {**AFTER_PADDING, "type_vocab_size": 1}),
    "distilbert": (DistilBertConfig, bert_tokenizer, DISTILBERT),
    "electra": (ElectraConfig, bert_tokenizer, {**SIZES, "embedding_size": 32}),
    "electra-narrow": (ElectraConfig, bert_tokenizer, {**SIZES, "embedding_size": 16}),
    "albert": (AlbertConfig, albert_tokenizer, {**SIZES, "embedding_size": 16}),
    "mpnet": (MPNetConfig, mpnet_tokenizer, AFTER_PADDING),
    "camembert": (CamembertConfig, camembert_tokenizer, {**AFTER_PADDING, "type_vocab_size": 1}),
    "ernie": (ErnieConfig, bert_tokenizer, SIZES),
    "nomic_bert": (NomicBertConfig, bert_tokenizer, {**SIZES, "head_dim": 16}),
    "xlm-roberta-xl": (XLMRobertaXLConfig, xlm_roberta_tokenizer, {**AFTER_PADDING, "type_vocab_size": 1}),
    "deberta": (DebertaConfig, deberta_v1_tokenizer, {**SIZES, **DEBERTA}),
    "deberta-v2": (DebertaV2Config, deberta_tokenizer, {**SIZES, **DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "deberta-v3": (
        DebertaV2Config,
        deberta_tokenizer,
        {**SIZES, **DEBERTA, "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_buckets": 16},
    ),
    "modernbert": (ModernBertConfig, modernbert_tokenizer, MODERN),
}
"""Family name to config class, tokenizer and sizes. `electra-narrow` and `albert` have word embeddings narrower than their hidden states."""

TOKENIZERS = list({entry[1]: name for name, entry in reversed(FAMILIES.items())}.values())[::-1]
"""A family for each kind of tokenizer."""


def make_teacher(folder: Path, family: str = "bert", *, layers: int = 4, classes: int = 3, seed: int = 0, problem_type: str | None = None) -> Path:
    """Write a random classifier of `family` with its tokenizer into `folder`, as a Hugging Face folder, and return `folder`.

    The same arguments write the same bytes. No global random state changes.
    """
    config_class, make_tokenizer, sizes = FAMILIES[family]
    tokenizer = make_tokenizer()
    names = label_names(classes)
    config = config_class(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        problem_type=problem_type,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **{
            name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id") if hasattr(config_class, name)
        },  # whose defaults are those of a larger vocabulary
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))  # biases and norms too: otherwise a layer that was not copied can look like one that was
    centre_head(model, tokenizer, classes)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)  # a fresh one: a used one would save how its last batch was padded
    return folder


@torch.no_grad()
def centre_head(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: int) -> None:
    """Scale and shift the last linear layer so that each logit has mean 0 and deviation 2 over random texts: every class occurs."""
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == classes][-1]
    batch = tokenizer(random_texts(64, seed=1), padding=True, return_tensors="pt")
    logits = model(**batch).logits
    scale = 2 / logits.std(0)
    head.weight.mul_(scale[:, None])
    head.bias.copy_(scale * (head.bias - logits.mean(0)))
