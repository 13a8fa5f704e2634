"""Writes `reference.json` into a model's folder: the results of transformers in float32 for a short prompt.

    python reference.py ../../public/models/linchpin-13m

The engine checks it whenever it loads the model, so that a device with other results is detected before
anything is shown.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

PROMPT = "It was a dark evening, and the old man"


@torch.no_grad()
def reference(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(PROMPT).ids
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    top = logits.topk(2, dim=-1)
    last = logits[-1].topk(8)
    return {
        "input_ids": ids,
        "top1": top.indices[:, 0].tolist(),
        "margins": [round(margin, 4) for margin in (top.values[:, 0] - top.values[:, 1]).tolist()],
        "last_logits": [[index, round(value, 5)] for index, value in zip(last.indices.tolist(), last.values.tolist())],
    }


for argument in sys.argv[1:]:
    path = Path(argument)
    (path / "reference.json").write_text(json.dumps(reference(path)) + "\n")
