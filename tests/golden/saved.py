"""Saves every fixture with edits by `linchpin save`, loads each folder with transformers, and writes its loss.

    pip install -r ../fixtures/requirements.txt && python saved.py --linchpin TARGET/debug/linchpin [--out saved.json]

For each fixture `saved.json` has a list of `args` (of `linchpin save`) and the `loss` of the saved folder in transformers: the
mean next-token cross-entropy of the fixture's golden `input_ids` in nats, in float32 on the CPU. transformers must find every
tensor and no other. Where the arguments name weights, the same edits are also made here, on the original in transformers,
in the type of its file; every parameter must then be equal, bit for bit.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

HERE = Path(__file__).parent
FIXTURES = HERE / "../fixtures"
SCORING = ["--sequences", "2", "--length", "16"]
ARMS = [
    ["--scalar", "1,5,17", "--scalar", "0,2,3=-1.5"],
    ["--row", "0,4=0.25", "--row", "1,0"],
    ["--column", "1,30=2", "--column", "0,11"],
    ["--channel", "0,7", "--channel", "1,9=0.5"],
    ["--method", "taylor", "--sparsity", "0.25", *SCORING],
    ["--method", "taylor", "--sparsity", "0.25", *SCORING, "--channel", "1,9", "--cut"],
]
# Only where down_proj has a bias.
MEANS = [
    ["--channel-mean", "1,9", "--channel-mean", "0,3=0.5"],
    ["--method", "magnitude", "--sparsity", "0.5", "--replace", "mean", *SCORING, "--cut"],
]


def load(folder, dtype):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


@torch.no_grad()
def loss(folder, ids):
    logits = load(folder, torch.float32)(ids[None], use_cache=False).logits[0]
    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:]).item()


def feed_forward(model):
    """For every layer: `down` as [out, in], the matrices that compute the channels as [out, in], and their biases."""
    if hasattr(model, "transformer"):
        for block in model.transformer.h:
            yield block.mlp.c_proj.weight.T, [block.mlp.c_fc.weight.T], [block.mlp.c_fc.bias]
    elif hasattr(model, "gpt_neox"):
        for layer in model.gpt_neox.layers:
            yield layer.mlp.dense_4h_to_h.weight, [layer.mlp.dense_h_to_4h.weight], [layer.mlp.dense_h_to_4h.bias]
    else:
        for layer in model.model.layers:
            mlp = layer.mlp
            fused = hasattr(mlp, "gate_up_proj")
            hidden = mlp.gate_up_proj.weight.chunk(2) if fused else (mlp.gate_proj.weight, mlp.up_proj.weight)
            yield mlp.down_proj.weight, list(hidden), []


def scale(block, factor):
    block.copy_((block.float() * factor if factor else torch.zeros_like(block)).to(block.dtype))


@torch.no_grad()
def edited(folder, args):
    """The original with the named weights edited here; `None` if a rule or a mean is among the arguments."""
    model = load(folder, "auto")
    layers = list(feed_forward(model))
    for option, text in zip(args[::2], args[1::2]):
        place, _, factor = text.partition("=")
        layer, *at = map(int, place.split(","))
        factor = float(factor or 0)
        down, hidden, biases = layers[layer]
        if option == "--scalar":
            scale(down[at[0], at[1] : at[1] + 1], factor)
        elif option == "--row":
            scale(down[at[0]], factor)
        elif option in ("--column", "--channel"):
            scale(down[:, at[0]], factor)
        else:
            return None
        if option == "--channel" and factor == 0:
            for part in [*hidden, *biases]:
                part[at[0]] = 0
    return model


def check_same(ours, folder):
    saved = dict(load(folder, "auto").named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.dtype == saved[name].dtype and torch.equal(parameter, saved[name]), name


def describe(fixture, linchpin):
    ids = load_file(fixture / "golden.safetensors")["input_ids"]
    has_bias = json.loads((fixture / "config.json").read_text())["model_type"] in ("gpt2", "gpt_neox")
    found = []
    for args in ARMS + (MEANS if has_bias else []):
        with tempfile.TemporaryDirectory() as parent:
            out = Path(parent) / "saved"
            subprocess.run([linchpin, "save", "--device", "cpu", "--model", fixture, "--out", out, *args], check=True, capture_output=True)
            ours = None if "--method" in args else edited(fixture, args)
            if ours is not None:
                check_same(ours, out)
            subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=True)
            found.append(dict(args=args, loss=loss(out, ids)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--linchpin", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    fixtures = sorted(path.parent for path in FIXTURES.glob("*/golden.safetensors"))
    found = {fixture.name: describe(fixture, args.linchpin.resolve()) for fixture in fixtures}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(arms)}" for name, arms in found.items())
    args.out.write_text(f"{{\n{lines}\n}}\n")
    for name, arms in found.items():
        print(name, " ".join(f"{arm['loss']:.5f}" for arm in arms))


if __name__ == "__main__":
    main()
