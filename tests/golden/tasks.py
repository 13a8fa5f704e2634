"""Zero-shot tasks and Table 1 of the super-weight paper with Hugging Face transformers, in float32 on the CPU.

    python tasks.py --model ../../public/models/linchpin-13m --super-weight 2,12,86 --tasks tasks/*.jsonl --limit 4 --table1 --out tasks.json

writes the golden values. Any model and any task files can be compared item by item with the `samples` table of an
experiment that logs samples; `--csv` writes the same columns:

    python tasks.py --model DIR --super-weight 2,12,86 --tasks piqa.jsonl arc_easy.jsonl --limit 50 --csv samples.csv

The prompts follow lm-evaluation-harness 0.4.13, see src/analysis/tasks/mod.rs. Every choice runs as a whole sequence.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import re
from math import exp
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[2]
NORMED = {"arc_easy", "arc_challenge", "hellaswag", "piqa", "openbookqa", "sciq"}
BLOCK, CALIBRATION_LENGTH, N_CALIBRATION, N_HARSH = 2048, 512, 32, 1000


# -- rows to prompts: ([(context, continuation, length)], gold)


def after(context, answers, gold):
    return [(context, " " + answer, len(answer)) for answer in answers], gold


def before(contexts, continuation, gold):
    return [(context, " " + continuation, len(context)) for context in contexts], gold


def asked(query):
    return query if query.endswith("\nAnswer:") else query.removesuffix("\n") + "\nAnswer:"


def cleaned(text):
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def lettered(row, context):
    choices = row["choices"]
    return after(context, choices["text"], choices["label"].index(row["answerKey"].lstrip()))


def from_foundry(name, row):
    query, choices, gold = row["query"], row["choices"], row["gold"]
    if name in ("arc_easy", "arc_challenge", "piqa", "sciq"):
        query = asked(query)
    elif name == "boolq":
        query = asked(query.removeprefix("Passage: "))
    elif name == "copa":
        query, choices = re.sub(r", (because|therefore)$", r" \1", query), [" " + choice for choice in choices]
    return after(query, choices, gold)


def question(name, row):
    if "query" in row:
        return from_foundry(name, row)
    if "context_options" in row:
        return before(row["context_options"], row["continuation"], row["gold"])
    if name == "lambada_openai":
        head, word = (row["context"], row["continuation"]) if "context" in row else row["text"].rsplit(" ", 1)
        return after(head, [word], 0)
    if name in ("arc_easy", "arc_challenge"):
        return lettered(row, f"Question: {row['question']}\nAnswer:")
    if name == "openbookqa":
        return lettered(row, row["question_stem"])
    if name == "hellaswag":
        context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
        return after(cleaned(context), [cleaned(ending) for ending in row["endings"]], int(row["label"]))
    if name == "piqa":
        return after(f"Question: {row['goal']}\nAnswer:", [row["sol1"], row["sol2"]], int(row["label"]))
    if name == "winogrande":
        head, tail = row["sentence"].split("_", 1)
        return before([head + row["option1"], head + row["option2"]], tail.strip(), int(row["answer"]) - 1)
    if name == "boolq":
        gold = row["label"] if "label" in row else row["answer"]
        return after(f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", ["no", "yes"], int(gold))
    if name == "sciq":
        answers = [row[key] for key in ("distractor1", "distractor2", "distractor3", "correct_answer")]
        return after(f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:", answers, 3)
    if name == "copa":
        connector = dict(cause="because", effect="therefore")[row["question"]]
        answers = [" " + row[key][0].lower() + row[key][1:] for key in ("choice1", "choice2")]
        return after(f"{row['premise'].strip()[:-1]} {connector}", answers, row["label"])
    if name == "siqa":
        answers = [row[key] for key in ("answerA", "answerB", "answerC")]
        return after(f"Q: {row['context']} {row['question']}\nA:", answers, int(row["label"]) - 1)
    raise ValueError(f"{name}: {row}")


# -- scoring


def encode_pair(tokenizer, context, continuation, limit):
    """The ids to run, and the continuation's ids: spaces at the context's end move to the continuation, and the left is cut."""
    stripped = context.rstrip()
    whole = tokenizer.encode(context + continuation).ids
    head = tokenizer.encode(stripped).ids
    tail = whole[len(head) :]
    return (head + tail)[-(limit + 1) :][:-1], tail


@torch.no_grad()
def score_choice(model, tokenizer, choice):
    context, continuation, length = choice
    ids, tail = encode_pair(tokenizer, context, continuation, model.config.max_position_embeddings)
    logits = model(torch.tensor(ids)[None], use_cache=False).logits[0, -len(tail) :]
    target = torch.tensor(tail)
    loglikelihood = logits.double().log_softmax(-1).gather(1, target[:, None]).sum().item()
    return dict(loglikelihood=loglikelihood, greedy=int((logits.argmax(-1) == target).all()), tokens=len(tail), characters=length)


def score_task(model, tokenizer, name, lines):
    items = []
    for number, line in lines:
        choices, gold = question(name, json.loads(line))
        items.append(dict(line=number, gold=gold, choices=[score_choice(model, tokenizer, choice) for choice in choices]))
    right = lambda value: sum(max(range(len(i["choices"])), key=lambda c: value(i["choices"][c])) == i["gold"] for i in items) / len(items)
    result = dict(items=items)
    if name == "lambada_openai":
        result["acc"] = sum(item["choices"][0]["greedy"] for item in items) / len(items)
        result["perplexity"] = exp(-sum(item["choices"][0]["loglikelihood"] for item in items) / len(items))
    else:
        result["acc"] = right(lambda choice: choice["loglikelihood"])
    if name in NORMED:
        result["acc_norm"] = right(lambda choice: choice["loglikelihood"] / choice["characters"])
    return result


@torch.no_grad()
def loss(model, blocks):
    total = count = 0
    for ids in blocks:
        ids = torch.tensor(ids)
        logits = model(ids[None], use_cache=False).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits.double(), ids[1:], reduction="sum").item()
        count += len(ids) - 1
    return total / count


# -- arms


def down_proj(model, layer):
    return model.model.layers[layer].mlp.down_proj


def super_rows(coords):
    rows = {}
    for layer, row, col in coords:
        rows.setdefault((layer, row), []).append(col)
    return rows


@contextlib.contextmanager
def without(model, coords):
    """The super weights zero; yields their values."""
    values = {at: down_proj(model, at[0]).weight.data[at[1], at[2]].item() for at in coords}
    for layer, row, col in coords:
        down_proj(model, layer).weight.data[row, col] = 0
    yield values
    for (layer, row, col), value in values.items():
        down_proj(model, layer).weight.data[row, col] = value


@contextlib.contextmanager
def at_peaks(model, coords, values, new=None, read=None):
    """Edits the output of `down_proj` on each super weight's row at the token where the original value is largest: restores
    the original (`values` are the former weights), or `new[(layer, row)]`, or only appends it to `read`."""

    def hook(layer, row, cols):
        def edit(_, args, out):
            original = out[0, :, row] + sum(values[layer, row, col] * args[0][0, :, col] for col in cols if values)
            token = original.abs().argmax()
            if read is not None:
                read.setdefault((layer, row), []).append(original[token].item())
                return out
            out = out.clone()
            out[0, token, row] = original[token] if new is None else new[layer, row]
            return out

        return edit

    handles = [down_proj(model, layer).register_forward_hook(hook(layer, row, cols)) for (layer, row), cols in super_rows(coords).items()]
    yield
    for handle in handles:
        handle.remove()


@contextlib.contextmanager
def without_largest(model, coords, n):
    """The n largest scalars of the layers' matrices zero, the super weights kept."""
    matrices = [m.weight.data for layer in model.model.layers for m in layer.modules() if isinstance(m, torch.nn.Linear)]
    kept = [m.clone() for m in matrices]
    with without(model, coords):
        found = [(value, index, at) for index, m in enumerate(matrices) for value, at in zip(*[t.tolist() for t in m.flatten().abs().topk(min(n, m.numel()))])]
        for _, index, at in sorted(found, reverse=True)[:n]:
            matrices[index].view(-1)[at] = 0
    yield
    for m, old in zip(matrices, kept):
        m.copy_(old)


