"""From a folder's files to the tokenizer that they describe, and from a tokenizer to files that every supported version of transformers reads alike.

A tokenizer.json is a whole tokenizer, and it is followed as it is: transformers 5 would take the vocabulary out of it and build the normalizer and the rules of
splitting anew, as its class for the family has them, which need not be the file's. Older folders hold a vocabulary alone, and the class says what is done with
it; what sentencepiece made is converted as transformers 4 did.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS, LlamaConverter, SpmConverter, generate_merges, import_protobuf
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

from asdfd.base.errors import InputError
from asdfd.models.loading import reason

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
BESIDE = (TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
"""Files beside the vocabulary that say what its tokens are for."""
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
OLDER_NAMES = {"extra_special_tokens": "additional_special_tokens", "model_specific_special_tokens": "extra_special_tokens"}
"""Names in tokenizer_config.json that only transformers 5 understands, with those that transformers 4 has for the same, which both read."""
OF_THIS_PROCESS = (
    "is_local",
    "local_files_only",
    "backend",
    "tokenizer_file",
    "name_or_path",
    "max_length",
    "stride",
    "truncation_strategy",
    "pad_to_multiple_of",
)
"""What a loaded tokenizer notes of how it was loaded and used, which is not a property of it."""


def load_tokenizer(folder: Path, shown: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a Hugging Face folder. `shown` is what errors call the folder.

    Raises:
        InputError: it is damaged, or needs a package that is not installed.
    """
    try:
        tokenizer = _load(folder)
    except ImportError as error:
        raise InputError(f"{shown}: the tokenizer needs what is not installed ({reason(error, folder, shown)}); {_packages(folder, error)}") from None
    except Exception as error:  # the tokenizers library raises bare Exception for a file that it cannot read
        raise InputError(f"{shown}: the tokenizer cannot be loaded ({reason(error, folder, shown)}); {_remedy(folder)}") from None
    for name in OF_THIS_PROCESS:
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def _load(folder: Path) -> PreTrainedTokenizerBase:
    kind = tokenizer_class(folder)
    if follows_file(folder, kind):
        return _of_file(folder, kind)
    with tempfile.TemporaryDirectory(prefix="asdfd-tokenizer-") as scratch:
        copied = Path(scratch)
        for name in (*needed_files(folder), "config.json"):
            if (folder / name).is_file():
                copy_with_unix_line_ends(folder / name, copied / name)
        if converter := _converter(kind):
            _converted(copied, kind, converter).save(str(copied / TOKENIZER))
            return _of_file(copied, kind)
        return AutoTokenizer.from_pretrained(copied, local_files_only=True, trust_remote_code=False)


def follows_file(folder: Path, kind: type[PreTrainedTokenizerBase]) -> bool:
    """Whether the tokenizer is what tokenizer.json holds. A class that is written in Python never reads that file, in no version of transformers."""
    return (folder / TOKENIZER).is_file() and (issubclass(kind, PreTrainedTokenizerFast) or not vocabulary_files(folder, kind))


