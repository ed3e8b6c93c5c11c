# SPDX-License-Identifier: Apache-2.0
"""Compares outputs that a test wrote with those of a plain ONNX Runtime session, bit for bit.

check_onnx_outputs.py MODELS DUMP [--no-reference]: DUMP/<model>/in.<job>.<name> and out.<job>.<name> are
raw bytes. Jobs of a model with state come in order; the plain session is fed its own outputs by hand, so that an error
that builds up over jobs is seen too. ref.0.output_0 is compared with MODELS/reference/<model>/output_0.pb,
unless --no-reference is given.
"""
import os
import pathlib
import sys

import numpy as np
import onnx
import onnx.numpy_helper

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is loaded
import onnxruntime  # noqa: E402

DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
STATE = {"state": "stateN", "h": "hn", "c": "cn"}


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def read(folder, kind, job, name, dtype):
    return np.fromfile(folder / f"{kind}.{job}.{name.replace('/', '|')}", dtype=dtype)


def shape_of(declared, elements):
    """The shapes that the test gave: free dimensions are 1 but for the last ones of these counts."""
    given = {307200: [480, 640], 15360: [48, 320], 9216: [48, 192]}
    fixed = int(np.prod([d for d in declared if isinstance(d, int) and d > 0], dtype=np.int64))
    shape = [d if isinstance(d, int) and d > 0 else 1 for d in declared]
    free = [i for i, d in enumerate(declared) if not isinstance(d, int) or d <= 0]
    sizes = given.get(elements // fixed, [elements // fixed] if free else [])
    for index, size in zip(free[len(free) - len(sizes):], sizes):
        shape[index] = size
    return shape


def check(models, folder, reference):
    session = session_of(str(models / f"{folder.name}.onnx"))
    jobs = len(list(folder.glob("out.*"))) // len(session.get_outputs())
    names = [o.name for o in session.get_outputs()]
    fed, problems = {}, []
    for job in range(jobs):
        feed = {}
        for one in session.get_inputs():
            data = read(folder, "in", job, one.name, DTYPES[one.type])
            feed[one.name] = data.reshape(shape_of(one.shape, data.size))
            if one.name in fed:
                if fed[one.name].tobytes() != data.tobytes():
                    problems.append(f"job {job}: input {one.name} is not the state of the job before")
                feed[one.name] = fed[one.name]
        results = session.run(None, feed)
        for name, result in zip(names, results):
            ours = read(folder, "out", job, name, result.dtype)
            if ours.tobytes() != result.tobytes():
                gap = np.abs(ours.astype(np.float64) - result.ravel()).max() if ours.size == result.size else "size"
                problems.append(f"job {job}: output {name} differs, by {gap} at most")
        for source, target in STATE.items():
            if target in names and source in feed:
                fed[source] = results[names.index(target)]
    if reference:
        problems += check_reference(models, folder)
    return jobs, problems


def check_reference(models, folder):
    """Against the output that the model's package ships, within its own tolerance."""
    path = models / "reference" / folder.name / "output_0.pb"
    if not path.exists():
        return []
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    wanted = onnx.numpy_helper.to_array(tensor).ravel()
    ours = np.fromfile(folder / "ref.0.output_0", dtype=wanted.dtype)
    if ours.size == wanted.size and np.allclose(ours, wanted, rtol=1e-3, atol=1e-7):
        return []
    return ["the package's reference output differs"]


def main():
    models, dump = map(pathlib.Path, sys.argv[1:3])
    failures = 0
    folders = sorted(p for p in dump.iterdir() if p.is_dir())
    for folder in folders:
        jobs, problems = check(models, folder, "--no-reference" not in sys.argv)
        print(f"{folder.name}: {jobs} jobs, {'bit-identical' if not problems else 'DIFFERENT'}")
        for problem in problems[:3]:
            print(f"  {problem}")
        failures += bool(problems)
    return 1 if failures or not folders else 0


if __name__ == "__main__":
    sys.exit(main())
