#!/usr/bin/env bash
# SmolLM2-135M under a 128 MiB budget and fully resident: the same tokens, those of the reference.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

prompt="The ship entered the port of"
expected=" the city of New Orleans, where it was said to be a vessel of great wealth and riches."
out=build/demo
mkdir -p "$out"
show() { printf '\n$ %s\n' "$*"; "$@"; }

show bin/edge-rt inspect --model models/smollm2-135m-f32 --sweep-memory 128M,256M,1G --svg "$out/plan.svg"
for budget in 128M 1G; do
    show bin/edge-rt run --model models/smollm2-135m-f32 --prompt "$prompt" --memory-budget "$budget" --max-tokens 64
    bin/edge-rt run --model models/smollm2-135m-f32 --prompt "$prompt" --memory-budget "$budget" --max-tokens 64 \
        --json --quiet > "$out/llm-$budget.json"
done
python3 - "$out" "$expected" << 'PYTHON'
import json
import sys

folder, expected = sys.argv[1:]
small, whole = (json.load(open(f"{folder}/llm-{budget}.json")) for budget in ("128M", "1G"))
reference = json.load(open("test/fixtures/smollm2_greedy.json"))
assert small["tokens"] == whole["tokens"], "the budgets give different tokens"
assert small["tokens"] == reference["tokens"][: len(small["tokens"])], "not the tokens of the reference"
assert small["text"].startswith(expected), small["text"]
for result in (small, whole):
    assert result["peak_bytes"] <= result["budget_bytes"], "over budget"
print(f"\n{len(small['tokens'])} tokens, the same at 128 MiB (peak {small['peak_bytes'] >> 20} MiB) and fully "
      f"resident (peak {whole['peak_bytes'] >> 20} MiB), and those of the NumPy reference.")
PYTHON
