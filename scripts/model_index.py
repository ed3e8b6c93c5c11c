"""Writes MODELS.json: what each model is, where it came from, and what it takes and gives."""

import json
import os
import sys

import onnx


def dtype_name(value):
    return onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()


def shape_of(value):
    """Fixed dimensions as numbers, the others by their name ("?" when they have none)."""
    return [
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or "?")
        for dim in value.type.tensor_type.shape.dim
    ]


def describe(values):
    return [{"name": v.name, "dtype": dtype_name(v), "shape": shape_of(v)} for v in values]


def rows(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                yield line.split()


def main():
    models_lock, deps_lock, folder = sys.argv[1:]
    versions = {row[0]: row[1] for row in rows(deps_lock)}
    entries = []
    for file, sha256, package, _, licence in rows(models_lock):
        entry = {
            "file": file,
            "package": package,
            "version": versions[package],
            "licence": licence,
            "sha256": sha256,
            "bytes": os.path.getsize(os.path.join(folder, file)),
        }
        if file.endswith(".onnx"):
            model = onnx.load(os.path.join(folder, file), load_external_data=False)
            weights = {tensor.name for tensor in model.graph.initializer}
            entry["ir_version"] = model.ir_version
            entry["opset"] = {op.domain or "ai.onnx": op.version for op in model.opset_import}
            # Old models list their weights among the inputs; those are not inputs to anyone.
            entry["inputs"] = describe(v for v in model.graph.input if v.name not in weights)
            entry["outputs"] = describe(model.graph.output)
        entries.append(entry)
    target = os.path.join(folder, "MODELS.json")
    with open(target + ".part", "w", encoding="utf-8") as out:
        json.dump({"schema_version": 1, "models": entries}, out, indent=1)
        out.write("\n")
    os.replace(target + ".part", target)


main()
