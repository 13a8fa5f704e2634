"""Writes the scores of feed-forward channels computed by PyTorch autograd, in float32 on the CPU.

    pip install -r ../fixtures/requirements.txt && python scores.py [--out scores.json]

`u` is the input of `down_proj` (GPT-2: the input of `mlp.c_proj`), `s` the gradient of the mean next-token cross-entropy of one
sequence with regard to `u`. Per channel, over all tokens of all sequences (including the last of each, whose gradient is 0):

    mean_activation = mean u        activation_power = mean u^2     peak_activation = max |u|
    curvature = mean s^2            taylor = mean |u s|             loss_proxy = 1/2 mean (u s)^2
    variance = mean (u - mean u)^2
    down_norm = |down_proj.weight[:, i]|     gate_norm, up_norm = |gate_proj.weight[i]|, |up_proj.weight[i]|  (GPT-2: c_fc)
    wanda = sum_j (|gate_proj.weight[i, j]| + |up_proj.weight[i, j]|) X_j + sum_h |down_proj.weight[h, i]| U_i,
        X_j = sqrt(mean over sequences of sum over tokens of x_j^2), U_i of u likewise, x the input of gate_proj and up_proj
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.utils import logging

HERE = Path(__file__).parent
FIXTURES, BUNDLED = HERE / "../fixtures", HERE / "../../public/models"
# bf16 weights, and a super weight in layer 2; not all of its layers, to keep the file small.
MODELS = {FIXTURES / "llama": None, FIXTURES / "qwen3": None, FIXTURES / "gpt2": None, BUNDLED / "linchpin-13m": [0, 1, 2, 3, 10, 19]}
SEQUENCES, LENGTH, DIGITS = 3, 32, 6


def sequences_of(folder):
    """The beginnings of some paragraphs of the calibration text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    paragraphs = [text for text in (HERE / "../../public/calibration.txt").read_text().split("\n\n") if len(text) > 300]
    chosen = paragraphs[:: len(paragraphs) // SEQUENCES][:SEQUENCES]
    return [tokenizer.encode(text).ids[:LENGTH] for text in chosen]


def blocks(model):
    """For every layer: the down projection, a module that reads the block's input, and all weights as [out, in]."""
    if hasattr(model, "transformer"):
        for block in model.transformer.h:
            yield block.mlp.c_proj, block.mlp.c_fc, dict(down=block.mlp.c_proj.weight.T, up=block.mlp.c_fc.weight.T)
    else:
        for block in model.model.layers:
            mlp = block.mlp
            yield mlp.down_proj, mlp.up_proj, dict(down=mlp.down_proj.weight, gate=mlp.gate_proj.weight, up=mlp.up_proj.weight)


def one_pass(model, ids):
    """The loss, and (u, s, x) of every layer, the first two [seq, intermediate_size], the last [seq, hidden_size]."""
    kept, inputs = [], []

    def keep(_, args):
        args[0].retain_grad()
        kept.append(args[0])

    handles = [down.register_forward_pre_hook(keep) for down, _, _ in blocks(model)]
    handles += [up.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for _, up, _ in blocks(model)]
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    model.zero_grad()
    loss.backward()
    return loss.item(), [(u.detach()[0].double(), u.grad[0].double(), x.detach()[0].double()) for u, x in zip(kept, inputs)]


def wanda(layer, passes, weights):
    """See the module's head; `weights` are [out, in]."""
    norms = lambda at: sum((each[layer][at] ** 2).sum(0) for _, each in passes).div(len(passes)).sqrt()
    magnitudes = {name: weight.detach().double().abs() for name, weight in weights.items()}
    reads = sum(magnitude @ norms(2) for name, magnitude in magnitudes.items() if name != "down")
    return reads + magnitudes["down"].sum(0) * norms(0)


def scores(model, sequences, wanted):
    passes = [one_pass(model, ids) for ids in sequences]
    layers = {}
    for layer, (_, _, weights) in enumerate(blocks(model)):
        if wanted and layer not in wanted:
            continue
        u = torch.cat([each[layer][0] for _, each in passes])
        s = torch.cat([each[layer][1] for _, each in passes])
        found = dict(
            mean_activation=u.mean(0), activation_power=(u**2).mean(0), variance=u.var(0, unbiased=False),
            peak_activation=u.abs().amax(0),
            curvature=(s**2).mean(0), taylor=(u * s).abs().mean(0), loss_proxy=0.5 * ((u * s) ** 2).mean(0),
            wanda=wanda(layer, passes, weights),
        )  # fmt: skip
        for name, weight in weights.items():
            found[f"{name}_norm"] = weight.detach().double().norm(dim=0 if name == "down" else 1)
        layers[layer] = {name: [float(f"{x:.{DIGITS}g}") for x in value.tolist()] for name, value in found.items()}
    return dict(loss_nats=sum(loss for loss, _ in passes) / len(passes), sequences=sequences, layers=layers)


def describe(folder, wanted):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return scores(model, sequences_of(folder), wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    found = {folder.name: describe(folder, wanted) for folder, wanted in MODELS.items()}
    args.out.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    for name, facts in found.items():
        shares = [max(layer["loss_proxy"]) / sum(layer["loss_proxy"]) for layer in facts["layers"].values()]
        print(f"{name}: {facts['loss_nats']:.5f} nats; largest channel's share of each layer's loss proxy",
              " ".join(f"{share:.3f}" for share in shares))  # fmt: skip


if __name__ == "__main__":
    main()