def _of_file(folder: Path, kind: type[PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    """What tokenizer.json holds; its special tokens have the roles that the files beside it say, or else those that its class gives to the same tokens."""
    known = set(Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab())
    said = {**_read(folder / "special_tokens_map.json"), **_read(folder / TOKENIZER_CONFIG)}
    roles: dict[str, Any] = {name: token for name, token in _default_tokens(kind).items() if name not in said and token in known}
    inputs: dict[str, Any] = {} if "model_input_names" in said else {"model_input_names": list(kind.model_input_names)}
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **inputs, **roles)


def _converter(kind: type[PreTrainedTokenizerBase]) -> type[SpmConverter] | None:
    """What makes a tokenizer of the sentencepiece model that a class reads; None for a class that reads none."""
    found = SLOW_TO_FAST_CONVERTERS.get(kind.__name__)
    return found if isinstance(found, type) and issubclass(found, SpmConverter) else None


def _converted(folder: Path, kind: type[PreTrainedTokenizerBase], converter: type[SpmConverter]) -> Tokenizer:
    """The tokenizer of a sentencepiece model, as transformers makes one of a tokenizer of this class; the stand-in has of it what the conversion reads."""
    said = _read(folder / TOKENIZER_CONFIG)
    settings = {**_defaults(kind), **said}
    switches = {name: settings.get(name, default) for name, default in (("do_lower_case", False), ("keep_accents", False), ("split_by_punct", False))}
    prefixed = settings.get("add_prefix_space")
    ids: dict[str, int] = {}
    stand_in = SimpleNamespace(
        vocab_file=str(folder / kind.vocab_files_names["vocab_file"]),
        add_prefix_space=True if prefixed is None else prefixed,
        legacy=said.get("legacy") is not False,  # as version 4 took it where nothing is said
        _extra_ids=settings.get("extra_ids", 0),
        convert_tokens_to_ids=lambda token: ids[token],
        convert_ids_to_tokens=lambda index: making.proto.pieces[index].piece,
        **switches,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The sentencepiece tokenizer that you are converting")  # said when a teacher is fetched
        making: Any = converter(stand_in)
    making.SpmExtractor = lambda _: SimpleNamespace(extract=lambda scores: _merges(making.proto, scores))
    ids |= {token: index for index, (token, _) in enumerate(making.vocab(making.proto))}
    made = making.converted()
    if issubclass(converter, LlamaConverter):
        made.post_processor = _frame_of_llama(settings, ids)
    return made


def _frame_of_llama(settings: Mapping[str, Any], ids: Mapping[str, int]) -> processors.TemplateProcessing:
    """What Llama's class puts around a text, which its conversion leaves out: a token at the start where nothing else is said, none at the end."""
    start, end = str(settings["bos_token"]), str(settings["eos_token"])
    before, after = settings.get("add_bos_token", True), settings.get("add_eos_token", False)
    single, second = (
        [*([f"{start}:{kind}"] if before else []), f"${text}:{kind}", *([f"{end}:{kind}"] if after else [])] for text, kind in (("A", 0), ("B", 1))
    )
    used = [token for token, wanted in ((start, before), (end, after)) if wanted]
    return processors.TemplateProcessing(single=single, pair=[*single, *second], special_tokens=[(token, ids[token]) for token in used])


def bytes_unused(folder: Path, kind: type[PreTrainedTokenizerBase]) -> list[str]:
    """Name of the sentencepiece model whose pieces for single bytes the conversion leaves alone, as transformers 4 did; empty where there is none such."""
    converter = _converter(kind)
    if converter is None or converter.handle_byte_fallback:
        return []
    name = kind.vocab_files_names["vocab_file"]
    model: Any = import_protobuf().ModelProto()  # pyright: ignore[reportAttributeAccessIssue]  # made when it is imported
    model.ParseFromString((folder / name).read_bytes())
    return [name] if model.trainer_spec.byte_fallback else []


def _merges(proto: Any, scores: Sequence[tuple[str, float]]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Pieces, and merges by their scores, of a sentencepiece model of the type BPE, as transformers 4 took them; version 5 breaks off at a call of its own."""
    pieces = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    return pieces, generate_merges(pieces, scores)


def tokenizer_class(folder: Path) -> type[PreTrainedTokenizerBase]:
    """The class that the folder names, or else that of its family; the general one where transformers has none of that name."""
    config = _read(folder / "config.json")
    named = (
        _read(folder / TOKENIZER_CONFIG).get("tokenizer_class") or config.get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(config.get("model_type", ""))
    )
    found = next((each for each in map(tokenizer_class_from_name, (str(named).removesuffix("Fast"), str(named))) if each is not None), None)
    return found if found is not None and issubclass(found, PreTrainedTokenizerBase) else PreTrainedTokenizerFast


def needed_files(folder: Path) -> list[str]:
    """Names of the files that the tokenizer is read from; no vocabulary among them where the folder holds none that its class reads."""
    kind = tokenizer_class(folder)
    vocabulary = [TOKENIZER] if follows_file(folder, kind) else vocabulary_files(folder, kind)
    return [*vocabulary, *(name for name in BESIDE if (folder / name).is_file())]


def vocabulary_files(folder: Path, kind: type[PreTrainedTokenizerBase]) -> list[str]:
    """Names of the files other than tokenizer.json that a class reads its vocabulary from; empty where one that it needs is not there."""
    files = {what: name for what, name in kind.vocab_files_names.items() if what != "tokenizer_file" and name}
    found = {what: name for what, name in files.items() if (folder / name).is_file()}
    whole = "vocab_file" in found and ("merges_file" in found or "merges_file" not in files)
    return list(found.values()) if whole or "spm_file" in found else []


def copy_with_unix_line_ends(source: Path, target: Path) -> None:
    """Copy a file; of one that lists tokens in lines, a carriage return at a line's end, which Git and editors of Windows leave, is no part of a token."""
    if source.suffix in (".txt", ".codes"):
        target.write_bytes(source.read_bytes().replace(b"\r\n", b"\n"))
    else:
        shutil.copyfile(source, target)


def python_files(folder: Path) -> dict[str, bytes]:
    """Name and content of a tokenizer's files where its class is written in Python, which no file of one kind holds whole; empty for every other one."""
    kind = tokenizer_class(folder)
    if follows_file(folder, kind) or issubclass(kind, PreTrainedTokenizerFast):
        return {}
    return {name: (folder / name).read_bytes() for name in needed_files(folder)}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, files: Mapping[str, bytes], folder: Path) -> None:
    """Write the tokenizer so that transformers 4 and 5 read the same one; one in Python as its `python_files`.

    The same tokenizer writes the same bytes, whatever was encoded before.
    """
    if files:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        config = {**_read(folder / TOKENIZER_CONFIG), "tokenizer_class": type(tokenizer).__name__, "model_max_length": tokenizer.model_max_length}
    else:
        config = _save_backend(tokenizer, folder)
    config["model_input_names"] = list(tokenizer.model_input_names)
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(dict(sorted(config.items())), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_backend(tokenizer: PreTrainedTokenizerBase, folder: Path) -> dict[str, Any]:
    """Write what the tokenizers library holds, and give the config that belongs beside it."""
    backend: Any = tokenizer.backend_tokenizer
    backend.no_truncation()  # how the last batch was cut and padded would be saved as the tokenizer's own
    backend.no_padding()
    tokenizer.save_pretrained(folder)
    config = {OLDER_NAMES.get(name, name): value for name, value in _read(folder / TOKENIZER_CONFIG).items() if name not in OF_THIS_PROCESS}
    splitting = (json.loads(backend.to_str())["pre_tokenizer"] or {}).get("add_prefix_space")
    prefix = {} if splitting is None else {"add_prefix_space": splitting}  # version 4 would set what is said here, and False where nothing is
    return {**config, **prefix, "tokenizer_class": "PreTrainedTokenizerFast"}  # which both versions take from the file as it is


def _remedy(folder: Path) -> str:
    if (folder / TOKENIZER).is_file():
        return "save it again with save_pretrained"
    return f"in transformers 4.57, AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes {TOKENIZER}, which is followed as it is"


def _packages(folder: Path, error: ImportError) -> str:
    """What to install: what tokenizes Japanese words needs a dictionary as well, which its config names."""
    config = _read(folder / TOKENIZER_CONFIG)
    named = re.search(r"install (?:the )?([A-Za-z][\w-]*)", str(error))
    packages = {"mecab": ["fugashi", str((config.get("mecab_kwargs") or {}).get("mecab_dic") or "ipadic").replace("_", "-")]}
    needed = packages.get(config.get("word_tokenizer_type", ""), [named[1] if named else error.name or "it"])
    return f"pip install {' '.join(needed)}, and name it again"


def _default_tokens(kind: type[PreTrainedTokenizerBase]) -> dict[str, str]:
    defaults = _defaults(kind)
    return {name: defaults[name] for name in NAMED_TOKENS if isinstance(defaults.get(name), str)}


def _defaults(kind: type[PreTrainedTokenizerBase]) -> dict[str, Any]:
    """What a class takes for what nobody says, by name."""
    return {name: parameter.default for name, parameter in inspect.signature(kind.__init__).parameters.items() if parameter.default is not parameter.empty}


def _read(path: Path) -> Mapping[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
