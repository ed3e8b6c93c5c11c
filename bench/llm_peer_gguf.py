#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a GPT-2 folder (config.json, model.safetensors) as GGUF, for llama.cpp to run the same weights.

Usage: llm_peer_gguf.py FOLDER FILE.gguf

Needs the Python packages gguf and numpy. Matrices keep their type (f32 or f16), vectors are f32. The
vocabulary is made up: llama-bench feeds token numbers.
"""

import json
import os
import sys

import gguf
import numpy as np

TYPES = {"F32": "<f4", "F16": "<f2"}
BLOCK = {
    "ln_1.weight": "attn_norm.weight", "ln_1.bias": "attn_norm.bias",
    "attn.c_attn.weight": "attn_qkv.weight", "attn.c_attn.bias": "attn_qkv.bias",
    "attn.c_proj.weight": "attn_output.weight", "attn.c_proj.bias": "attn_output.bias",
    "ln_2.weight": "ffn_norm.weight", "ln_2.bias": "ffn_norm.bias",
    "mlp.c_fc.weight": "ffn_up.weight", "mlp.c_fc.bias": "ffn_up.bias",
    "mlp.c_proj.weight": "ffn_down.weight", "mlp.c_proj.bias": "ffn_down.bias",
}
OUTSIDE = {"wte.weight": "token_embd.weight", "wpe.weight": "position_embd.weight",
           "ln_f.weight": "output_norm.weight", "ln_f.bias": "output_norm.bias"}


def tensors(path):
    """Yields name and array of each tensor; the file is mapped."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(path, mode="r", offset=8 + size)
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, data[begin:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])


def gguf_name(name):
    if name in OUTSIDE:
        return OUTSIDE[name]
    _, block, rest = name.split(".", 2)
    return f"blk.{block}.{BLOCK[rest]}"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = sys.argv[1:]
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    writer = gguf.GGUFWriter(out, "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config["n_inner"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    half = config["torch_dtype"] == "float16"
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    words = [f"t{i}" for i in range(config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(words))
    writer.add_token_merges(["t 0"])
    for name in ("bos", "eos"):
        getattr(writer, f"add_{name}_token_id")(config["vocab_size"] - 1)
    for name, array in tensors(os.path.join(folder, "model.safetensors")):
        if name.startswith("h.") and array.ndim == 2:
            array = array.T  # GPT-2 stores [input][output]
        if name == "wpe.weight" or array.ndim == 1:
            array = array.astype("<f4")  # llama.cpp adds these in f32
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