@contextlib.contextmanager
def restored(model, coords):
    with without(model, coords) as values, at_peaks(model, coords, values):
        yield


def calibration(tokenizer, text, limit):
    """The windows of src/analysis/calibration.rs."""
    ids = tokenizer.encode(text.strip(), add_special_tokens=False).ids
    special = tokenizer.encode(text.strip()).ids[: -len(ids)]
    room = min(CALIBRATION_LENGTH, limit) - len(special)
    n = len(ids) // room
    golden = max(1, round(0.618 * n))
    gcd = lambda a, b: a if b == 0 else gcd(b, a % b)
    step = next(step for step in range(golden, n + 1) if gcd(step, n) == 1)
    return [special + ids[room * (i * step % n) :][:room] for i in range(min(N_CALIBRATION, n))]


def table1(model, tokenizer, coords):
    limit = model.config.max_position_embeddings
    ids = tokenizer.encode((ROOT / "public/held-out.txt").read_text(encoding="utf-8")).ids
    block = min(BLOCK, limit, len(ids))
    blocks = [ids[at : at + block] for at in range(0, len(ids) - block + 1, block)]
    peaks = {}
    with at_peaks(model, coords, {}, read=peaks), torch.no_grad():
        for sequence in calibration(tokenizer, (ROOT / "public/calibration.txt").read_text(encoding="utf-8"), limit):
            model(torch.tensor(sequence)[None], use_cache=False)
    means = {place: sum(values) / len(values) for place, values in peaks.items()}
    share = max(1, round(sum(p.numel() for p in model.parameters()) * 7000 / 6.7e9))
    arms = {"Original": loss(model, blocks)}
    with without(model, coords):
        arms["Prune SW"] = loss(model, blocks)
    for n in (share, N_HARSH):
        with without_largest(model, coords, n):
            arms[f"Prune Non-SW, {n} largest"] = loss(model, blocks)
    with restored(model, coords):
        arms["Prune SW, +SA"] = loss(model, blocks)
    with at_peaks(model, coords, {}, new={place: 0.0 for place in means}):
        arms["SA set to 0"] = loss(model, blocks)
    with at_peaks(model, coords, {}, new=means):
        arms["SA set to its mean"] = loss(model, blocks)
    return dict(block=block, n_blocks=len(blocks), means=[means[place] for place in sorted(means)], losses=arms)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--super-weight", action="append", default=[], help="LAYER,ROW,COLUMN of down_proj")
    parser.add_argument("--tasks", type=Path, nargs="*", default=[], help="files named after their tasks")
    parser.add_argument("--limit", type=int, help="the first items of each")
    parser.add_argument("--table1", action="store_true", help="losses of Table 1's arms too, on public/held-out.txt")
    parser.add_argument("--csv", type=Path, help="every choice of every item")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    coords = [tuple(map(int, text.split(","))) for text in args.super_weight]
    arms = {"Original": lambda: contextlib.nullcontext()}
    if coords:
        arms |= {"Prune SW": lambda: without(model, coords), "Prune SW, +SA": lambda: restored(model, coords)}
    tasks = {}
    for path in args.tasks:
        lines = [(n, line) for n, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1) if line.strip()]
        tasks["openbookqa" if path.stem == "openbook_qa" else path.stem] = lines[: args.limit]
    result = dict(model_sha256=hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest() if coords else None, arms={})
    for arm, context in arms.items():
        with context():
            result["arms"][arm] = {name: score_task(model, tokenizer, name, lines) for name, lines in tasks.items()}
        for name, scores in result["arms"][arm].items():
            print(arm, name, *(f"{key} {value:.6g}" for key, value in scores.items() if key != "items"), sep="\t")
    if args.table1:
        result["table1"] = table1(model, tokenizer, coords)
        print(json.dumps(result["table1"], indent=1))
    if args.csv:
        write_csv(args.csv, result["arms"])
    if args.out:
        args.out.write_text(json.dumps(result, separators=(",", ":")).replace('{"line"', '\n{"line"') + "\n")


def write_csv(path, arms):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["arm", "task", "line", "choice", "loglikelihood", "greedy", "tokens", "characters", "gold", "chosen"])
        for arm, tasks in arms.items():
            for name, scores in tasks.items():
                for item in scores["items"]:
                    lls = [choice["loglikelihood"] for choice in item["choices"]]
                    for index, choice in enumerate(item["choices"]):
                        flags = int(index == item["gold"]), int(index == lls.index(max(lls)))
                        out.writerow([arm, name, item["line"], index, *choice.values(), *flags])


if __name__ == "__main__":
    main()
