"""Measures the real model in float64 with transformers: golden.json and golden.safetensors.

    pip install -r ../fixtures/requirements.txt && python golden.py DIR        (DIR as made by convert.py)

- `spikes`: in a pass over the prompt, per layer the input and the output of down_proj of largest magnitude.
- `greedy_ids`: the likeliest continuation of the prompt.
- `loss_nats`: mean next-token cross-entropy over the bundled held-out passages, each cut to 128 tokens; `zeroed` and `channels`
  are the losses with one scalar of down_proj zero, or one whole channel.
- golden.safetensors has `loss_proxy.LAYER` for the first 700 bytes of the held-out text: 1/2 mean (u s)^2 over its tokens, with u the
  input of down_proj and s the gradient of the mean loss. `float32_error` is float32 PyTorch's largest distance from it, in
  units of a layer's root mean square.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
HELD_OUT = (HERE / "../../public/held-out.txt").read_text()
PROMPT, NEW_TOKENS, CUT, BYTES = "It was a dark evening, and the old man", 24, 128, 700
SCALARS = [(11, 507, 1229), (2, 507, 90), (9, 507, 200), (1, 507, 83), (8, 507, 1188), (28, 507, 678)]
CHANNELS = [(11, 1229), (2, 90)]


def down(model, layer):
    return model.model.layers[layer].mlp.down_proj


@torch.no_grad()
def spikes(model, ids):
    seen = {"inputs": [], "outputs": []}

    def see(_, inputs, output):
        for site, values in (("inputs", inputs[0][0]), ("outputs", output[0])):
            token, channel = divmod(values.abs().argmax().item(), values.shape[1])
            seen[site].append(dict(token=token, channel=channel, value=values[token, channel].item()))

    handles = [down(model, layer).register_forward_hook(see) for layer in range(len(model.model.layers))]
    model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return seen


@torch.no_grad()
def loss(model, passages):
    total = sum(torch.nn.functional.cross_entropy(model(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:]), reduction="sum") for ids in passages)
    return (total / sum(len(ids) - 1 for ids in passages)).item()


@torch.no_grad()
def loss_without(model, passages, layer, index):
    weight = down(model, layer).weight
    kept = weight[index].clone()
    weight[index] = 0.0
    found = loss(model, passages)
    weight[index] = kept
    return found


def proxies(model, ids):
    kept = []

    def keep(_, inputs):
        inputs[0].retain_grad()
        kept.append(inputs[0])

    handles = [layer.mlp.down_proj.register_forward_pre_hook(keep) for layer in model.model.layers]
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).backward()
    model.zero_grad()
    return [0.5 * ((u.detach() * u.grad)[0].double() ** 2).mean(0) for u in kept]


def main():
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = lambda text: tokenizer(text).input_ids
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    passages = [ids(text.strip())[:CUT] for text in HELD_OUT.split("\n\n") if text.strip()]
    prompt = ids(PROMPT)
    greedy = model.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False)[0, len(prompt) :].tolist()
    golden = dict(prompt=PROMPT, prompt_ids=prompt, greedy_ids=greedy, spikes=spikes(model, prompt), loss_nats=loss(model, passages))
    golden["zeroed"] = [dict(layer=l, row=r, col=c, loss_nats=loss_without(model, passages, l, (r, c))) for l, r, c in SCALARS]
    golden["channels"] = [dict(layer=l, channel=c, loss_nats=loss_without(model, passages, l, (slice(None), c))) for l, c in CHANNELS]
    scored = ids(HELD_OUT.encode()[:BYTES].decode(errors="ignore").strip())
    exact = proxies(model, scored)
    single = proxies(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), scored)
    golden["scored_ids"] = scored
    golden["float32_error"] = max(((a - b).abs().max() / (b**2).mean().sqrt()).item() for a, b in zip(single, exact))
    save_file({f"loss_proxy.{layer}": values.float() for layer, values in enumerate(exact)}, HERE / "golden.safetensors")
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print({key: value for key, value in golden.items() if key not in ("spikes", "scored_ids")})


if __name__ == "__main__":
    main()
