#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""edge-rt beside llama.cpp: the same random GPT-2-small weights, run in turns, medians, ratios.

Usage: llm_peer.py [--rounds 5] [--cases NAMES] [--json FILE] [--work FOLDER] [--rate MB/s]

Environment: LLAMA_BENCH, path of llama.cpp's llama-bench (without it only edge-rt is measured);
EDGE_RT (build/release/cli/edge-rt). Python with numpy and gguf (pip install gguf) for the weights.

Cases: resident-f16, resident-f32 (64 tokens decoded and a prompt of 32, two threads, all weights in memory);
group-256, group-128 (f16 in a control group of so many MiB, the disk at --rate); batch (8 prompts against one at
128 MiB); busy (beside a loop that never ends on each core but one). The control groups are of version 1 (memory,
blkio) and need root; where they cannot be made the case is skipped and the reason printed. Edge-rt takes its budget
from the group's own limit. The load average is printed with each case: above 1 the figures say little.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
EDGE_RT = os.environ.get("EDGE_RT", os.path.join(ROOT, "build/release/cli/edge-rt"))
LLAMA_BENCH = os.environ.get("LLAMA_BENCH")
PROMPT = "The ship entered the port of a t"  # bytes are tokens here: 32
DECODED, THREADS = 64, 2
MIB = 1 << 20
GROUPS = "/sys/fs/cgroup"
CASES = ["resident-f16", "resident-f32", "group-256", "group-128", "batch", "busy"]


class Skip(Exception):
    """Why a case cannot be run here."""


