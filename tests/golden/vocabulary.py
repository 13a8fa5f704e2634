"""Writes loss proxies of models with real vocabularies and a massive activation, computed by PyTorch autograd in float64.

    pip install -r ../fixtures/requirements.txt && python vocabulary.py [--out vocabulary.json]

The models are small Llamas whose weights are computed, here and in tests/vocabulary.rs, instead of stored: a table of 262,144 rows
is too large for a repository. Scalar number `i` of a tensor is `(h >> 40) / 2^24 - 1/2`, times the tensor's scale, where `h` is
SplitMix64 of `i` plus the FNV-1a hash of the tensor's name; all of it is exact in float32. Then the row of the first token in
the embeddings becomes four times as large, and one channel of layer 1 is made to answer to it: its rows of gate_proj and up_proj become that
row times 8 and 6 over its norm, and one of its weights in down_proj becomes 40. So a single activation of the residual stream is
about ten thousand times larger than all others, as in real models, and gradients through the norms nearly cancel there.

For every size, the file has the loss and the loss proxies, and the largest distance of float32 PyTorch's loss proxies from
them, in units of a layer's root mean square.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARIES = [49_152, 151_936, 262_144]
SIZES = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2)
LAYER, ROW, COL, LENGTH = 1, 5, 17, 48


def hashed(name, n):
    """Numbers in [-1/2, 1/2) for a tensor's scalars."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint64) + np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5


def scale(name):
    return 1.0 if name == "model.embed_tokens.weight" else 0.5


def model_of(vocab_size):
    config = LlamaConfig(**SIZES, vocab_size=vocab_size, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10_000.0, tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.fill_(1.0)
            else:
                values = (hashed(name, weight.numel()) * scale(name)).astype(np.float32)
                weight.copy_(torch.from_numpy(values).view(weight.shape))
        first = model.model.embed_tokens.weight[1]
        first *= 4.0
        mlp = model.model.layers[LAYER].mlp
        direction = (first.double() / first.double().norm()).float()
        mlp.gate_proj.weight[COL] = 8.0 * direction
        mlp.up_proj.weight[COL] = 6.0 * direction
        mlp.down_proj.weight[ROW, COL] = 40.0
    return model


def ids_of(vocab_size):
    return [1] + [3 + int((value + 0.5) * (vocab_size - 3)) for value in hashed("ids", LENGTH - 1)]


def proxies(model, ids):
    kept = []

    def keep(_, args):
        args[0].retain_grad()
        kept.append(args[0])

    handles = [layer.mlp.down_proj.register_forward_pre_hook(keep) for layer in model.model.layers]
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    model.zero_grad()
    loss.backward()
    return loss.item(), [0.5 * ((u.detach() * u.grad)[0].double() ** 2).mean(0) for u in kept], max(u.abs().max().item() for u in kept)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "vocabulary.json")
    found = {}
    out = parser.parse_args().out
    for vocab_size in VOCABULARIES:
        model, ids = model_of(vocab_size), ids_of(vocab_size)
        _, single, _ = proxies(model, ids)
        loss, exact, largest = proxies(model.double(), ids)
        apart = max(((a - b).abs().max() / (b**2).mean().sqrt()).item() for a, b in zip(single, exact))
        found[vocab_size] = dict(
            loss_nats=loss, float32_error=float(f"{apart:.2e}"), loss_proxy=[[float(f"{value:.7e}") for value in layer.tolist()] for layer in exact]
        )
        print(f"{vocab_size:7}: loss {loss:.6f}, largest activation {largest:.0f}, float32 within {apart:.1e} of a layer's rms")
    out.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
