"""Text as a condition: strings to tokens, by a tokenizer that is part of the condition."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..settings import LATER, Whole, brief
from .base import Drop, Kind
from .features import Features
from .kinds import Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPARE = 4  # tokens beyond the longest text that a length is fitted to
MOST = 256  # tokens that are fitted at most


@dataclass(frozen=True)
class Text(Tokens):
    """Text of up to `length` tokens: strings, or int64 (B, L), -1 beyond the end; the empty text is a missing one.

    Arguments:
        length, vocabulary, layers: as `Tokens` has them.
        tokenizer: the JSON text of a tokenizer of the `tokenizers` package, plain data.

    Raises:
        InputError: the tokenizer cannot be read, or has more tokens than the vocabulary.
    """

    layers: Annotated[Whole, LATER] = 2
    tokenizer: str = field(default="", repr=False)  # of 20 kB, or more

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            held = json.loads(self.tokenizer)["model"]["vocab"]
        except (ValueError, KeyError, TypeError) as error:
            words = f"tokenizer={brief(self.tokenizer)}: give the text of a tokenizer.json, or make one by Text.fitted"
            raise InputError(words, "tokenizer") from error
        if len(held) > self.vocabulary:
            raise InputError(f"vocabulary={self.vocabulary}: the tokenizer has {len(held)} tokens", "vocabulary")

    @classmethod
    def fitted(cls, texts: Iterable[str], vocabulary: int = 1024, length: int | None = None, drop: Drop = 0.1) -> Text:
        """The kind whose tokens are byte pairs, fitted to texts (Sennrich, Haddow, Birch, 2015, arXiv 1508.07909).

        They are made of bytes: any text has tokens, and they give it back.

        Arguments:
            texts: what it is fitted to.
            vocabulary: the most tokens that it may have, 256 at least.
            length: the most tokens of a text; None: 4 more than the longest of these has, up to 256.
            drop: as every kind has it.

        Returns:
            A `Text`.

        Raises:
            InputError: the package `tokenizers` is not installed; there is no text.
        """
        package = _package()
        texts = [text for text in texts if text and not text.isspace()]
        if not texts:
            raise InputError("there is no text to fit a tokenizer to", "tokenizer")
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.normalizer = package.normalizers.NFC()
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = package.decoders.ByteLevel()
        alphabet = package.pre_tokenizers.ByteLevel.alphabet()
        trainer = package.trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        longest = max(len(found.ids) for found in tokenizer.encode_batch(texts))
        size = tokenizer.get_vocab_size()
        return cls(length or min(longest + SPARE, MOST), size, drop, tokenizer=tokenizer.to_str())

    def rows(self, name, value, n):
        if isinstance(value, str):
            value = self.encode([value], name)
        elif isinstance(value, Sequence | np.ndarray) and len(value) and all(isinstance(v, str | None) for v in value):
            value = self.encode([v or "" for v in value], name)
        return super().rows(name, value, n)

    def encode(self, texts: Sequence[str], name: str = "text") -> Tensor:
        """The tokens of texts, int64 (n, length), -1 beyond the end.

        What is too long is cut, with a warning that has the condition's `name`.

        Raises:
            InputError: the package `tokenizers` is not installed.
        """
        texts = ["" if text.isspace() else text for text in texts]
        found = [one.ids for one in _tokenizer(self.tokenizer).encode_batch(texts)]
        long = [i for i, ids in enumerate(found) if len(ids) > self.length]
        if long:
            words = f"condition {name}={brief(texts[long[0]])} has {len(found[long[0]])} tokens: cut to {self.length}"
            more = f", and {len(long) - 1} more" * (len(long) > 1)
            warnings.warn(words + more, stacklevel=2)
        rows = np.full((len(found), self.length), -1, dtype=np.int64)
        for row, ids in zip(rows, found, strict=True):
            row[: len(ids)] = ids[: self.length]
        return torch.from_numpy(rows)

    def decode(self, rows: Tensor) -> list[str]:
        """The texts of tokens, `rows` (n, length); that of a missing row is empty."""
        tokenizer = _tokenizer(self.tokenizer)
        return [tokenizer.decode([i for i in row if i >= 0]).removeprefix(" ") for row in rows.tolist()]

    def fits(self, other: Kind) -> bool:
        """Whether the `other` has the same tokenizer too."""
        return super().fits(other) and isinstance(other, Text) and self.tokenizer == other.tokenizer

    def words(self, n: int) -> str:
        return f"a text or {n}, or {super().words(n)}"


def retold(rows: Tensor, kind: Kind, other: Kind, name: str = "text") -> Tensor:
    """Rows of one kind as rows of another that says the same: of texts, by the other's own tokens or frozen encoder.

    Arguments:
        rows: (n, ...), checked.
        kind: what they are of.
        other: what they become.
        name: of the condition, for errors.

    Returns:
        (n, ...).

    Raises:
        InputError: kinds that do not say the same.
    """
    same = type(kind) is type(other) and kind.missing(1).shape == other.missing(1).shape
    words = _words(kind), _words(other)
    if same and words[0] == words[1]:
        return rows
    if None in words:
        raise InputError(f"condition {name} is {type(kind).__name__} here and {type(other).__name__} there", name)
    with warnings.catch_warnings():
        if isinstance(other, Features):  # which is as short as it was asked to be
            warnings.simplefilter("ignore")
        found = other.encode(kind.decode(rows), name).to(rows.device)
    gone = kind.absent(rows).reshape(-1, *[1] * (found.ndim - 1))
    return torch.where(gone, other.missing(1, rows.device), found)


def takes_words(kind: Kind) -> bool:
    """Whether a condition of this kind may be given as texts: it has a tokenizer or a frozen encoder."""
    return isinstance(kind, Text) or (isinstance(kind, Features) and bool(kind.encoder))


def _words(kind: Kind) -> str | None:
    """What makes rows of texts, a tokenizer or the weights of an encoder; None of what is no text."""
    if isinstance(kind, Text):
        return kind.tokenizer
    return kind.weights or kind.encoder or None if isinstance(kind, Features) else None


def _package() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise InputError("text needs the package tokenizers: pip install tokenizers") from error
    return tokenizers


@functools.lru_cache(maxsize=8)
def _tokenizer(text: str) -> Tokenizer:
    """The tokenizer of a JSON text."""
    package = _package()
    try:
        return package.Tokenizer.from_str(text)
    except Exception as error:  # whatever it raises is a plain Exception
        raise InputError(f"tokenizer={brief(text)} cannot be read ({error})", "tokenizer") from error
