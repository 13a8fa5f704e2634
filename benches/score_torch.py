"""Scores every feed-forward channel of a model with PyTorch, like `linchpin score`, and prints the time that it took.

    python benches/score_torch.py MODEL [--sequences 64] [--length 512] [--dtype float32] [--compare linchpin.json]

MODEL is a Hugging Face folder. The text is public/calibration.txt in the same windows, the sums are float32 on the device
within a sequence and float64 between sequences, and only the inputs of `down_proj` are kept: weights have no gradients.
The authors run their models with `--dtype bfloat16`; Linchpin computes in `float32`. `--compare` takes the output of
`linchpin score --json`, and prints the distance of the loss proxies from it. The time is that of the sequences, after one
for warming up, without loading.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

TEXT = Path(__file__).parent / "../public/calibration.txt"


def windows(folder, n, length):
    """Windows of the text in Linchpin's order: in steps of about 0.618 of their number."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = TEXT.read_text().strip()
    ids, plain = tokenizer.encode(text).ids, tokenizer.encode(text, add_special_tokens=False).ids
    before = ids[: len(ids) - len(plain)]
    room = length - len(before)
    cut = [before + plain[i : i + room] for i in range(0, len(plain) - room + 1, room)]
    step = next((s for s in range(max(1, round(0.618 * len(cut))), len(cut) + 1) if math.gcd(s, len(cut)) == 1), 1)
    return [cut[i * step % len(cut)] for i in range(min(n, len(cut)))]


class Scores:
    """Sums over tokens for the scores, taken where the backward pass crosses each layer."""

    def __init__(self, model):
        self.sums = [None] * len(model.model.layers)
        for layer, block in enumerate(model.model.layers):
            block.mlp.down_proj.register_forward_pre_hook(lambda _, args, layer=layer: self.keep(layer, args[0]))
        # Weights have no gradients, so the graph begins at the embeddings.
        model.model.embed_tokens.register_forward_hook(lambda _, __, out: out.requires_grad_(True))

    def keep(self, layer, u):
        # Detached, because a hook that held u itself would keep its whole graph alive.
        value = u.detach()
        u.register_hook(lambda grad: self.add(layer, value[0].float(), grad[0].float()))

    def add(self, layer, u, grad):
        product = u * grad
        rows = [u.sum(0), (u * u).sum(0), u.abs().amax(0), (grad * grad).sum(0), product.abs().sum(0), (product * product).sum(0)]
        added = torch.stack(rows).double()
        kept = self.sums[layer]
        if kept is not None:
            peak = torch.maximum(kept[2], added[2])
            added += kept
            added[2] = peak
        self.sums[layer] = added


def score(model, scores, sequences, device):
    loss = torch.zeros((), dtype=torch.float64, device=device)
    for ids in sequences:
        ids = torch.tensor([ids], device=device)
        logits = model(ids, use_cache=False).logits[0, :-1]
        mean = torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:])
        mean.backward()
        loss += mean.detach()
    return loss.item() / len(sequences)


def compare(proxies, path):
    """The largest distance of a loss proxy from Linchpin's, relative to the layer's root mean square; and the number of equal cores."""
    report = json.loads(path.read_text())["scores"]
    worst, same = 0.0, 0
    for ours, theirs in zip(proxies, report["channels"]):
        theirs = torch.tensor(theirs["loss_proxy"], dtype=torch.float64)
        worst = max(worst, ((ours - theirs).abs().max() / theirs.pow(2).mean().sqrt()).item())
        size = max(1, int(0.01 * len(theirs)))
        same += set(ours.topk(size).indices.tolist()) == set(theirs.topk(size).indices.tolist())
    return {"worst_of_rms": worst, "same_cores": f"{same} of {len(proxies)}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compare", type=Path)
    args = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval().requires_grad_(False).to(args.device)
    sequences = windows(args.model, args.sequences, args.length)
    score(model, Scores(model), sequences[:1], args.device)
    for block in model.model.layers:
        block.mlp.down_proj._forward_pre_hooks.clear()
    model.model.embed_tokens._forward_hooks.clear()
    scores, sync = Scores(model), torch.cuda.synchronize if args.device == "cuda" else lambda: None
    sync()
    started = time.perf_counter()
    loss = score(model, scores, sequences, args.device)
    sync()
    seconds = time.perf_counter() - started
    n_tokens = sum(map(len, sequences))
    proxies = [(0.5 * sums[5] / n_tokens).cpu() for sums in scores.sums]
    said = dict(dtype=args.dtype, seconds=round(seconds, 3), n_tokens=n_tokens, loss_nats=loss, torch=torch.__version__)
    if args.device == "cuda":
        said |= dict(device=torch.cuda.get_device_name(), peak_bytes=torch.cuda.max_memory_allocated())
    if args.compare:
        said |= compare(proxies, args.compare)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
