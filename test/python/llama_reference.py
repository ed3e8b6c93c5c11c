#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Llama and GPT-2 in NumPy, from the papers and the layout of the files alone: what the transformer
runner is compared with. Greedy; f32 throughout; keys and values are kept.

Usage: llama_reference.py MODEL_FOLDER --tokens 504,5575 [--max-tokens 64] [--logits FILE]
       llama_reference.py --fixture   writes test/fixtures/smollm2_greedy.json anew
Prints {"tokens": [...], "margin": smallest distance of the two best logits}.
"""

import argparse
import json
import os
import struct
import sys

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I8": np.int8}


class Weights:
    """Tensors of a model.safetensors as f32, made when asked for."""

    def __init__(self, folder):
        path = os.path.join(folder, "model.safetensors")
        self.data = np.memmap(path, np.uint8, "r")
        size = struct.unpack("<Q", self.data[:8].tobytes())[0]
        self.infos = json.loads(self.data[8 : 8 + size].tobytes())
        self.base = 8 + size
        self.kept = {}

    def __call__(self, name):
        if name not in self.kept:
            self.kept[name] = self.read(name)
        return self.kept[name]

    def read(self, name):
        info = self.infos[name]
        begin, end = (self.base + offset for offset in info["data_offsets"])
        values = np.frombuffer(self.data[begin:end].tobytes(), DTYPES[info["dtype"]]).reshape(info["shape"])
        if info["dtype"] == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32)

    def matrix(self, name, outputs_last=False):
        """A matrix; int8 ones times the scale of each output."""
        if name not in self.kept:
            values = self.read(name)
            if name + ".scales" in self.infos:
                scales = self.read(name + ".scales")
                values = values * (scales if outputs_last else scales[:, None])
            self.kept[name] = values
        return self.kept[name]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(q, keys, values, past):
    """q: [heads, n, width]; keys, values: [kv heads, past + n, width]. Causal."""
    group = q.shape[0] // keys.shape[0]
    keys, values = np.repeat(keys, group, 0), np.repeat(values, group, 0)
    scores = q @ keys.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1]))
    n, total = scores.shape[1:]
    mask = np.arange(total)[None, :] > past + np.arange(n)[:, None]
    scores[:, mask] = -np.inf
    return softmax(scores) @ values


class Llama:
    def __init__(self, config, weights):
        self.c, self.w = config, weights
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads", self.heads)
        self.width = config.get("head_dim") or config["hidden_size"] // self.heads
        self.cache = [None] * config["num_hidden_layers"]
        exponents = np.arange(0, self.width, 2, dtype=np.float32) / np.float32(self.width)
        self.frequencies = (1.0 / (config.get("rope_theta", 10000.0) ** exponents)).astype(np.float32)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w(name)

    def split(self, x, heads):
        return x.reshape(len(x), heads, self.width).transpose(1, 0, 2)

    def rotate(self, x, positions):
        angles = positions[:, None].astype(np.float32) * self.frequencies[None, :]
        cos, sin = np.cos(angles), np.sin(angles)
        low, high = np.split(x, 2, -1)
        return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)

    def block(self, x, b, positions):
        p = f"model.layers.{b}."
        h = self.norm(x, p + "input_layernorm.weight")
        q, k, v = (h @ self.w.matrix(f"{p}self_attn.{n}_proj.weight").T for n in "qkv")
        q = self.rotate(self.split(q, self.heads), positions)
        k = self.rotate(self.split(k, self.kv_heads), positions)
        v = self.split(v, self.kv_heads)
        if self.cache[b] is not None:
            k, v = (np.concatenate([old, new], 1) for old, new in zip(self.cache[b], (k, v)))
        self.cache[b] = (k, v)
        a = attend(q, k, v, positions[0]).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + a @ self.w.matrix(p + "self_attn.o_proj.weight").T
        h = self.norm(x, p + "post_attention_layernorm.weight")
        gate = h @ self.w.matrix(p + "mlp.gate_proj.weight").T
        up = h @ self.w.matrix(p + "mlp.up_proj.weight").T
        return x + (gate / (1 + np.exp(-gate)) * up) @ self.w.matrix(p + "mlp.down_proj.weight").T

    def logits(self, tokens, past):
        positions = past + np.arange(len(tokens))
        table = self.w.matrix("model.embed_tokens.weight")
        x = table[tokens]
        for b in range(len(self.cache)):
            x = self.block(x, b, positions)
        head = table if self.c.get("tie_word_embeddings") else self.w.matrix("lm_head.weight")
        return self.norm(x[-1:], "model.norm.weight")[0] @ head.T


class Gpt2:
    def __init__(self, config, weights):
        self.c, self.w = config, weights
        self.heads = config["n_head"]
        self.cache = [None] * config["n_layer"]
        self.prefix = "transformer." if "transformer.wte.weight" in weights.infos else ""

    def norm(self, x, name):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        x = (x - mean) / np.sqrt(variance + self.c.get("layer_norm_epsilon", 1e-5))
        return x * self.w(name + ".weight") + self.w(name + ".bias")

    def linear(self, x, name):
        return x @ self.w.matrix(name + ".weight", outputs_last=True) + self.w(name + ".bias")

    def block(self, x, b, past):
        p = f"{self.prefix}h.{b}."
        qkv = self.linear(self.norm(x, p + "ln_1"), p + "attn.c_attn")
        q, k, v = (part.reshape(len(x), self.heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, -1))
        if self.cache[b] is not None:
            k, v = (np.concatenate([old, new], 1) for old, new in zip(self.cache[b], (k, v)))
        self.cache[b] = (k, v)
        a = attend(q, k, v, past).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + self.linear(a, p + "attn.c_proj")
        h = self.linear(self.norm(x, p + "ln_2"), p + "mlp.c_fc")
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        return x + self.linear(h.astype(np.float32), p + "mlp.c_proj")

    def logits(self, tokens, past):
        table = self.w.matrix(self.prefix + "wte.weight")
        x = table[tokens] + self.w(self.prefix + "wpe.weight")[past + np.arange(len(tokens))]
        for b in range(len(self.cache)):
            x = self.block(x, b, past)
        return self.norm(x[-1:], self.prefix + "ln_f")[0] @ table.T


def load(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    return (Gpt2 if config["model_type"] == "gpt2" else Llama)(config, Weights(folder))


def greedy(model, prompt, count):
    """(tokens, logits behind the prompt, smallest margin)."""
    logits = first = model.logits(np.array(prompt), 0)
    tokens, margin = [], np.inf
    for _ in range(count):
        best = np.sort(logits)[-2:]
        margin = min(margin, float(best[1] - best[0]))
        tokens.append(int(np.argmax(logits)))
        if len(tokens) < count:
            logits = model.logits(np.array(tokens[-1:]), len(prompt) + len(tokens) - 1)
    return tokens, first, margin


def write_fixture():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folder = os.path.join(root, "models", "smollm2-135m-f32")
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as file:
        vocabulary = json.load(file)
    text = "The ship entered the port of"
    prompt = [vocabulary[word] for word in text.replace(" ", " \u0120").split(" ")]
    tokens, _, margin = greedy(load(folder), prompt, 64)
    with open(os.path.join(root, "test", "fixtures", "smollm2_greedy.json"), "w", encoding="utf-8") as file:
        json.dump({"prompt": text, "prompt_tokens": prompt, "tokens": tokens, "margin": round(margin, 6)}, file)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--tokens", default="1")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--logits", metavar="FILE")
    parser.add_argument("--fixture", action="store_true")
    arguments = parser.parse_args()
    if arguments.fixture:
        write_fixture()
        return 0
    prompt = [int(token) for token in arguments.tokens.split(",")]
    tokens, first, margin = greedy(load(arguments.folder), prompt, arguments.max_tokens)
    if arguments.logits:
        first.astype(np.float32).tofile(arguments.logits)
    print(json.dumps({"tokens": tokens, "margin": margin}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
