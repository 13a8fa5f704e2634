"""Writes the values that Hugging Face transformers computes with the bundled models, in float32 on the CPU.

    python linchpin.py --models ../../public/models [--text ../../public/held-out.txt] [--out linchpin.json]

Greedy decoding is done by hand: `generate` would mask position 0 if pad_token_id equals bos_token_id, and
these models collapse without their BOS.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.utils import logging

PROMPT = "It was a dark evening, and the old man"
NEW_TOKENS, TOP = 40, 8
# The held-out text is scored as described in public/held-out.md.
PASSAGE_TOKENS = 128
# The scalar that the spikes of each model point at: layer, row (residual channel), column (feed-forward channel).
SCALARS = {"linchpin-13m": (2, 12, 86), "linchpin-11m-twin": (0, 162, 150)}


@torch.no_grad()
def logits_of(model, ids):
    return model(ids[None], use_cache=False).logits[0]


def greedy(model, ids):
    new, margin = [], float("inf")
    for _ in range(NEW_TOKENS):
        top = logits_of(model, ids)[-1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        new.append(top.indices[0].item())
        ids = torch.cat([ids, top.indices[:1]])
    return new, margin


def spikes(model, ids):
    """The largest magnitude of each layer's `down_proj` input and output: token, channel, signed value."""
    found = {"input": [], "output": []}

    def keep(site, layer, value):
        token, channel = divmod(value[0].abs().argmax().item(), value.shape[-1])
        found[site].append(dict(layer=layer, token=token, channel=channel, value=value[0, token, channel].item()))

    def hook(layer):
        def keep_both(_, args, out):
            keep("input", layer, args[0])
            keep("output", layer, out)

        return keep_both

    layers = enumerate(model.model.layers)
    handles = [layer.mlp.down_proj.register_forward_hook(hook(index)) for index, layer in layers]
    logits_of(model, ids)
    for handle in handles:
        handle.remove()
    return found


def held_out_loss(model, windows):
    total = count = 0
    for ids in windows:
        loss = torch.nn.functional.cross_entropy(logits_of(model, ids)[:-1], ids[1:], reduction="sum")
        total, count = total + loss.item(), count + len(ids) - 1
    return total / count


def ablations(model, at, windows):
    """Loss intact, with the scalar zeroed, and with its whole feed-forward channel (column, gate and up row) zeroed."""
    layer, row, col = at
    mlp, result = model.model.layers[layer].mlp, {}
    result["loss_intact"] = held_out_loss(model, windows)
    down, gate, up = mlp.down_proj.weight.data, mlp.gate_proj.weight.data, mlp.up_proj.weight.data
    kept = down[:, col].clone(), gate[col].clone(), up[col].clone()
    down[row, col] = 0
    result["loss_scalar_zeroed"] = held_out_loss(model, windows)
    down[:, col], gate[col], up[col] = 0, 0, 0
    result["loss_channel_zeroed"] = held_out_loss(model, windows)
    down[:, col], gate[col], up[col] = kept
    return result


def describe(folder, text):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    layer, row, col = at = SCALARS[folder.name]
    ids = torch.tensor(tokenizer.encode(PROMPT).ids)
    assert ids[0] == model.config.bos_token_id
    logits = logits_of(model, ids)
    top = logits[-1].topk(TOP)
    new, margin = greedy(model, ids)
    result = dict(
        model_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        ids=ids.tolist(),
        top1=logits.argmax(-1).tolist(),
        last_top=[dict(id=i.item(), logit=v.item()) for i, v in zip(top.indices, top.values)],
        greedy_ids=new,
        greedy_text=tokenizer.decode(new),
        smallest_greedy_margin=margin,
        spikes=spikes(model, ids),
        scalar=dict(layer=layer, row=row, col=col, weight=model.model.layers[layer].mlp.down_proj.weight[row, col].item()),
    )
    if text:
        passages = [passage.strip() for passage in text.split("\n\n") if passage.strip()]
        windows = [torch.tensor(tokenizer.encode(passage).ids[:PASSAGE_TOKENS]) for passage in passages]
        convention = f"passages between empty lines, BOS before each, first {PASSAGE_TOKENS} tokens, mean over predicted tokens"
        counts = dict(n_passages=len(windows), n_predicted=sum(len(ids) - 1 for ids in windows))
        result["held_out"] = dict(convention=convention, **counts, **ablations(model, at, windows))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="the folder that holds " + ", ".join(SCALARS))
    parser.add_argument("--text", type=Path, help="held-out text; without it (or without the file) that part is left out")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    text = args.text.read_text(encoding="utf-8") if args.text and args.text.exists() else None
    result = dict(prompt=PROMPT, models={name: describe(args.models / name, text) for name in SCALARS})
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, facts in result["models"].items():
        print(name, repr(facts["greedy_text"]), facts.get("held_out", "no held-out text"))


if __name__ == "__main__":
    main()
