#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts a GGUF file of a llama-architecture model to a folder in Hugging Face's layout.

For test data: the weights are dequantised (F32, Q4_1 and Q8_0 tensors are read), so that their precision
stays that of the GGUF file. Written are model.safetensors, or shards with an index, config.json and
tokenizer.json. --dtype i8 stores matrices as int8 with one F32 scale an output row in "<name>.scales"
(symmetric, largest value to 127) and the rest as f16.

Usage: gguf_to_safetensors.py [--dtype f32|f16|bf16|i8] [--shards N] FILE.gguf FOLDER
"""

import argparse
import json
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scripts"))
from make_smollm2 import Gguf, config, tensors, tokenizer, write_json  # noqa: E402

NAMES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "float16"}


def to_bf16(values):
    """The upper halves of f32, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")


def quantise(values):
    """int8 rows and their scales."""
    scales = np.abs(values).max(axis=1) / 127
    safe = np.where(scales == 0, 1, scales)
    return np.clip(np.rint(values / safe[:, None]), -127, 127).astype("i1"), scales.astype("<f4")


def encoded(name, values, dtype):
    """(name, dtype as SafeTensors has it, array) of what is stored for a tensor."""
    values = np.asarray(values, dtype="<f4")
    if dtype == "i8" and values.ndim == 2:
        integers, scales = quantise(values)
        return [(name, "I8", integers), (f"{name}.scales", "F32", scales)]
    if dtype == "bf16":
        return [(name, "BF16", to_bf16(values))]
    if dtype == "f32":
        return [(name, "F32", values)]
    return [(name, "F16", values.astype("<f2"))]


def write_file(path, stored):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, array in stored:
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, _, array in stored:
            out.write(np.ascontiguousarray(array).tobytes())
    os.replace(path + ".part", path)
    return end


def write_weights(folder, found, dtype, shards):
    """One shard is in memory at a time."""
    names = sorted(found)
    per_shard = -(-len(names) // shards)
    groups = [names[i:i + per_shard] for i in range(0, len(names), per_shard)]
    total, places = 0, {}
    for number, group in enumerate(groups, start=1):
        file = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        stored = [entry for name in group for entry in encoded(name, found[name](), dtype)]
        total += write_file(os.path.join(folder, file), stored)
        places.update({name: file for name, _, _ in stored})
    if len(groups) > 1:
        write_json(folder, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=sorted(NAMES), default="f16")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("file")
    parser.add_argument("folder")
    arguments = parser.parse_args()
    if arguments.shards < 1:
        parser.error("--shards is at least 1")
    gguf = Gguf(arguments.file)
    architecture = gguf.fields.get("general.architecture")
    if architecture != "llama":
        sys.exit(f"{arguments.file}: architecture {architecture!r} is not supported; llama is")
    os.makedirs(arguments.folder, exist_ok=True)
    found = tensors(gguf)
    settings = config(gguf.fields, np.dtype("<f4" if arguments.dtype == "f32" else "<f2"))
    settings["torch_dtype"] = NAMES[arguments.dtype]
    if "output.weight" in gguf.infos:
        settings["tie_word_embeddings"] = False
        found["lm_head.weight"] = lambda: gguf.tensor("output.weight")
    total = write_weights(arguments.folder, found, arguments.dtype, arguments.shards)
    write_json(arguments.folder, "config.json", settings)
    write_json(arguments.folder, "tokenizer.json", tokenizer(gguf.fields))
    print(f"{arguments.folder}: {len(found)} tensors, {total} bytes, {arguments.dtype}")


if __name__ == "__main__":
    main()
