"""Writes the loss of the trained 260,032-parameter TinyStories model, computed by Hugging Face transformers.

    python stories260k.py --model DIR --text FILE [--out stories260k.json]

DIR holds karpathy/tinyllamas' stories260K as config.json, model.safetensors and tokenizer.json; FILE is a list of
TinyStories without separators. Download both to run the check; neither is part of this repository.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

STORIES, MAX_TOKENS = 24, 256
# The file runs one story into the next ("... every day after that.One day, ..."): a story ends where a full stop,
# question or exclamation mark is followed by a capital letter without a space.
STORY_END = r"(?<=[.!?])(?=[A-Z])"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    torch.set_num_threads(1)

    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    stories, total, predicted = [], 0.0, 0
    for text in re.split(STORY_END, args.text.read_text(encoding="utf-8"))[:STORIES]:
        ids = torch.tensor(tokenizer.encode(text).ids[:MAX_TOKENS])
        assert ids[0] == model.config.bos_token_id
        with torch.no_grad():
            logits = model(ids[None], use_cache=False).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="sum").item()
        stories.append(dict(n_tokens=len(ids), loss_nats=loss / (len(ids) - 1)))
        total, predicted = total + loss, predicted + len(ids) - 1
    result = dict(
        convention=f"first {STORIES} stories, BOS before each, first {MAX_TOKENS} tokens of each, mean over predicted tokens",
        model_sha256=hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest(),
        story_end=STORY_END, n_predicted=predicted, loss_nats=total / predicted, stories=stories,
    )  # fmt: skip
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{total / predicted:.6f} nats a token over {predicted} tokens")


if __name__ == "__main__":
    main()
