"""Train small Llama models from a folder of books until one scalar becomes critical.

    python training/train.py --config training/linchpin-13m.json --text DIR --out DIR

Several arms (seeds, learning rates, weight decays) are trained at once; the configuration's stages give the length, the
batch, the schedule, and the number of arms for the next stage: those whose candidate scalar costs most when zeroed.
The training is plain next-token cross-entropy with AdamW, BOS at position 0 of every window. Nothing is planted or rewarded.

Output in OUT: data/ (tokenizer and tokens, created once), log.jsonl, seed-S/step-N/ (checkpoints as Hugging Face folders),
summary.json, and best/, a copy of the final checkpoint whose scalar matters most.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from evaluate import candidate, inputs_and_targets, measure
from model import BOS, Shape, Stack, arm_losses, block, embed, save_folder
from prepare import prepare

CRITICAL_NATS = 0.25
START = time.time()


def say(*words):
    print(f"[{time.time() - START:6.1f} s]", *words, flush=True)


# ----------------------------------------------------------------------------------------------------- one step


def adamw(flat, gradient, mean, square, rate, shrink, count, beta1, beta2, epsilon, clip):
    """AdamW on [A, parameters], each arm clipped by its own norm; shrink = 1 - rate * weight decay, 1 for the norms."""
    gradient = gradient * (clip / gradient.norm(dim=1, keepdim=True)).clamp(max=1)
    mean.lerp_(gradient, 1 - beta1)
    square.lerp_(gradient * gradient, 1 - beta2)
    direction = (mean / (1 - beta1**count)) / ((square / (1 - beta2**count)).sqrt() + epsilon)
    flat.mul_(shrink).sub_(rate * direction)


class Trainer:
    """One training step of a stack: draw windows, forward, backward, AdamW. On a GPU the step is one CUDA graph."""

    def __init__(self, stack, arms, optimiser, tokens, batch):
        self.stack, self.tokens, self.batch, self.optimiser = stack, tokens, batch, optimiser
        self.gpu = stack.device == "cuda"
        column = lambda name: torch.tensor([[arm[name]] for arm in arms], device=stack.device)  # noqa: E731
        self.rate, self.weight_decay = column("learning_rate"), column("weight_decay")
        self.decayed = torch.cat(
            [torch.full((weight[0].numel(),), float(weight.dim() == 3)) for weight in stack.weight.values()]
        ).to(stack.device)
        self.mean, self.square = torch.zeros_like(stack.flat), torch.zeros_like(stack.flat)
        self.count, self.factor = (torch.zeros((), device=stack.device) for _ in range(2))
        self.loss_sum = torch.zeros(stack.arms, device=stack.device)
        self.functions, self.update = (embed, block, arm_losses), adamw
        if self.gpu:
            fast = lambda function: torch.compile(function, dynamic=False)  # noqa: E731
            self.functions, self.update = tuple(map(fast, self.functions)), fast(adamw)
        self.run = self.captured() if self.gpu else self.step

    def windows(self):
        """Random places of the text, BOS put before each -> [A, N, T + 1]."""
        length = self.stack.shape.max_position_embeddings
        start = torch.randint(len(self.tokens) - length, (self.stack.arms, self.batch, 1), device=self.stack.device)
        windows = self.tokens[start + torch.arange(length, device=self.stack.device)].long()
        return torch.cat([torch.full_like(start, BOS), windows], -1)

    def step(self):
        inputs, targets = inputs_and_targets(self.windows())
        dtype = torch.bfloat16 if self.gpu else torch.float32
        losses = self.stack.loss(inputs, targets, dtype, self.functions)
        gradients = torch.autograd.grad(losses.sum(), list(self.stack.weight.values()))
        gradient = torch.cat([part.flatten(1) for part in gradients], 1)
        with torch.no_grad():
            self.count += 1
            self.loss_sum += losses
            rate, settings = self.rate * self.factor, self.optimiser
            shrink = 1 - rate * self.weight_decay * self.decayed
            self.update(
                self.stack.flat, gradient, self.mean, self.square, rate, shrink, self.count,
                settings["beta1"], settings["beta2"], settings["epsilon"], settings["clip"],
            )  # fmt: skip

    def captured(self):
        """The step as a CUDA graph. Warming up changes the state, so load the weights and moments after this."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def state(self, arms):
        return [buffer[arms].clone() for buffer in (self.stack.flat, self.mean, self.square)], self.count.clone()

    def load(self, state):
        buffers, count = state
        for mine, given in zip((self.stack.flat, self.mean, self.square), buffers):
            mine.copy_(given)
        self.count.copy_(count)
        self.loss_sum.zero_()

    def seconds_per_step(self, steps=10):
        """Measured with the learning rate at zero; load the state afterwards."""
        self.factor.zero_()
        self.synchronise()
        start = time.time()
        for _ in range(steps):
            self.run()
        self.synchronise()
        return (time.time() - start) / steps

    def synchronise(self):
        if self.gpu:
            torch.cuda.synchronize()


