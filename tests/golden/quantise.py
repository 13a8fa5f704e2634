"""Writes the results of simulated quantisation with PyTorch and Hugging Face transformers, in float32 on the CPU.

    python quantise.py --models ../../public/models --fixtures ../fixtures [--out quantise.json]

Written from the formulas alone: asymmetric rounding to the nearest of 2^bits values, in blocks of weights (as stored), and
per tensor and per token of both factors of every product except the output projection's and the head's.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.llama import modeling_llama
from transformers.utils import logging

# Layer, row, column of the scalars that are held out, and the lengths of the measured texts.
SOME = [(1, 5, 17), (1, 6, 17), (0, 5, 40)]
MODELS = {"linchpin-13m": [(2, 12, 86)], "gpt2": SOME, "llama3": SOME}
ALPHA = 0.85
LAYERS, TOKENS = [0, 2], [0, 1, 7, 30]
BITS = 8
WEIGHT_ROUNDINGS = [
    (bits, block, method)
    for bits in (8, 4, 3)
    for block in (64, 1000, 4096, 0)
    for method in ("nearest", "held_out", 3.0, 9.0)
]


def rounded(x, bits):
    """Rows of x."""
    low, high = x.min(-1, keepdim=True).values, x.max(-1, keepdim=True).values
    step = (high - low) / (2**bits - 1)
    return torch.where(step > 0, torch.round((x - low) / torch.where(step > 0, step, 1)) * step + low, x)


def rounded_weight(weight, bits, block, method, held):
    """The median of the others replaces the held-out values; the flat order is that of the file."""
    flat = weight.flatten().clone()
    blocks = [flat] if block == 0 else list(flat.split(block))
    start, out = 0, []
    for part in blocks:
        own = [index - start for index in held if start <= index < start + len(part)]
        kept = part[own].clone()
        if method == "held_out" and own:
            others = torch.ones(len(part), dtype=torch.bool)
            others[own] = False
            part = part.clone()
            part[own] = part[others].median()
        elif isinstance(method, float):
            bound = part.abs().mean() + method * part.abs().std()
            part = part.clamp(-bound, bound)
        new = rounded(part[None], bits)[0]
        if method != "nearest":
            new[own] = kept
        out.append(new)
        start += len(part)
    return torch.cat(out).reshape(weight.shape)


class Llama:
    eager = modeling_llama

    def __init__(self, model):
        self.layers = model.model.layers

    def attention(self, layer):
        return [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]

    def mlp(self, layer):
        return [layer.mlp.gate_proj, layer.mlp.up_proj]

    def output(self, layer):
        return layer.self_attn.o_proj

    def down(self, layer):
        return layer.mlp.down_proj

    def flat(self, layer, row, col):
        return row * self.down(self.layers[layer]).weight.shape[1] + col

    # Per input channel.
    def largest(self, linear):
        return linear.weight.abs().max(0).values

    def times(self, linear, scale):
        return linear.weight * scale


class Gpt2(Llama):
    eager = modeling_gpt2

    def __init__(self, model):
        self.layers = model.transformer.h

    def attention(self, layer):
        return [layer.attn.c_attn]

    def mlp(self, layer):
        return [layer.mlp.c_fc]

    def output(self, layer):
        return layer.attn.c_proj

    def down(self, layer):
        return layer.mlp.c_proj

    def flat(self, layer, row, col):
        return col * self.down(self.layers[layer]).weight.shape[1] + row

    def largest(self, linear):
        return linear.weight.abs().max(1).values

    def times(self, linear, scale):
        return linear.weight * scale[:, None]


@torch.no_grad()
def loss(model, passages):
    total = count = 0
    for ids in passages:
        logits = model(torch.tensor(ids[:-1])[None], use_cache=False).logits[0]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum").item()
        count += len(ids) - 1
    return total / count


class Changed:
    """Weights put back and hooks taken off at the end."""

    def __init__(self, parts):
        self.parts, self.kept, self.handles, self.eager = parts, [], [], parts.eager.eager_attention_forward

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for linear, weight in self.kept:
            linear.weight.data = weight
        for handle in self.handles:
            handle.remove()
        self.parts.eager.eager_attention_forward = self.eager

    def weight(self, linear, new):
        self.kept.append((linear, linear.weight.data))
        linear.weight.data = new

    def input(self, linear, change):
        self.handles.append(linear.register_forward_pre_hook(lambda _, args: (change(args[0]),) + args[1:]))

    def round_attention(self, bits):
        def attention(module, query, key, value, mask, scaling=None, **_):
            def by_token(x):
                heads, dim = x.shape[1], x.shape[3]
                return rounded(x.transpose(1, 2).flatten(2), bits).unflatten(2, (heads, dim)).transpose(1, 2)

            query, key, value = by_token(query), by_token(key), by_token(value)
            share = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
            scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
            scores = query @ key.transpose(2, 3) * scaling
            n = scores.shape[-1]
            scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
            weights = rounded(scores.softmax(-1), bits)
            return (weights @ value).transpose(1, 2).contiguous(), weights

        self.parts.eager.eager_attention_forward = attention


def weights_rounded(model, parts, at, passages, which):
    bits, block, method = which
    squares, n, samples = 0.0, 0, {}
    with Changed(parts) as changed:
        for index, layer in enumerate(parts.layers):
            linears = parts.attention(layer) + [parts.output(layer)] + parts.mlp(layer) + [parts.down(layer)]
            for linear in linears:
                own = [parts.flat(*where) for where in at if linear is parts.down(layer) and where[0] == index]
                old = linear.weight.data
                new = rounded_weight(old, bits, block, method, own)
                changed.weight(linear, new)
                squares, n = squares + (new - old).double().square().sum().item(), n + new.numel()
        first = parts.down(parts.layers[at[0][0]]).weight.flatten()
        samples = first[:: max(1, first.numel() // 12)][:12].tolist()
        return dict(
            bits=bits,
            block_size=block,
            method=method,
            mean_squared_error=squares / n,
            down_proj_values=samples,
            held_value=first[parts.flat(*at[0])].item(),
            loss=loss(model, passages),
        )


def token_rounding(bits, channels, scale=None):
    """One value of each of these channels, where it is largest, is replaced by the median of its token's others during rounding."""

    def change(x):
        x = x if scale is None else x / scale
        replaced, at = x.clone(), [(x[0, :, channel].abs().argmax().item(), channel) for channel in channels]
        others = [channel for channel in range(x.shape[-1]) if channel not in channels]
        for token, channel in at:
            replaced[0, token, channel] = x[0, token, others].median()
        new = rounded(replaced, bits)
        for token, channel in at:
            new[0, token, channel] = x[0, token, channel]
        return new

    return change