def edge(folder, extra, enter=None, prompts=1, tokens=DECODED):
    command = [EDGE_RT, "run", "--model", folder, "--synthetic", "gpt2-small:" + folder.rsplit("-", 1)[1],
               "--threads", str(THREADS), "--max-tokens", str(tokens + 1), "--ignore-eos", "--json", "--quiet"]
    for _ in range(prompts):
        command += ["--prompt", PROMPT]
    made = subprocess.run(command + extra, preexec_fn=enter, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Skip(f"edge-rt: exit {made.returncode}: {made.stderr.strip()[:300]}")
    return json.loads(made.stdout)


def llama(file, prompt, decoded, enter=None):
    """Tokens a second of one run of llama-bench; weights mapped, as it does by itself."""
    if not LLAMA_BENCH:
        return None
    command = [LLAMA_BENCH, "-m", file, "-t", str(THREADS), "-p", str(prompt), "-n", str(decoded), "-r", "1",
               "-o", "json"] + ([] if enter is None else ["--no-warmup"])
    made = subprocess.run(command, preexec_fn=enter, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Skip(f"llama-bench: exit {made.returncode}: {made.stderr.strip()[-300:]}")
    return json.loads(made.stdout)[0]["avg_ts"]


def weights(work, dtype):
    """Folder and GGUF file of the random weights, made once."""
    folder, file = os.path.join(work, f"gpt2-{dtype}"), os.path.join(work, f"gpt2-{dtype}.gguf")
    if not os.path.exists(os.path.join(folder, "config.json")):
        edge(folder, ["--memory-budget", "2G"], tokens=1)
    if LLAMA_BENCH and not os.path.exists(file):
        subprocess.run([sys.executable, os.path.join(ROOT, "bench/llm_peer_gguf.py"), folder, file], check=True)
    return folder, file


def group_write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


def group_read(path):
    with open(path, encoding="ascii") as file:
        return int(file.read())


def disk_of(path):
    """major:minor of the whole disk under a path; limits are of whole disks."""
    device = os.stat(path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    block = os.path.realpath(f"/sys/dev/block/{name}")
    if os.path.exists(os.path.join(block, "partition")):
        with open(os.path.join(os.path.dirname(block), "dev"), encoding="ascii") as file:
            return file.read().strip()
    if not os.path.exists(block):
        raise Skip(f"{path} is on no block device ({name}): no reading rate can be set")
    return name


@contextlib.contextmanager
def control_group(mib, rate, path):
    """Yields (enter, memory folder): enter() puts the calling process into the group."""
    memory, blkio = (os.path.join(GROUPS, kind, f"llm-peer-{os.getpid()}") for kind in ("memory", "blkio"))
    if not os.path.exists(os.path.join(GROUPS, "blkio/blkio.throttle.read_bps_device")):
        raise Skip("no control groups of version 1 with blkio.throttle.read_bps_device here")
    disk = disk_of(path)
    try:
        os.mkdir(memory)
        os.mkdir(blkio)
        group_write(f"{memory}/memory.limit_in_bytes", mib * MIB)
        group_write(f"{blkio}/blkio.throttle.read_bps_device", f"{disk} {rate * 1000000}")
    except OSError as error:
        for folder in (memory, blkio):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise Skip(f"a control group cannot be made: {error}") from error

    def enter():
        group_write(f"{memory}/cgroup.procs", os.getpid())
        group_write(f"{blkio}/cgroup.procs", os.getpid())

    try:
        yield enter, memory
    finally:
        for folder in (memory, blkio):
            for _ in range(50):
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.1)


def drop_cache(path):
    """The next mapping begins cold: pages that others hold would be charged to nobody in the group."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def ratio(name, goal, ours, theirs, unit="tokens/s"):
    theirs = [value for value in theirs if value is not None]
    row = {"name": name, "goal": goal, "unit": unit, "edge_rt": statistics.median(ours), "edge_rt_all": ours}
    if theirs:
        row |= {"peer": statistics.median(theirs), "peer_all": theirs}
        row["ratio"] = row["edge_rt"] / row["peer"]
    return row


def value(name, goal, number, unit, most=False):
    return {"name": name, "goal": goal, "unit": unit, "value": number, "goal_is_most": most}


def resident(options, dtype):
    folder, file = weights(options.work, dtype)
    decode, prefill = ([], []), ([], [])
    for _ in range(options.rounds):
        ours = edge(folder, ["--memory-budget", "2G"])
        decode[0].append(ours["tokens_per_second"])
        prefill[0].append(ours["prefill_tokens_per_second"])
        decode[1].append(llama(file, 0, DECODED))
        prefill[1].append(llama(file, 32, 0))
    return [ratio(f"{dtype}, resident, decode of {DECODED}", 0.95, *decode),
            ratio(f"{dtype}, resident, prefill of 32", 0.8, *prefill)]


def group(options, mib, goal):
    folder, file = weights(options.work, "f16")
    speed, peaks, fails, disk, overlap, overhead = ([], []), [], [], [], [], []
    for _ in range(options.rounds):
        with control_group(mib, options.rate, options.work) as (enter, memory):
            ours = edge(folder, [], enter)
            peaks.append(group_read(f"{memory}/memory.max_usage_in_bytes"))
            fails.append(group_read(f"{memory}/memory.failcnt"))
        if ours["budget_source"] != "control group":
            raise Skip("edge-rt did not find the group's limit: " + ours["budget_source"])
        streamed = ours["weight_bytes"] - ours["resident_weight_bytes"]
        disk.append(ours["disk_bytes_per_token"] / streamed if streamed > 0 else 1)
        overlap.append(ours["overlap"])
        held = ours["resident_weight_bytes"] + ours["kv_bytes"] + ours["buffer_bytes"]
        overhead.append((ours["peak_bytes"] - held) / MIB)
        speed[0].append(ours["tokens_per_second"])
        if LLAMA_BENCH:
            drop_cache(file)
            with control_group(mib, options.rate, options.work) as (enter, memory):
                speed[1].append(llama(file, 0, 8, enter))
    name = f"f16, {mib} MiB group, {options.rate} MB/s"
    return [ratio(f"{name}, decode", goal, *speed),
            value(f"{name}, peak of the group over its limit", 1, max(peaks) / (mib * MIB), "", True),
            value(f"{name}, failcnt", 0, max(fails), "", True),
            value(f"{name}, disk bytes a token over model minus resident", 1.02, statistics.median(disk), "", True),
            value(f"{name}, overlap", 0.95, statistics.median(overlap), ""),
            value(f"{name}, process beyond weights, buffers and KV", 12, max(overhead), "MiB", True)]


def batch(options):
    folder, _ = weights(options.work, "f16")
    one, eight = [], []
    for _ in range(options.rounds):
        with control_group(128, options.rate, options.work) as (enter, _):
            one.append(edge(folder, [], enter, tokens=32)["tokens_per_second"])
            eight.append(edge(folder, [], enter, prompts=8, tokens=32)["tokens_per_second"])
    return [ratio(f"f16, 128 MiB group, {options.rate} MB/s, 8 sequences against one", 6, eight, one)]


def busy(options):
    folder, _ = weights(options.work, "f16")
    beside, idle = [], []
    for _ in range(options.rounds):
        idle.append(edge(folder, ["--memory-budget", "2G"])["tokens_per_second"])
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(THREADS - 1)]
        try:
            beside.append(edge(folder, ["--memory-budget", "2G"])["tokens_per_second"])
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
    return [ratio("f16, resident, beside a busy core against idle", 0.4, beside, idle)]


def run_case(options, name):
    if name.startswith("resident-"):
        return resident(options, name.split("-")[1])
    if name == "group-256":
        return group(options, 256, 10)
    if name == "group-128":
        return group(options, 128, 1.6)
    return batch(options) if name == "batch" else busy(options)


def show(row):
    if "ratio" in row:
        held = row["ratio"] >= row["goal"]
        text = f"{row['edge_rt']:9.2f} {row['peer']:9.2f} {row['ratio']:8.3f}"
    elif "value" in row:
        held = row["value"] <= row["goal"] if row["goal_is_most"] else row["value"] >= row["goal"]
        text = f"{'':9} {'':9} {row['value']:8.3f}"
    else:
        held, text = None, f"{row['edge_rt']:9.2f} {'':9} {'':8}"
    sign = "<=" if row.get("goal_is_most") else ">="
    row["reached"] = held
    verdict = {True: "reached", False: "MISSED", None: "no peer"}[held]
    print(f"{row['name']:62} {text} {sign}{row['goal']:6} {verdict}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default=",".join(CASES), help="with commas between")
    parser.add_argument("--json", help="write all samples here")
    parser.add_argument("--work", default="build/llm-peer", help="where the weights are kept (1.5 GB)")
    parser.add_argument("--rate", type=int, default=300, help="MB/s that the disk gives a group")
    options = parser.parse_args()
    options.work = os.path.abspath(options.work)
    names = options.cases.split(",")
    for name in names:
        if name not in CASES:
            parser.error(f"no case \"{name}\"; there are {', '.join(CASES)}")
    for program in (EDGE_RT, LLAMA_BENCH):
        if program and not shutil.which(program):
            parser.error(f"{program} is no program; scripts/build.sh release makes edge-rt")
    os.makedirs(options.work, exist_ok=True)
    rows, skipped, loads = [], [], {}
    print(f"{'':62} {'edge-rt':>9} {'peer':>9} {'ratio':>8}    goal")
    for name in names:
        loads[name] = os.getloadavg()[0]
        print(f"# {name}: load {loads[name]:.2f}")
        try:
            made = run_case(options, name)
        except Skip as reason:
            skipped.append({"case": name, "reason": str(reason)})
            print(f"{name}: skipped: {reason}")
            continue
        for row in made:
            show(row)
        rows += made
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"schema_version": 1, "benchmark": "llm_peer", "machine": list(os.uname()),
                       "rounds": options.rounds, "load": loads, "rows": rows, "skipped": skipped}, file, indent=1)
            file.write("\n")
    return 1 if any(row["reached"] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
