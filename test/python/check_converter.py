#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a small GGUF file, converts it in every form, and reads the weights back where our reader says
that they lie.

Usage: check_converter.py CONVERTER DESCRIBE WORK (DESCRIBE is describe_model). Exit status 77: skipped.
"""

import os
import shutil
import struct
import subprocess
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: numpy is missing; run scripts/setup.sh")
    sys.exit(77)

WIDTH, FEED, HEADS, KV_HEADS, LAYERS, VOCABULARY = 64, 96, 4, 2, 2, 40
HEAD = WIDTH // HEADS
F32, Q8_0 = 0, 8


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def field(name, value):
    if isinstance(value, str):
        return string(name) + struct.pack("<I", 8) + string(value)
    if isinstance(value, float):
        return string(name) + struct.pack("<If", 6, value)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return string(name) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(string(item) for item in value)
    if isinstance(value, list):
        return string(name) + struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    return string(name) + struct.pack("<II", 4, value)


def swap_pairs(weight, heads):
    """Rows as GGUF has them: what rotates together side by side. From Hugging Face's halves."""
    return weight.reshape(heads, 2, HEAD // 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def q8_0(values):
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 127).astype("<f2")
    integers = np.rint(blocks / scale.astype("<f4")[:, None]).astype("i1")
    data = b"".join(s.tobytes() + i.tobytes() for s, i in zip(scale, integers))
    return data, (integers * scale.astype("<f4")[:, None]).reshape(values.shape).astype("<f4")


def make_gguf(path, tied):
    """Writes the file; returns role and block -> the values that must come back, in f32."""
    random = np.random.default_rng(20261121)
    wanted, infos, data = {}, b"", b""
    count = 0

    def add(name, role, block, shape, kind, order=lambda weight: weight, undo=lambda weight: weight):
        nonlocal infos, data, count
        values = random.standard_normal(shape).astype("<f4")
        stored = order(values)
        if kind == Q8_0:
            raw, stored = q8_0(stored)
        else:
            raw = stored.tobytes()
        wanted[role, block] = undo(stored)
        data += b"\0" * (-len(data) % 32)
        infos += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        infos += struct.pack("<IQ", kind, len(data))
        data += raw
        count += 1

    def undo(heads):
        return lambda weight: weight.reshape(heads, HEAD // 2, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)

    add("token_embd.weight", "token_embedding", 0, (VOCABULARY, WIDTH), Q8_0)
    for i in range(LAYERS):
        add(f"blk.{i}.attn_norm.weight", "attention_norm", i, (WIDTH,), F32)
        add(f"blk.{i}.attn_q.weight", "query", i, (WIDTH, WIDTH), F32, lambda w: swap_pairs(w, HEADS), undo(HEADS))
        add(f"blk.{i}.attn_k.weight", "key", i, (KV_HEADS * HEAD, WIDTH), Q8_0, lambda w: swap_pairs(w, KV_HEADS), undo(KV_HEADS))
        add(f"blk.{i}.attn_v.weight", "value", i, (KV_HEADS * HEAD, WIDTH), Q8_0)
        add(f"blk.{i}.attn_output.weight", "attention_output", i, (WIDTH, WIDTH), F32)
        add(f"blk.{i}.ffn_norm.weight", "feed_forward_norm", i, (WIDTH,), F32)
        add(f"blk.{i}.ffn_gate.weight", "gate", i, (FEED, WIDTH), Q8_0)
        add(f"blk.{i}.ffn_up.weight", "up", i, (FEED, WIDTH), F32)
        add(f"blk.{i}.ffn_down.weight", "down", i, (WIDTH, FEED), F32)
    add("output_norm.weight", "final_norm", 0, (WIDTH,), F32)
    if not tied:
        add("output.weight", "head", 0, (VOCABULARY, WIDTH), F32)
    else:
        wanted["head", 0] = wanted["token_embedding", 0]
    tokens = [chr(0x21 + i) for i in range(VOCABULARY)]
    fields = {"general.architecture": "llama", "llama.block_count": LAYERS, "llama.embedding_length": WIDTH,
              "llama.feed_forward_length": FEED, "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KV_HEADS,
              "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0, "llama.context_length": 128,
              "llama.vocab_size": VOCABULARY, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["! \""],
              "tokenizer.ggml.token_type": [1] * VOCABULARY, "tokenizer.ggml.bos_token_id": 0,
              "tokenizer.ggml.eos_token_id": 1, "tokenizer.ggml.padding_token_id": 1}
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(fields)) + b"".join(field(k, v) for k, v in fields.items()) + infos
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % 32) + data)
    return wanted


def read_back(line):
    """(role, block) and values in f32 of one line of DESCRIBE."""
    role, block, rows, columns, dtype, path, offset, size, scales = line.split(" ")
    rows, columns = int(rows), int(columns)
    with open(path, "rb") as file:
        file.seek(int(offset))
        raw = file.read(int(size))
        file.seek(int(scales))
        scale = np.frombuffer(file.read(4 * rows), "<f4") if dtype == "i8" else None
    if dtype == "bf16":
        values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(raw, {"f32": "<f4", "f16": "<f2", "i8": "i1"}[dtype]).astype("<f4")
    values = values.reshape(rows, columns) if columns > 1 else values
    return (role, int(block)), values * scale[:, None] if scale is not None else values, dtype


# Largest error, as a share of the largest value of a row.
TOLERANCE = {"f32": 0.0, "f16": 2.0 ** -11, "bf16": 2.0 ** -8, "i8": 0.51 / 127}


def check(converter, describe, work, dtype, shards, tied):
    source, folder = os.path.join(work, "model.gguf"), os.path.join(work, "model")
    shutil.rmtree(folder, ignore_errors=True)
    wanted = make_gguf(source, tied)
    subprocess.run([sys.executable, converter, "--dtype", dtype, "--shards", str(shards), source, folder],
                   check=True, stdout=subprocess.DEVNULL)
    lines = subprocess.run([describe, folder], check=True, capture_output=True, text=True).stdout.splitlines()
    failures = 0
    found = {}
    for line in lines:
        place, values, kind = read_back(line)
        found[place] = True
        reference = wanted[place]
        bound = TOLERANCE[kind] * np.abs(reference).max(axis=-1, keepdims=True)
        if values.shape != reference.shape or (np.abs(values - reference) > bound).any():
            failures += 1
            print(f"{dtype}, {shards} shards: {place} differs")
    if set(found) != set(wanted):
        failures += 1
        print(f"{dtype}: tensors {set(found) ^ set(wanted)} are missing or too many")
    return failures


def main():
    converter, describe, work = sys.argv[1:]
    os.makedirs(work, exist_ok=True)
    failures = runs = 0
    for dtype in TOLERANCE:
        for shards, tied in ((1, True), (3, False)):
            failures += check(converter, describe, work, dtype, shards, tied)
            runs += 1
    print(f"{runs} conversions, {failures} failures")
    return 0 if failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
