"""Find the candidate super weights of a model and measure the cost of removing each.

    python training/evaluate.py MODEL_FOLDER [--text public/held-out.txt] [--tokens 128] [--zero LAYER,ROW,COL] [--json]

For every layer, one forward pass gives the largest output of down_proj (dimension `row`, at one token) and the product
u[col] * W[row, col] that contributes most to it. That scalar is the layer's candidate. A candidate proves nothing, so each is
set to zero, alone, and the loss is measured again; so are its whole column (its channel), its whole row, and random scalars.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from model import BOS, Stack, load_folder

HELD_OUT_TEXT = Path(__file__).parent.parent / "public" / "held-out.txt"


def inputs_and_targets(windows):
    """windows [A, N, T + 1], the first token of each being BOS -> inputs and targets [A, N, T]."""
    return windows[..., :-1].clamp(min=0), windows[..., 1:]


def largest(values):
    """For values [A, rows, channels]: per arm, the largest magnitude of each channel, and its row."""
    return values.abs().max(1)


def spikes(u, y, down):
    """Per arm: the largest input and output of one down_proj, and the product that explains the output most."""
    arm = torch.arange(len(u), device=u.device)
    input_peaks, (output_peaks, where) = largest(u)[0], largest(y)
    row = output_peaks.argmax(1)
    position = where[arm, row]
    products = u[arm, position] * down[arm, row]
    col = products.abs().argmax(1)
    return {
        "row": row,
        "col": col,
        "weight": down[arm, row, col],
        "share": products[arm, col] / y[arm, position, row],
        "spike_in": input_peaks.amax(1),
        "ratio_in": input_peaks.amax(1) / input_peaks.median(1).values,
        "spike_out": output_peaks.amax(1),
        "ratio_out": output_peaks.amax(1) / output_peaks.median(1).values,
        "position": position,
    }


def loss_proxy_share(u, gradient):
    """The share of the layer's loss proxy, mean of (u dL/du)^2, in its top 1 % of channels."""
    proxy = (u * gradient).pow(2).mean(1).sort(1, descending=True).values
    top = max(1, round(0.01 * proxy.shape[1]))
    return proxy[:, :top].sum(1) / proxy.sum(1)


class edited:
    """Within the `with`, `weight[where]` is zero; afterwards it is restored, bit for bit."""

    def __init__(self, weight, where):
        self.weight, self.where = weight, where

    def __enter__(self):
        self.before = self.weight[self.where].clone()
        self.weight[self.where] = 0

    def __exit__(self, *_):
        self.weight[self.where] = self.before


def measure(stack, windows):
    """Every layer of every arm: spikes, candidate, and the rise of the loss when the scalar, its column or its row is zeroed.

    Returns the loss of each arm and, per arm, a list over layers of plain dictionaries.
    """
    inputs, targets = inputs_and_targets(windows)
    shape, arm = stack.shape, torch.arange(stack.arms, device=stack.device)
    losses, seen = stack.observe(inputs, targets)
    gradients = torch.autograd.grad(losses.sum(), [u for u, _ in seen])
    with torch.no_grad():
        intact, layers = losses.detach(), []
        for index, ((u, y), gradient) in enumerate(zip(seen, gradients)):
            down = stack.weight[f"{index}.down"].data
            found = spikes(u.detach(), y.detach(), down) | {"lp_top1": loss_proxy_share(u.detach(), gradient)}
            row, col = found["row"], found["col"]
            for name, where in (("scalar", (arm, row, col)), ("column", (arm, slice(None), col)), ("row_", (arm, row))):
                with edited(down, where):
                    found[f"zero_{name.strip('_')}"] = stack.loss(inputs, targets) - intact
            found["position"] %= inputs.shape[-1]
            layers.append({name: value.tolist() for name, value in found.items()})
    per_arm = [
        [{"layer": index} | {name: values[a] for name, values in layer.items()} for index, layer in enumerate(layers)]
        for a in range(stack.arms)
    ]
    return intact.tolist(), per_arm


def candidate(layers):
    """The layer whose candidate scalar costs most when zeroed; `c` is log10 of the factor on the perplexity."""
    best = max(layers, key=lambda layer: layer["zero_scalar"])
    return best | {"c": best["zero_scalar"] / math.log(10)}


# --------------------------------------------------------------------------------------------------- on a folder


def passages_as_windows(tokenizer_file, text, length):
    """Each passage on its own, BOS first, cut to `length` tokens, shorter ones filled with ignored targets."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    rows = [tokenizer.encode(passage).ids[:length] for passage in text.strip().split("\n\n")]
    assert all(row[0] == BOS for row in rows), "the tokenizer must put BOS first"
    return torch.tensor([[row + [-100] * (max(map(len, rows)) - len(row)) for row in rows]])


def loss_with_zero(stack: Stack, windows, layer, where):
    with torch.no_grad(), edited(stack.weight[f"{layer}.down"].data, where):
        return stack.loss(*inputs_and_targets(windows)).item()


def random_scalars(stack, layer, count=6):
    source = torch.Generator().manual_seed(0)
    rows, cols = stack.weight[f"{layer}.down"].shape[1:]
    draw = lambda limit: torch.randint(limit, (count,), generator=source).tolist()  # noqa: E731
    return list(zip(draw(rows), draw(cols)))


def report(folder, text, length):
    stack = load_folder(folder)
    windows = passages_as_windows(Path(folder) / "tokenizer.json", text, length)
    (loss,), (layers,) = measure(stack, windows)
    best = candidate(layers)
    controls = [
        loss_with_zero(stack, windows, best["layer"], (0, row, col)) - loss
        for row, col in random_scalars(stack, best["layer"])
    ]
    return {"loss": loss, "candidate": best, "random_scalars": controls, "layers": layers}, stack, windows


def show(result):
    print(f"loss {result['loss']:.4f}, perplexity {math.exp(result['loss']):.1f}; rise of the loss in nats when zeroed:")
    print("layer  [row, col]   weight  share  |y| max   ratio  LP top 1%   scalar   column      row")
    for at in result["layers"]:
        print(
            f"{at['layer']:5d}  {f'''[{at['row']}, {at['col']}]''':11s} {at['weight']:7.3f} {at['share']:6.2f} "
            f"{at['spike_out']:8.1f} {at['ratio_out']:7.1f} {at['lp_top1']:10.2f} "
            f"{at['zero_scalar']:+8.4f} {at['zero_column']:+8.4f} {at['zero_row']:+8.4f}"
        )
    best = result["candidate"]
    print(f"candidate: layer {best['layer']}, [{best['row']}, {best['col']}], perplexity x {10 ** best['c']:.2f}")
    print("random scalars of the same matrix:", " ".join(f"{rise:+.4f}" for rise in result["random_scalars"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face folder of a model trained here")
    parser.add_argument("--text", type=Path, default=HELD_OUT_TEXT, help="passages separated by empty lines")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each passage, BOS included")
    parser.add_argument("--zero", action="append", default=[], metavar="LAYER,ROW,COL", help="also zero this; * for all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result, stack, windows = report(options.model, options.text.read_text(), options.tokens)
    result["zeroed"] = {}
    for place in options.zero:
        layer, *where = place.split(",")
        index = (0, *(slice(None) if part == "*" else int(part) for part in where))
        result["zeroed"][place] = loss_with_zero(stack, windows, int(layer), index) - result["loss"]
    if options.json:
        print(json.dumps(result))
        return
    show(result)
    for place, rise in result["zeroed"].items():
        print(f"zeroed {place}: {rise:+.4f}, perplexity x {math.exp(rise):.2f}")


if __name__ == "__main__":
    main()
