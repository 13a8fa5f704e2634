"""Train a tiny model on the CPU and check the results. Run: python training/test_training.py (under a minute)."""

import json
import random
import tempfile
import unittest
from pathlib import Path

import torch
from evaluate import candidate, edited, inputs_and_targets, measure, passages_as_windows, report
from model import BOS, Shape, Stack, load_folder
from prepare import HELD_OUT_TEXT, clean, prepare_book, raw_books, split_books
from train import choose_arms, learning_rate_factor, train

HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "smoke.json").read_text())


def write_books(folder, count=6):
    """A few kilobytes of sentences made from a handful of words."""
    pick = random.Random(0).choice
    for number in range(count):
        sentences = [
            f"The {pick(['old', 'grey', 'quiet'])} {pick(['house', 'road', 'river'])} {pick(['stood', 'lay', 'waited'])} "
            f"{pick(['by the sea', 'in the rain', 'under the hill'])}."
            for _ in range(60)
        ]
        (folder / f"book-{number}.txt").write_text(" ".join(sentences))


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        (cls.folder / "text").mkdir()
        write_books(cls.folder / "text")
        cls.summary = train(CONFIG, cls.folder / "text", cls.folder / "out")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def log(self):
        return [json.loads(line) for line in (self.folder / "out" / "log.jsonl").read_text().splitlines()]

    def test_the_loss_falls(self):
        losses = [entry["loss"][0] for entry in self.log() if "loss" in entry]
        self.assertLess(losses[-1], losses[0] - 0.5)

    def test_the_log_follows_every_arm(self):
        measured = [entry for entry in self.log() if "layers" in entry]
        self.assertEqual([entry["step"] for entry in measured], [0, 0, 20, 20, 26, 32])
        for entry in measured:
            self.assertEqual(len(entry["layers"]), 2)
            self.assertIn("zero_scalar", entry["candidate"])
            self.assertTrue(all(0 <= layer["lp_top1"] <= 1 for layer in entry["layers"]))

    def test_one_arm_is_kept(self):
        self.assertEqual(len(self.summary["arms"]), 1)
        self.assertEqual(self.summary["steps"], 32)

    def test_transformers_gives_the_same_loss(self):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = self.folder / "out" / "best"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        passage = "The old house stood by the sea. The grey road lay in the rain."
        ids = tokenizer(passage, return_tensors="pt").input_ids[:, :30]
        self.assertEqual(ids[0, 0], BOS)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            theirs = model(ids, labels=ids).loss.item()
            ours = load_folder(folder).loss(*inputs_and_targets(ids[None])).item()
        self.assertAlmostEqual(ours, theirs, delta=1e-3)

    def test_a_checkpoint_can_be_reported_on(self):
        result, _, _ = report(self.folder / "out" / "best", "The old house stood by the sea.\n\nThe grey road lay.", 16)
        self.assertTrue(result["loss"] > 0 and len(result["random_scalars"]) == 6)


class Measuring(unittest.TestCase):
    def setUp(self):
        self.stack = Stack(Shape(64, 32, 48, 2, 2, 16), 2)
        self.stack.initialise([1, 2])
        self.windows = torch.randint(2, 64, (2, 3, 17), generator=torch.Generator().manual_seed(0))
        self.windows[..., 0] = BOS

    def test_a_planted_scalar_is_found_in_its_arm_only(self):
        self.stack.weight["1.down"].data[0, 5, 7] = 300.0
        _, (planted, other) = measure(self.stack, self.windows)
        self.assertEqual((planted[1]["row"], planted[1]["col"]), (5, 7))
        self.assertGreater(planted[1]["share"], 0.99)
        self.assertEqual(candidate(planted)["layer"], 1)
        self.assertNotEqual((other[1]["row"], other[1]["col"]), (5, 7))

    def test_an_edit_is_undone_exactly(self):
        weight = self.stack.weight["0.down"].data
        before = weight.clone()
        with edited(weight, (0, slice(None), 3)):
            self.assertEqual(weight[0, :, 3].abs().max(), 0)
            self.assertTrue(torch.equal(weight[1], before[1]))
        self.assertTrue(torch.equal(weight, before))

    def test_arms_do_not_touch_each_other(self):
        inputs, targets = inputs_and_targets(self.windows)
        before = self.stack.loss(inputs, targets)
        self.stack.weight["0.qkv"].data[1] *= 2
        after = self.stack.loss(inputs, targets)
        self.assertEqual(before[0], after[0])
        self.assertNotEqual(before[1], after[1])


class Preparing(unittest.TestCase):
    def test_markup_and_typography_are_made_plain(self):
        raw = "Title: X\n\nAuthor: Y\n\n-------\n\n## I\n\n\u201cOh\u2014_no_,\u201d he *said*.\n\n\n| a | b |\nverse\nlines"
        self.assertEqual(clean(raw), 'I\n\n"Oh--no," he said.\n\nverse\nlines')

    def test_hard_wrapped_prose_becomes_one_line(self):
        wrapped = "\n".join(["it was a long and very ordinary line of prose, as broken by printers"] * 4)
        self.assertNotIn("\n", clean(wrapped))

    def test_books_with_a_held_out_passage_are_held_out_in_any_edition(self):
        passage = HELD_OUT_TEXT.read_text().split("\n\n")[3].replace(" ", "\n  ").replace("'", "\u2019")
        text, shared = prepare_book("A prison.\n\n" + passage)
        train_books, held_out = split_books([(text, shared), ("something else", False)])
        self.assertTrue(shared)
        self.assertIn(text, held_out)
        self.assertNotIn(text, train_books)

    def test_books_are_split_at_the_separator(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "a.txt").write_text("one<|endoftext|>two")
            (Path(folder) / "b.md").write_text("three")
            (Path(folder) / "c.json").write_text("no")
            self.assertEqual(list(raw_books(folder)), ["one", "two", "three"])


class Schedule(unittest.TestCase):
    def test_warm_up_plateau_and_decay(self):
        stage = {"warmup": 10, "decay": 0.5, "final": 0.05}
        factors = [learning_rate_factor(stage, step, 100) for step in range(100)]
        self.assertAlmostEqual(factors[0], 0.1)
        self.assertEqual(factors[30], 1)
        self.assertAlmostEqual(factors[75], 0.5)
        self.assertAlmostEqual(factors[-1], 0.05)

    def test_more_arms_than_listed_get_new_seeds(self):
        seeds = [arm["seed"] for arm in choose_arms(CONFIG, 5)]
        self.assertEqual(seeds, [1, 2, 1001, 1002, 2001])

    def test_every_passage_starts_with_bos_and_is_cut(self):
        tokenizer = HERE.parent / "public" / "models" / "linchpin-13m" / "tokenizer.json"
        windows = passages_as_windows(tokenizer, HELD_OUT_TEXT.read_text(), 128)
        self.assertEqual(tuple(windows.shape), (1, 8, 128))
        self.assertTrue(bool((windows[..., 0] == BOS).all()))


if __name__ == "__main__":
    torch.set_num_threads(2)
    unittest.main()
