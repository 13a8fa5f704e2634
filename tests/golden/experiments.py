"""Writes the values that the experiments read out of a model, computed with PyTorch and transformers in float32 on the CPU.

    pip install -r ../fixtures/requirements.txt && python experiments.py [--out experiments.json]

For each model (`at` is the scalar `down_proj.weight[row, col]` of a layer, which is set to zero under "removed"):

    cold: score, ratio, top-1 share, participation ratio and column of some rows [layer, row], and the first rows of the ranking
        (src/analysis/cold.rs has the formulas); the gain of the norm before the block is folded into its reading matrices
    residual: at channel `row` and at the largest magnitude, of every token, before layer 0 and after every layer; and the largest
        magnitude of every down_proj's output; the median magnitude after each layer. By hooks, because the last of
        transformers' hidden states includes the final norm
    sinks: per layer and head, the mean probability of token 0 over all queries except the first
    next_token: mean over prompts of the next token's probability: the likeliest tokens, the sum of p^2, and the mean entropy
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
PROMPT = "It was a dark evening, and the old man"
PROMPTS = [
    "It was a dark evening, and the old",
    "She went to the",
    "There is nothing in the world so hard to bear as the thought of",
    "And then he",
    "The horses were tired, and nobody in the long train of wagons had spoken for an",
]
# Where to remove a scalar, and how many of the likeliest tokens to keep.
MODELS = {
    BUNDLED / "linchpin-13m": (2, 12, 86),
    BUNDLED / "linchpin-11m-twin": (0, 162, 150),
    FIXTURES / "gpt2": (1, 3, 5),
    FIXTURES / "gemma3": (1, 3, 5),
    FIXTURES / "mistral": (1, 3, 5),
}
TOP, FIRST = 20, 5


def blocks(model):
    """For every layer: the layer, its down projection, the [out, in] weights of down and of its reading matrices, and the gains of the norms before and after."""
    if hasattr(model, "transformer"):
        for block in model.transformer.h:
            yield block, block.mlp.c_proj, block.mlp.c_proj.weight.T, [block.mlp.c_fc.weight.T], block.ln_2.weight, None
    else:
        for layer in model.model.layers:
            mlp = layer.mlp
            before, behind = layer.post_attention_layernorm.weight, None
            if hasattr(layer, "pre_feedforward_layernorm"):  # Gemma's weights are stored less 1.
                before, behind = 1 + layer.pre_feedforward_layernorm.weight, 1 + layer.post_feedforward_layernorm.weight
            yield layer, mlp.down_proj, mlp.down_proj.weight, [mlp.gate_proj.weight, mlp.up_proj.weight], before, behind


@torch.no_grad()
def cold(model, at):
    rows = []
    for index, (_, _, down, reads, before, behind) in enumerate(blocks(model)):
        c = down.double() ** 2
        for read in reads:
            c = c * ((read.double() * before.double()) ** 2).sum(1)
        total = c.sum(1)
        score = total.sqrt() * (1 if behind is None else behind.double().abs())
        ratio = score / score.quantile(0.5)
        share, col = (c / total[:, None]).max(1)
        spread = total**2 / (c**2).sum(1)
        for row in range(len(score)):
            found = [x[row].item() for x in (score, ratio, share, spread)]
            rows.append(dict(layer=index, row=row, col=col[row].item(), figures=[float(f"{x:.7g}") for x in found]))
    ranked = sorted(rows, key=lambda row: -row["figures"][1] * row["figures"][2])
    some = [row for row in rows if (row["layer"], row["row"]) == at[:2] or row["row"] % 61 == 5]
    return dict(rows=some, first=[[row["layer"], row["row"], row["col"]] for row in ranked[:FIRST]])


@torch.no_grad()
def residual(model, ids, row):
    kept, downs = [], []
    handles = []
    for layer, down, *_ in blocks(model):
        if not kept:
            handles.append(layer.register_forward_pre_hook(lambda _, args: kept.append(args[0][0])))
            kept.append(None)
        handles.append(layer.register_forward_hook(lambda _, __, out: kept.append((out[0] if isinstance(out, tuple) else out).view(len(ids), -1))))
        handles.append(down.register_forward_hook(lambda _, __, out: downs.append(out.abs().max().item())))
    attentions = model(torch.tensor([ids]), use_cache=False, output_attentions=True).attentions
    for handle in handles:
        handle.remove()
    kept = kept[1:]
    assert all(x.shape == kept[0].shape for x in kept)
    rounded = lambda values: [float(f"{x:.7g}") for x in values]
    return dict(
        at_row=[rounded(x[:, row].tolist()) for x in kept],
        largest=[rounded(x.abs().amax(1).tolist()) for x in kept],
        medians=rounded([x.abs().flatten().quantile(0.5).item() for x in kept]),
        down_proj_output=rounded(downs),
        sinks=[rounded(a[0, :, 1:, 0].mean(1).tolist()) for a in attentions],
    )


@torch.no_grad()
def next_token(model, prompts):
    mean, entropy = 0, 0
    for ids in prompts:
        p = model(torch.tensor([ids]), use_cache=False).logits[0, -1].double().softmax(-1)
        mean, entropy = mean + p / len(prompts), entropy - (p * p.log()).sum().item() / len(prompts)
    top = mean.topk(TOP)
    likeliest = [[i.item(), float(f"{p.item():.7g}")] for i, p in zip(top.indices, top.values)]
    return dict(likeliest=likeliest, squares=(mean**2).sum().item(), entropy=entropy)


def describe(folder, at):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    layer, row, col = at
    ids, prompts = tokenizer.encode(PROMPT).ids, [tokenizer.encode(prompt).ids for prompt in PROMPTS]
    arms = {}
    result = dict(at=at, ids=ids, prompts=prompts, cold=cold(model, at), arms=arms)
    for arm in ("intact", "removed"):
        if arm == "removed":
            list(blocks(model))[layer][2].data[row, col] = 0
        arms[arm] = dict(**residual(model, ids, row), next_token=next_token(model, prompts))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    found = {folder.name: describe(folder, at) for folder, at in MODELS.items()}
    args.out.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    for name, facts in found.items():
        print(name, facts["cold"]["first"])
        for arm, facts in facts["arms"].items():
            heads = [x for layer in facts["sinks"] for x in layer]
            print(" ", arm, "sinks", sum(x > 0.3 for x in heads), "of", len(heads), "peaks", max(max(x) for x in facts["largest"]))


if __name__ == "__main__":
    main()
