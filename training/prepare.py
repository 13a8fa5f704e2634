"""Turn a folder of books into a tokenizer and two arrays of tokens.

    python training/prepare.py --text DIR --out DIR [--vocab 4096]

DIR holds .txt or .md files, plain or compressed (.xz, .bz2), in any depth. A file holds one book, or several separated by
<|endoftext|>. Every book that shares a passage with public/held-out.txt is held out, then further whole books, chosen by hash.
Output: tokenizer.json and its two companions, train.npy, held_out.npy (uint16, each book closed by <|eos|>), prepared.json.
"""

import argparse
import bz2
import hashlib
import json
import lzma
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SEPARATOR = "<|endoftext|>"
HELD_OUT_TEXT = Path(__file__).parent.parent / "public" / "held-out.txt"
HELD_OUT_SHARE, HELD_OUT_CHARACTERS, LONGEST_HELD_OUT = 0.02, 2_500_000, 700_000
SHORTEST_BOOK = 2000

# ------------------------------------------------------------------------------------------------------- reading


def open_text(path):
    opener = {".xz": lzma.open, ".bz2": bz2.open}.get(path.suffix, open)
    return opener(path, "rt", encoding="utf-8", errors="replace")


def raw_books(folder):
    """Every book of the folder, in a fixed order, one at a time."""
    for path in sorted(Path(folder).rglob("*")):
        if not re.search(r"\.(txt|md)(\.xz|\.bz2)?$", path.name):
            continue
        rest = ""
        with open_text(path) as file:
            while chunk := file.read(1 << 20):
                *books, rest = (rest + chunk).split(SEPARATOR)
                yield from books
        yield rest


# ------------------------------------------------------------------------------------------------------ cleaning

PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u201c\u201d\u201e", '"'),
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\xa0\u2009\u200a\t", " "),
        **dict.fromkeys("\ufeff\u200b\r", ""),
        **dict.fromkeys("\u2014\u2013", "--"),
        "\u2026": "...",
    }
)
MARKUP = [
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),  # links and images: keep their text
    (re.compile(r"<[^>\n]{1,200}>"), " "),  # HTML tags
    (re.compile(r"\\([^\w\s])"), r"\1"),  # escaped punctuation
    (re.compile(r"^[ >#*+]*[#>*+] +", re.M), ""),  # headings, quotations, bullets
    (re.compile(r"\*|(?<!\w)_+|_+(?!\w)"), ""),  # emphasis
    (re.compile(r"^[-=~_ ]{3,}$|^\|.*$", re.M), ""),  # rules and tables
    (re.compile(r"[ ]{2,}"), " "),
]
FRONT_MATTER = re.compile(r"\A.{0,2000}?^\s*-{5,}\s*$", re.M | re.S)


def is_wrapped(lines):
    """True for prose broken at a fixed width, not for verse or a list: long lines, many of which continue in lower case."""
    if len(lines) < 3:
        return False
    typical = sorted(map(len, lines[:-1]))[len(lines) // 2 - 1]
    return 50 <= typical <= 90 and sum(line[0].islower() for line in lines[1:]) >= 0.4 * (len(lines) - 1)


def clean(text):
    """Plain punctuation, no markup, one line per paragraph, an empty line between paragraphs."""
    text = FRONT_MATTER.sub("", text, count=1).translate(PLAIN)
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.split("\n") if line.strip()]
        if lines:
            paragraphs.append((" " if is_wrapped(lines) else "\n").join(lines))
    return "\n\n".join(paragraphs)


# ----------------------------------------------------------------------------------------------------- holding out

NOT_LETTERS = bytes(set(range(256)) - set(b"abcdefghijklmnopqrstuvwxyz"))


def letters(text):
    """Only the letters, in lower case: the same for every edition of a sentence."""
    return text.lower().encode().translate(None, NOT_LETTERS)


def fingerprints(passages):
    """Three runs of 48 letters from each passage."""
    found = []
    for passage in map(letters, passages):
        found += [passage[start : start + 48] for start in (0, len(passage) // 2, len(passage) - 48)]
    return found


HELD_OUT = fingerprints(HELD_OUT_TEXT.read_text().strip().split("\n\n"))


def prepare_book(raw):
    """The cleaned text, and True if it shares a passage with the held-out text."""
    text = clean(raw)
    bare = letters(text)
    return text, any(mark in bare for mark in HELD_OUT)


def split_books(books):
    """Books that share a passage with the held-out text are never trained on; then whole books by hash, up to a budget."""
    held_out = [text for text, shared in books if shared]
    others = [text for text, shared in books if not shared]
    budget = min(HELD_OUT_CHARACTERS, HELD_OUT_SHARE * sum(map(len, others))) - sum(map(len, held_out))
    chosen = set()
    for text in sorted(others, key=lambda text: hashlib.sha256(text.encode()).digest()):
        if budget <= 0:
            break
        if len(text) <= LONGEST_HELD_OUT:
            chosen.add(text)
            budget -= len(text)
    return [text for text in others if text not in chosen], held_out + sorted(chosen)


# ------------------------------------------------------------------------------------------------------ tokenising


def train_tokenizer(texts, vocab_size):
    """Byte-level BPE, digits apart, <|bos|> = 0 put before every text, <|eos|> = 1. Learned on an eighth of every book."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|bos|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = (text[len(text) // 2 :][: max(SHORTEST_BOOK, len(text) // 8)] for text in texts)
    tokenizer.train_from_iterator(sample, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", 0)]
    )
    return tokenizer


def save_tokenizer(tokenizer, out, context):
    tokenizer.save(str(out / "tokenizer.json"))
    names = {"bos_token": "<|bos|>", "eos_token": "<|eos|>"}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "model_max_length": context}
    about |= {"clean_up_tokenization_spaces": False, "add_bos_token": True}
    (out / "special_tokens_map.json").write_text(json.dumps(names, indent=2) + "\n")
    (out / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")


def encode(tokenizer, texts):
    parts = []
    for start in range(0, len(texts), 32):
        for book in tokenizer.encode_batch_fast(texts[start : start + 32], add_special_tokens=False):
            parts.append(np.array(book.ids + [1], dtype=np.uint16))
    return np.concatenate(parts)


def prepare(text_folder, out, vocab_size=4096, context=512):
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        books = [book for book in pool.map(prepare_book, raw_books(text_folder), chunksize=4)]
    books = [book for book in books if len(book[0]) >= SHORTEST_BOOK]
    train, held_out = split_books(books)
    if not train or not held_out:
        raise SystemExit(f"{text_folder}: at least two books of {SHORTEST_BOOK} characters are needed, found {len(books)}")
    tokenizer = train_tokenizer(train, vocab_size)
    save_tokenizer(tokenizer, out, context)
    counts = {"vocabulary": tokenizer.get_vocab_size(), "books": len(train), "held_out_books": len(held_out)}
    for name, texts in (("train", train), ("held_out", held_out)):
        tokens = encode(tokenizer, texts)
        np.save(out / f"{name}.npy", tokens)
        counts |= {f"{name}_characters": sum(map(len, texts)), f"{name}_tokens": len(tokens)}
    (out / "prepared.json").write_text(json.dumps(counts, indent=2) + "\n")
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="folder of books")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--vocab", type=int, default=4096)
    options = parser.parse_args()
    print(json.dumps(prepare(options.text, options.out, options.vocab), indent=2))