@torch.no_grad()
def maxima(model, parts, sequences):
    found = [[None, None] for _ in parts.layers]

    def keep(index, reader):
        def hook(_, args):
            seen = args[0][0].abs().max(0).values
            found[index][reader] = seen if found[index][reader] is None else torch.maximum(found[index][reader], seen)

        return hook

    handles = []
    for index, layer in enumerate(parts.layers):
        for reader, linears in enumerate([parts.attention(layer), parts.mlp(layer)]):
            handles.append(linears[0].register_forward_pre_hook(keep(index, reader)))
    for ids in sequences:
        model(torch.tensor(ids)[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def factors_rounded(model, parts, at, passages, held, smooth=None):
    with Changed(parts) as changed:
        changed.round_attention(BITS)
        rows = sorted({row for _, row, _ in at}) if held else []
        for index, layer in enumerate(parts.layers):
            for reader, linears in enumerate([parts.attention(layer), parts.mlp(layer)]):
                scale = None
                if smooth:
                    of_weights = torch.stack([parts.largest(linear) for linear in linears]).max(0).values.clamp(min=1e-5)
                    scale = (smooth[index][reader] ** ALPHA / of_weights ** (1 - ALPHA)).clamp(min=1e-5)
                for linear in linears:
                    weight = linear.weight.data if scale is None else parts.times(linear, scale)
                    changed.weight(linear, rounded_weight(weight, BITS, 0, "nearest", []))
                    changed.input(linear, token_rounding(BITS, rows, scale))
            own = [where for where in at if where[0] == index and held]
            down = parts.down(layer)
            changed.weight(down, rounded_weight(down.weight.data, BITS, 0, "held_out", [parts.flat(*where) for where in own]))
            changed.input(down, token_rounding(BITS, sorted({col for _, _, col in own})))
        return dict(loss=loss(model, passages), residuals=residuals(model, parts, passages[0]))


def residuals(model, parts, ids):
    """The output of some layers, at some tokens and channels."""
    found = {}

    def keep(index):
        def hook(_, args, out):
            found[index] = (out if torch.is_tensor(out) else out[0])[0, TOKENS][:, ::5].tolist()

        return hook

    handles = [parts.layers[index].register_forward_hook(keep(index)) for index in LAYERS]
    model(torch.tensor(ids)[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return [found[index] for index in LAYERS]


@torch.no_grad()
def describe(folder, at, passages, calibration, with_weights=True):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    parts = Gpt2(model) if model.config.model_type == "gpt2" else Llama(model)
    seen = maxima(model, parts, calibration)
    intact = loss(model, passages)
    weights = [weights_rounded(model, parts, at, passages, which) for which in WEIGHT_ROUNDINGS if with_weights]
    factors = dict(
        bits=BITS,
        alpha=ALPHA,
        layers=LAYERS,
        tokens=TOKENS,
        naive=factors_rounded(model, parts, at, passages, False),
        held_out=factors_rounded(model, parts, at, passages, True),
        smooth=factors_rounded(model, parts, at, passages, False, seen),
        first_maxima=[[of_reader[:8].tolist() for of_reader in layer] for layer in seen],
    )
    # The same in float64, to show the effect of rounding decisions that depend only on the order of sums.
    model, seen = model.double(), [[of_reader.double() for of_reader in layer] for layer in seen]
    factors["loss_in_float64"] = dict(
        naive=factors_rounded(model, parts, at, passages, False)["loss"],
        held_out=factors_rounded(model, parts, at, passages, True)["loss"],
        smooth=factors_rounded(model, parts, at, passages, False, seen)["loss"],
    )
    assert abs(loss(model, passages) - intact) < 1e-5
    held = [list(where) for where in at]
    return dict(super_weights=held, passages=passages, calibration=calibration, loss=intact, weights=weights, factors=factors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--fixtures", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)

    def windows(text, n, length):
        ids = Tokenizer.from_file(str(args.models / "linchpin-13m/tokenizer.json")).encode(text).ids
        return [ids[index * length : (index + 1) * length] for index in range(n)]

    public = args.models.parent
    held_out = windows((public / "held-out.txt").read_text(encoding="utf-8"), 2, 160)
    calibration = windows((public / "calibration.txt").read_text(encoding="utf-8"), 2, 100)

    def synthetic(length):
        return [(i * i * 31 + i * 7 + 3) % 272 for i in range(length)]

    of_fixtures = [synthetic(60), synthetic(41)], [synthetic(50), synthetic(64)]
    result = {
        "linchpin-13m": describe(args.models / "linchpin-13m", MODELS["linchpin-13m"], held_out, calibration),
        "gpt2": describe(args.fixtures / "gpt2", MODELS["gpt2"], *of_fixtures),
        # Separate queries, keys and values, fewer heads of keys, rotation, a gate: with no weight between two levels.
        "llama3": describe(args.fixtures / "llama3", MODELS["llama3"], *of_fixtures, with_weights=False),
    }
    args.out.write_text(json.dumps(result, indent=None, separators=(",", ":")).replace('{"bits"', '\n{"bits"') + "\n")
    for name, of_model in result.items():
        print(name, of_model["loss"], {key: of_model["factors"][key]["loss"] for key in ("naive", "held_out", "smooth")}, of_model["factors"]["loss_in_float64"])
        for weights in of_model["weights"]:
            print("  ", weights["bits"], weights["block_size"], weights["method"], weights["mean_squared_error"], weights["loss"])


if __name__ == "__main__":
    main()
