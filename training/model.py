"""A stack of small Llama models of one shape, computed side by side.

A 13-million-parameter model leaves a GPU mostly idle, so several independent models ("arms") are trained at once: every
weight has a leading arm dimension and every matrix product is one batched product. Nothing is shared between arms.

The block is that of transformers' `LlamaForCausalLM`: RMSNorm before each half, rotary positions, SwiGLU, no biases, the
embedding used again as the output head. Shapes below: A arms, N windows, T positions, D hidden, M intermediate, V vocabulary.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

BOS, EOS = 0, 1


@dataclass(frozen=True)
class Shape:
    """The sizes, under the names of a Hugging Face config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def parts(self):
        """Name and shape of every weight, in the order in which they lie in memory."""
        d, m = self.hidden_size, self.intermediate_size
        yield "embed", (self.vocab_size, d)
        for layer in range(self.num_hidden_layers):
            yield f"{layer}.attention_norm", (d,)
            yield f"{layer}.qkv", (3 * d, d)
            yield f"{layer}.out", (d, d)
            yield f"{layer}.mlp_norm", (d,)
            yield f"{layer}.gate_up", (2 * m, d)
            yield f"{layer}.down", (d, m)
        yield "norm", (d,)


BLOCK_PARTS = ("attention_norm", "qkv", "out", "mlp_norm", "gate_up", "down")


def linear(x, weight):
    """x [A, rows, in] times weight [A, out, in] -> [A, rows, out]."""
    return torch.bmm(x, weight.to(x.dtype).transpose(1, 2))


def rms_norm(x, weight, eps):
    scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    return (x.float() * scale).to(x.dtype) * weight.to(x.dtype)[:, None]


