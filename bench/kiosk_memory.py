#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A workload in AegisRT and on plain ONNX Runtime, in turns: memory and lateness side by side.

    kiosk_memory.py AEGISRT PEER [WORKLOAD] [SECONDS] [ROUNDS]

AEGISRT is bin/aegisrt, PEER bench_peer_ort_threads: one session, one arena and one thread a model,
default settings. A run of AegisRT before the first round compiles and profiles what is not kept
yet; it is not counted. Prints JSON; `lower_by` is the share that AegisRT needs less. Exit 1 when a
run failed or the models that ran are not the same on both sides.
"""

import json
import statistics
import subprocess
import sys


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def ours(program, workload, seconds):
    report = run(program, "run", workload, "--duration", seconds, "--json", "--quiet")
    memory = report["memory"]
    return {"models": report["admitted"],
            "resident_bytes": memory["process_resident"],
            "loading_peak_bytes": memory["process_peak"],
            "planned_bytes": memory["planned"],
            "paged_bytes": memory["paged"], "paged_sum_bytes": memory["paged_sum"],
            "jobs": sum(m["jobs"] for m in report["models"]),
            "late": sum(m["missed"] for m in report["models"]),
            "late_unexcused": sum(m["unexcused"] for m in report["models"]),
            "busy": report["busy"],
            "page_ins": sum(m["page_ins"] for m in report["models"]),
            "by_class": memory["by_class"]}


def plain(program, workload, seconds):
    values = {r["name"]: r.get("value") for r in run(program, workload, seconds)["results"]}
    return {"models": int(values["models"]),
            "resident_bytes": int(values["resident_after_run"]),
            "loading_peak_bytes": int(values["peak_after_loading"]),
            "jobs": int(values["jobs"]), "late": int(values["missed"])}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, peer = sys.argv[1:3]
    workload = sys.argv[3] if len(sys.argv) > 3 else "examples/kiosk.toml"
    seconds = sys.argv[4] if len(sys.argv) > 4 else "20"
    rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 3
    ours(program, workload, "1")
    pairs = [{"aegisrt": ours(program, workload, seconds),
              "onnxruntime": plain(peer, workload, seconds)} for _ in range(rounds)]
    lower = {}
    for key in ("resident_bytes", "loading_peak_bytes"):
        ratios = [p["aegisrt"][key] / p["onnxruntime"][key] for p in pairs]
        lower[key] = {"lower_by": 1 - statistics.median(ratios),
                      "least": 1 - max(ratios), "most": 1 - min(ratios)}
    same = all(p["aegisrt"]["models"] == p["onnxruntime"]["models"] for p in pairs)
    print(json.dumps({"schema_version": 1, "workload": workload, "seconds": float(seconds),
                      "same_models": same, "lower": lower, "rounds": pairs}, indent=2))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