# ---------------------------------------------------------------------------------------------------- the stages


def learning_rate_factor(stage, step, steps):
    """Linear warm-up, then constant, then linear to `final` over the last `decay` of the steps."""
    warm = min(1, (step + 1) / stage["warmup"])
    left = (steps - step) / (steps * stage["decay"]) if stage.get("decay") else 1
    return warm * max(stage.get("final", 0), min(1, left))


class Run:
    """The state shared by the stages: the configuration, the data, the log, the clock."""

    def __init__(self, config, arms, out, minutes, device):
        self.config, self.arms, self.out, self.device = config, arms, out, device
        self.shape = Shape(**config["shape"])
        self.deadline = START + 60 * minutes if minutes else None
        self.log_file = open(out / "log.jsonl", "a")
        self.done_steps = self.done_tokens = 0
        load = lambda name: torch.from_numpy(np.load(out / "data" / name).astype(np.int32)).to(device)  # noqa: E731
        self.train, held_out = load("train.npy"), load("held_out.npy").long()
        length = self.shape.max_position_embeddings
        starts = torch.linspace(0, len(held_out) - length - 1, config["held_out_windows"]).long().to(device)
        windows = held_out[starts[:, None] + torch.arange(length, device=device)]
        self.held_out = torch.cat([torch.full_like(windows[:, :1], BOS), windows], 1)

    def log(self, **entry):
        entry = {"step": self.done_steps, "tokens_per_arm": self.done_tokens, "seconds": round(time.time() - START, 1)} | entry
        self.log_file.write(json.dumps(entry) + "\n")
        self.log_file.flush()

    def measure(self, trainer, arms):
        """Log every layer of every arm, save a checkpoint of each, and return the candidates."""
        losses, per_arm = measure(trainer.stack, self.held_out.expand(len(arms), -1, -1))
        found = []
        for index, (arm, loss, layers) in enumerate(zip(arms, losses, per_arm)):
            best, column = candidate(layers), max(layers, key=lambda layer: layer["zero_column"])
            found.append({"held_out_loss": loss, "scalar": best, "column": column})
            self.log(seed=arm["seed"], held_out_loss=loss, candidate=best, layers=layers)
            folder = self.out / f"seed-{arm['seed']}" / f"step-{self.done_steps:06d}"
            save_folder(trainer.stack, index, folder, self.out / "data")
            say(
                f"step {self.done_steps} seed {arm['seed']} held-out {loss:.3f} |",
                f"scalar L{best['layer']} [{best['row']}, {best['col']}] = {best['weight']:.2f} share {best['share']:.2f}",
                f"ratio {best['ratio_out']:.0f} zeroed {best['zero_scalar']:+.3f} |",
                f"column L{column['layer']} {column['col']} zeroed {column['zero_column']:+.3f}",
            )
        return found

    def steps_that_fit(self, stage, later_work, seconds_per_step):
        """All of the stage's steps, or as many as its share of the time left allows."""
        if not self.deadline:
            return stage["steps"]
        work = stage["steps"] * stage["batch"] * stage["arms"]
        mine = 0.85 * (self.deadline - time.time()) * work / (work + later_work)
        return max(1, min(stage["steps"], int(mine / seconds_per_step)))

    def stage(self, stage, arms, state, later_work):
        """Train the arms through one stage; returns the trainer and the candidates at its end."""
        stack = Stack(self.shape, len(arms), self.device)
        stack.initialise([arm["seed"] for arm in arms])
        fresh = (stack.flat.clone(), torch.zeros_like(stack.flat), torch.zeros_like(stack.flat)), torch.zeros(())
        trainer = Trainer(stack, arms, self.config["optimiser"], self.train, stage["batch"])
        each = trainer.seconds_per_step()
        trainer.load(state or fresh)
        steps = self.steps_that_fit(stage, later_work, each)
        tokens = stage["batch"] * self.shape.max_position_embeddings
        say(
            f"{len(arms)} arms of {stack.parameters:,} parameters, {steps} steps of {tokens} tokens per arm,",
            f"{each * 1e3:.1f} ms a step, {len(arms) * tokens / each / 1e6:.2f} million tokens/s",
        )
        self.log(stage=stage, seeds=[arm["seed"] for arm in arms], steps=steps, seconds_per_step=each)
        found = None if state else self.measure(trainer, arms)
        stops = {round(steps * k / stage["measurements"]) for k in range(1, stage["measurements"] + 1)}
        since = 0
        for step in range(steps):
            trainer.factor.fill_(learning_rate_factor(stage, step, steps))
            trainer.run()
            self.done_steps, self.done_tokens, since = self.done_steps + 1, self.done_tokens + tokens, since + 1
            if step + 1 in stops or since == self.config["log_every"]:
                self.log(seeds=[arm["seed"] for arm in arms], loss=(trainer.loss_sum / since).tolist())
                trainer.loss_sum.zero_()
                since = 0
            if step + 1 in stops:
                found = self.measure(trainer, arms)
        return trainer, found