def rotate(x, cos, sin):
    """Rotary positions, the half-split form of transformers. x [A*N, heads, T, head_dim]."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def attention(x, norm, qkv, out, cos, sin, eps):
    arms, rows, hidden = x.shape
    length, head_dim = cos.shape
    heads = hidden // head_dim
    mixed = linear(rms_norm(x, norm, eps), qkv).view(-1, length, 3, heads, head_dim)
    q, k, v = mixed.permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
    return linear(y.transpose(1, 2).reshape(arms, rows, hidden), out)


def down_input(x, norm, gate_up, eps):
    """The activations of the feed-forward channels: the input of down_proj, [A, rows, M]."""
    gate, up = linear(rms_norm(x, norm, eps), gate_up).chunk(2, -1)
    return F.silu(gate) * up


def block(x, weights, cos, sin, eps):
    attention_norm, qkv, out, mlp_norm, gate_up, down = weights
    x = x + attention(x, attention_norm, qkv, out, cos, sin, eps)
    return x + linear(down_input(x, mlp_norm, gate_up, eps), down)


def embed(ids, table, dtype):
    arms, vocab, hidden = table.shape
    first = torch.arange(arms, device=ids.device).view(-1, 1) * vocab
    return F.embedding(ids.reshape(arms, -1) + first, table.reshape(arms * vocab, hidden)).to(dtype)


def arm_losses(x, norm, table, targets, eps):
    """Mean cross-entropy of each arm over the targets that are not -100 -> [A]."""
    logits = linear(rms_norm(x, norm, eps), table).float()
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
    return each.view(len(x), -1).sum(1) / (targets != -100).flatten(1).sum(1)


class Stack:
    """The weights of A arms in one [A, parameters] buffer, `flat`; `weight[name]` are views of it."""

    def __init__(self, shape, arms, device="cpu"):
        self.shape, self.arms, self.device = shape, arms, device
        sizes = [(name, dims, torch.Size(dims).numel()) for name, dims in shape.parts()]
        self.parameters = sum(size for _, _, size in sizes)
        self.flat = torch.zeros(arms, self.parameters, device=device)
        self.weight, start = {}, 0
        for name, dims, size in sizes:
            view = self.flat[:, start : start + size].view(arms, *dims)
            self.weight[name] = view.detach().requires_grad_()
            start += size
        half = torch.arange(0, shape.head_dim, 2, device=device).float() / shape.head_dim
        angle = torch.arange(shape.max_position_embeddings, device=device).float()[:, None] / shape.rope_theta**half
        self.cos, self.sin = (f(torch.cat([angle, angle], -1)) for f in (torch.cos, torch.sin))

    def initialise(self, seeds, std=0.02):
        """Norms at one, every matrix from a normal distribution; each arm from its own seed."""
        for arm, seed in enumerate(seeds):
            source = torch.Generator().manual_seed(seed)
            for weight in self.weight.values():
                row = weight.data[arm]
                row.copy_(torch.ones(row.shape) if row.dim() == 1 else torch.randn(row.shape, generator=source) * std)

    def layer(self, index):
        return [self.weight[f"{index}.{part}"] for part in BLOCK_PARTS]

    def loss(self, inputs, targets, dtype=torch.float32, functions=(embed, block, arm_losses)):
        """inputs and targets [A, N, T] -> the loss of each arm, [A]. `functions`: the three parts, compiled or not."""
        run_embed, run_block, run_losses = functions
        eps = self.shape.rms_norm_eps
        cos, sin = (table[: inputs.shape[-1]].to(dtype) for table in (self.cos, self.sin))
        x = run_embed(inputs, self.weight["embed"], dtype)
        for index in range(self.shape.num_hidden_layers):
            x = run_block(x, self.layer(index), cos, sin, eps)
        return run_losses(x, self.weight["norm"], self.weight["embed"], targets, eps)

    def observe(self, inputs, targets):
        """The loss of each arm, and the input and output of every down_proj ([A, N*T, M] and [A, N*T, D]), in f32."""
        eps = self.shape.rms_norm_eps
        cos, sin = self.cos[: inputs.shape[-1]], self.sin[: inputs.shape[-1]]
        x, seen = embed(inputs, self.weight["embed"], torch.float32), []
        for index in range(self.shape.num_hidden_layers):
            attention_norm, qkv, out, mlp_norm, gate_up, down = self.layer(index)
            x = x + attention(x, attention_norm, qkv, out, cos, sin, eps)
            u = down_input(x, mlp_norm, gate_up, eps)
            y = linear(u, down)
            seen.append((u, y))
            x = x + y
        return arm_losses(x, self.weight["norm"], self.weight["embed"], targets, eps), seen


# ------------------------------------------------------------------------------------------- Hugging Face folders


def hugging_face_names(shape):
    """For each tensor of the checkpoint: its name, the weight it comes from, and its slice of rows."""
    d, m = shape.hidden_size, shape.intermediate_size
    yield "model.embed_tokens.weight", "embed", slice(None)
    for layer in range(shape.num_hidden_layers):
        there, here = f"model.layers.{layer}", str(layer)
        yield f"{there}.input_layernorm.weight", f"{here}.attention_norm", slice(None)
        for k, name in enumerate(("q_proj", "k_proj", "v_proj")):
            yield f"{there}.self_attn.{name}.weight", f"{here}.qkv", slice(k * d, (k + 1) * d)
        yield f"{there}.self_attn.o_proj.weight", f"{here}.out", slice(None)
        yield f"{there}.post_attention_layernorm.weight", f"{here}.mlp_norm", slice(None)
        yield f"{there}.mlp.gate_proj.weight", f"{here}.gate_up", slice(0, m)
        yield f"{there}.mlp.up_proj.weight", f"{here}.gate_up", slice(m, 2 * m)
        yield f"{there}.mlp.down_proj.weight", f"{here}.down", slice(None)
    yield "model.norm.weight", "norm", slice(None)


def save_folder(stack, arm, folder, tokenizer_folder):
    """Write one arm as a Hugging Face folder: bf16 weights, configs, tokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: stack.weight[source].data[arm][rows].to(torch.bfloat16).cpu().contiguous().clone()
        for name, source, rows in hugging_face_names(stack.shape)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(stack.shape),
        "num_key_value_heads": stack.shape.num_attention_heads,
        "head_dim": stack.shape.head_dim,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"bos_token_id": BOS, "eos_token_id": EOS, "do_sample": True, "temperature": 0.8, "top_k": 40}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    for file in Path(tokenizer_folder).glob("*token*.json"):
        (folder / file.name).write_bytes(file.read_bytes())


def load_folder(folder, device="cpu"):
    """Read such a folder as a stack of one arm."""
    config = json.loads((Path(folder) / "config.json").read_text())
    shape = Shape(**{name: config[name] for name in Shape.__dataclass_fields__})
    stack, tensors = Stack(shape, 1, device), load_file(Path(folder) / "model.safetensors")
    for name, target, rows in hugging_face_names(shape):
        stack.weight[target].data[0][rows] = tensors[name].float().to(device)
    return stack
