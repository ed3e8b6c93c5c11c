#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Execution times of one model from an exported trace, as the JSON that bench/determinism_report.py reads.

    aegisrt trace export run.trace --format jsonl -o run.jsonl
    bench/trace_samples.py run.jsonl MODEL [--first N] [--name NAME] [--beside MODEL,...] [--apart] > samples.json

Prints {"name":..,"samples_ns":[..]}: from the start of a segment on its lane to its end on the device, in the
order of the trace; of a cut model one sample for each segment. With --beside, only executions since whose
predecessor of the same model none but these other models ran; with --apart too, only the others: where caches hold
the models that run beside one another, and not all, the two differ.
"""
import argparse
import json
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("model")
    parser.add_argument("--first", type=int, default=0, help="that many samples at most; 0: all")
    parser.add_argument("--name", help="instead of the model's")
    parser.add_argument("--beside", help="models, apart by commas")
    parser.add_argument("--apart", action="store_true", help="with --beside: the complement")
    options = parser.parse_args()
    beside = set(options.beside.split(",")) if options.beside else None
    executions = []
    with open(options.trace, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record.get("kind") == "execute":
                executions.append((record["start_ns"], record["end_ns"], record["model"]))
    samples, alone, before = [], True, False
    for start, end, model in sorted(executions):
        if model != options.model:
            alone = alone and (beside is None or model in beside)
            continue
        if beside is None or (before and alone != options.apart):
            samples.append(end - start)
        alone, before = True, True
    if not samples:
        sys.exit(f"{options.trace} holds no execution of {options.model}")
    samples = samples[: options.first] if options.first else samples
    json.dump({"name": options.name or options.model, "samples_ns": samples}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