KEEP_BY = {
    "scalar": lambda found: found["scalar"]["zero_scalar"],
    "column": lambda found: found["column"]["zero_column"] - found["column"]["zero_scalar"],
}


def choose_arms(config, count):
    """The first `count` arms of the configuration; beyond its end, its settings again with new seeds."""
    listed = config["arms"]
    count = count or len(listed)
    return [
        listed[k % len(listed)] | {"seed": listed[k % len(listed)]["seed"] + 1000 * (k // len(listed))} for k in range(count)
    ]


def train(config, text, out, arm_count=None, minutes=None):
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "data" / "prepared.json").exists():
        say("preparing the text")
        say(prepare(text, out / "data", config["shape"]["vocab_size"], config["shape"]["max_position_embeddings"]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(config["data_seed"])
    arms = choose_arms(config, arm_count)
    run, by, state, counts = Run(config, arms, out, minutes, device), KEEP_BY[config["keep_by"]], None, [len(arms)]
    for stage in config["stages"]:
        counts.append(min(counts[-1], stage.get("keep", counts[-1])))
    stages = [stage | {"arms": count} for stage, count in zip(config["stages"], counts)]
    for number, stage in enumerate(stages):
        later = sum(other["steps"] * other["batch"] * other["arms"] for other in stages[number + 1 :])
        trainer, found = run.stage(stage, arms, state, later)
        order = sorted(range(len(arms)), key=lambda index: by(found[index]), reverse=True)
        report = [{**arms[index], **found[index]} for index in order]
        run.log(end_of_stage=number, arms=report)
        kept = order[: counts[number + 1]]
        state, arms = trainer.state(kept), [arms[index] for index in kept]
        say(f"end of stage {number + 1}; best first: seeds", [arm["seed"] for arm in report], "kept", len(kept))
        del trainer
        if device == "cuda":
            torch.cuda.empty_cache()
    run.log_file.close()
    critical = [arm["seed"] for arm in report if arm["scalar"]["zero_scalar"] > CRITICAL_NATS]
    summary = {"name": config["name"], "steps": run.done_steps, "tokens_per_arm": run.done_tokens, "arms": report}
    (out / "summary.json").write_text(json.dumps(summary | {"critical_seeds": critical}, indent=2) + "\n")
    best = out / f"seed-{report[0]['seed']}" / f"step-{run.done_steps:06d}"
    shutil.copytree(best, out / "best", dirs_exist_ok=True)
    say("seeds with a critical scalar (more than", CRITICAL_NATS, "nats):", critical or "none", "| best model:", out / "best")
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--text", required=True, help="folder of books (see prepare.py)")
    parser.add_argument("--out", required=True)
    parser.add_argument("--arms", type=int, help="how many arms to start with (default: those of the configuration)")
    parser.add_argument("--minutes", type=float, help="shorten the stages so that everything ends within this time")
    options = parser.parse_args()
    train(json.loads(options.config.read_text()), options.text, options.out, options.arms, options.minutes)


if __name__ == "__main__":
    main()
