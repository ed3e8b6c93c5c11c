# SPDX-License-Identifier: Apache-2.0
"""`edge-rt`: contracts of its JSON, exit codes, and its tokens against the NumPy reference."""

import array
import json
import os
import signal
import subprocess
import time
import unittest

import support

support.PROGRAM = os.environ.get("AEGISRT_EDGE_RT", "bin/edge-rt")
REFERENCE = os.path.join(support.SOURCE, "test", "python", "llama_reference.py")
PYTHON = os.path.join(support.SOURCE, ".deps", "venv", "bin", "python")
SMOLLM2 = os.path.join(support.MODELS, "smollm2-135m-f32")
SMOLLM2_HALF = os.path.join(support.MODELS, "smollm2-135m")
PROMPT = "The ship entered the port of"
TEXT = " the city of New Orleans, where it was said to be a vessel of great wealth and riches."
RUN_KEYS = {
    "schema_version", "strategy", "budget_bytes", "peak_bytes", "prompt_tokens", "tokens", "text",
    "prefill_tokens_per_second", "tokens_per_second", "disk_bytes_per_token", "overlap",
}
ROW_KEYS = {
    "strategy", "budget_bytes", "groups", "peak_bytes", "latency_ms", "compute_ms", "tokens_per_second",
}
STRATEGIES = ("sequential", "greedy-grouping", "speculative-prefetch", "resident-stream", "auto")
# Sanitizers keep far more memory than the program asks for.
SANITIZED = b"__asan_init" in open(support.PROGRAM, "rb").read() or b"__tsan_init" in open(support.PROGRAM, "rb").read()


def numpy_python():
    """An interpreter with NumPy, or None."""
    for python in (PYTHON, "python3"):
        try:
            if subprocess.run([python, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode == 0:
                return python
        except OSError:
            pass
    return None


class ControlGroup:
    """A memory group of version 2 or 1, for as long as a process runs in it. Raises OSError where none can be made."""

    def __init__(self, limit):
        root = "/sys/fs/cgroup"
        name = f"edge-rt-test-{os.getpid()}"
        two = os.path.exists(f"{root}/cgroup.controllers")
        self.folder = f"{root}/{name}" if two else f"{root}/memory/{name}"
        names = ("memory.max", "memory.peak", "") if two else (
            "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt")
        self.limit_file, self.peak_file, self.fails_file = names
        os.mkdir(self.folder)
        try:
            self.write(self.limit_file, limit)
        except OSError:
            self.remove()
            raise

    def write(self, name, value):
        with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def read(self, name):
        with open(f"{self.folder}/{name}", encoding="ascii") as file:
            return file.read()

    def fails(self):
        if self.fails_file:
            return int(self.read(self.fails_file))
        events = dict(line.split() for line in self.read("memory.events").splitlines())
        return int(events["max"]) + int(events["oom"])

    def remove(self):
        for _ in range(100):
            try:
                os.rmdir(self.folder)
                return
            except OSError:
                time.sleep(0.05)


class EdgeRt(support.CommandTest):
    def refused(self, code, parts, *arguments):
        """Runs a command that must fail with nothing on stdout and all `parts` on stderr."""
        out, err = self.expect(code, *arguments)
        self.assertEqual(out, "")
        self.assertTrue(err.startswith("edge-rt: "), err)
        for part in parts:
            self.assertIn(part, err)

    def run_json(self, *arguments, code=0):
        return self.expect_json(code, "run", "--json", "--quiet", *arguments)

    def reference(self, folder, tokens, count):
        """(tokens, logits) of the independent implementation."""
        python = numpy_python()
        if python is None:
            self.skipTest("NumPy is not installed; make setup installs it")
        logits = self.path("reference.f32")
        text = subprocess.run(
            [python, "-B", REFERENCE, folder, "--tokens", ",".join(map(str, tokens)), "--max-tokens",
             str(count), "--logits", logits], capture_output=True, text=True, check=True).stdout
        return json.loads(text)["tokens"], self.floats(logits)

    def floats(self, path):
        values = array.array("f")
        with open(path, "rb") as file:
            values.frombytes(file.read())
        return values

    def compare(self, folder, count, *arguments):
        mine = self.run_json("--model", folder, "--max-tokens", str(count), "--ignore-eos", "--logits",
                             self.path("mine.f32"), *arguments)
        tokens, logits = self.reference(folder, mine["prompt_tokens"], count)
        self.assertEqual(mine["tokens"], tokens)
        mine_logits = self.floats(self.path("mine.f32"))
        self.assertEqual(len(mine_logits), len(logits))
        self.assertLess(max(abs(a - b) for a, b in zip(mine_logits, logits)), 1e-3)

    def test_made_up_models_compute_what_numpy_computes(self):
        for shape in ("gpt2-tiny", "llama-tiny", "llama-tiny-untied"):
            for dtype in ("f32", "f16", "bf16", "i8"):
                with self.subTest(shape=shape, dtype=dtype):
                    folder = self.path(f"{shape}-{dtype}")
                    self.compare(folder, 24, "--synthetic", f"{shape}:{dtype}", "--prompt", "Ahoy there")

    @unittest.skipUnless(os.path.isdir(SMOLLM2), "no SmolLM2; make models fetches it")
    def test_smollm2_computes_what_numpy_computes(self):
        self.compare(SMOLLM2, 8, "--prompt", PROMPT)

    @unittest.skipUnless(os.path.isdir(SMOLLM2), "no SmolLM2; make models fetches it")
    @unittest.skipIf(SANITIZED, "a sanitizer needs more than the budget")
    def test_smollm2_says_the_same_at_every_budget(self):
        with open(os.path.join(support.SOURCE, "test", "fixtures", "smollm2_greedy.json"), encoding="utf-8") as file:
            expected = json.load(file)["tokens"]
        whole = self.run_json("--model", SMOLLM2, "--prompt", PROMPT, "--memory-budget", "1G", "--max-tokens", "64")
        self.assertEqual(whole["tokens"], expected)
        self.assertTrue(whole["text"].startswith(TEXT))
        self.assertEqual(whole["disk_bytes_per_token"], 0)
        small = self.run_json("--model", SMOLLM2, "--prompt", PROMPT, "--memory-budget", "128M", "--max-tokens", "20")
        self.assertEqual(small["tokens"], expected[:20])
        self.assertLessEqual(small["peak_bytes"], 128 << 20)
        self.assertEqual(small["budget_bytes"], 128 << 20)
        for strategy in STRATEGIES[:3]:
            other = self.run_json("--model", SMOLLM2, "--prompt", PROMPT, "--memory-budget", "100M",
                                  "--max-tokens", "3", "--strategy", strategy)
            self.assertEqual(other["tokens"], expected[:3])
            self.assertLessEqual(other["peak_bytes"], 100 << 20)
            self.assertEqual(other["strategy"], strategy)

    @unittest.skipUnless(os.path.isdir(SMOLLM2_HALF), "no SmolLM2; make models fetches it")
    @unittest.skipIf(SANITIZED, "a sanitizer needs more than the budget")
    def test_what_a_token_reads_and_what_the_process_holds(self):
        result = self.run_json("--model", SMOLLM2_HALF, "--prompt", PROMPT, "--memory-budget", "128M",
                               "--max-tokens", "8", "--strategy", "resident-stream")
        streamed = result["weight_bytes"] - result["resident_weight_bytes"]
        self.assertLessEqual(result["disk_bytes_per_token"], 1.02 * streamed)
        self.assertGreaterEqual(result["disk_bytes_per_token"], 0.9 * streamed)
        overhead = result["peak_bytes"] - result["resident_weight_bytes"] - result["kv_bytes"]
        self.assertLessEqual(overhead, 12 << 20)
        # Far below what fits, the message says how much would do, and that much does.
        _, err = self.expect(3, "run", "--model", SMOLLM2_HALF, "--prompt", PROMPT, "--memory-budget", "4M")
        least = int(err.split("at least ")[1].split("(")[1].split(" ")[0])
        least += 256 << 10  # what two processes hold differs by pages
        again = self.run_json("--model", SMOLLM2_HALF, "--prompt", PROMPT, "--memory-budget", str(least),
                              "--max-tokens", "2")
        self.assertLessEqual(again["peak_bytes"], least)
        self.assertEqual(again["tokens"], result["tokens"][:2])

    @unittest.skipUnless(os.path.isdir(SMOLLM2_HALF), "no SmolLM2; make models fetches it")
    @unittest.skipIf(SANITIZED, "a sanitizer needs more than the budget")
    def test_a_control_group_is_the_budget(self):
        # Files that nobody has read yet would be charged to the group.
        tokens = [self.run_json("--model", SMOLLM2_HALF, "--prompt", PROMPT, "--max-tokens", "8")["tokens"]]
        for mib in (256, 128):
            try:
                group = ControlGroup(mib << 20)
            except OSError as error:
                self.skipTest(f"no control group can be made here: {error}")
            try:
                made = subprocess.run(
                    [support.PROGRAM, "run", "--json", "--quiet", "--model", SMOLLM2_HALF, "--prompt", PROMPT,
                     "--max-tokens", "8"], preexec_fn=lambda: group.write("cgroup.procs", os.getpid()),
                    capture_output=True, text=True, check=False)
                self.assertEqual(made.returncode, 0, made.stderr)
                result = json.loads(made.stdout)
                self.assertEqual(result["budget_source"], "control group")
                self.assertLessEqual(result["budget_bytes"], mib << 20)
                self.assertGreater(result["resident_weight_bytes"], (mib - 40) << 20)  # and it is used
                self.assertLessEqual(int(group.read(group.peak_file)), mib << 20)
                self.assertEqual(group.fails(), 0)
                tokens.append(result["tokens"])
            finally:
                group.remove()
        self.assertEqual(tokens, tokens[:1] * 3)

    def test_products_by_a_blas_are_asked_for(self):
        options = ("--synthetic", "llama-tiny:f32", "--prompt", "a longer prompt", "--max-tokens", "4", "--ignore-eos")
        own = self.run_json(*options)
        self.assertEqual(own["products"], "own")
        made = subprocess.run([support.PROGRAM, "run", "--json", "--quiet", *options, "--products", "blas"],
                              capture_output=True, text=True, check=False)
        if made.returncode == 4:  # said, and not done in another way
            self.assertIn("write \"own\"", made.stderr)
            self.skipTest(made.stderr.strip())
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(json.loads(made.stdout)["products"], "blas")
        self.refused(2, ["\"own\" and \"blas\""], "run", "--quiet", *options, "--products", "mkl")

    @unittest.skipUnless(os.path.isdir(SMOLLM2_HALF), "no SmolLM2; make models fetches it")
    def test_text_streams_and_lookup_changes_nothing(self):
        out, _ = self.expect(0, "run", "--quiet", "--model", SMOLLM2_HALF, "--prompt", PROMPT, "--max-tokens", "20")
        self.assertEqual(out, PROMPT + TEXT + "\n")
        options = ("--model", SMOLLM2_HALF, "--prompt", PROMPT, "--max-tokens", "50")  # repeats itself
        plain = self.run_json(*options)
        guessed = self.run_json(*options, "--lookup")
        self.assertEqual(plain["tokens"], guessed["tokens"])
        self.assertGreater(guessed["accepted"], 0)
        self.assertLess(guessed["passes"], plain["passes"])

    @unittest.skipUnless(os.path.isdir(SMOLLM2_HALF), "no SmolLM2; make models fetches it")
    def test_an_interrupted_text_is_reported(self):
        with subprocess.Popen([support.PROGRAM, "run", "--model", SMOLLM2_HALF, "--prompt", PROMPT, "--ignore-eos",
                               "--max-tokens", "4000"], bufsize=0, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            begin = process.stdout.read(1)  # written with the first token
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        self.assertTrue((begin + out).startswith(PROMPT.encode()), out)
        self.assertTrue(out.endswith(b"\n"), out)
        self.assertLess(int(err.split(b"edge-rt: ")[1].split(b" tokens, ")[0]), 4000)

    def test_run_contract(self):
        result = self.run_json("--synthetic", "gpt2-tiny:f16", "--prompt", "abc", "--max-tokens", "5",
                               "--temperature", "0", "--memory-budget", "1G", "--strategy", "sequential", "--ignore-eos")
        self.assertLessEqual(RUN_KEYS, set(result))
        self.assertEqual(result["prompt_tokens"], [97, 98, 99])
        self.assertEqual(len(result["tokens"]), 5)
        self.assertIsNone(result["text"])
        self.assertEqual(result["strategy"], "sequential")
        self.assertEqual(result["groups"], 4)
        self.assertGreater(result["disk_bytes_per_token"], 0)
        self.assertGreater(result["overlap"], 0)

    def test_batches_and_seeds(self):
        options = ("--synthetic", "llama-tiny:f32", "--max-tokens", "6", "--ignore-eos")
        both = self.run_json(*options, "--prompt", "first", "--prompt", "another")
        self.assertEqual([len(one["tokens"]) for one in both["sequences"]], [6, 6])
        for prompt, one in zip(("first", "another"), both["sequences"]):
            self.assertEqual(self.run_json(*options, "--prompt", prompt)["tokens"], one["tokens"])
        drawn = [self.run_json(*options, "--prompt", "x", "--temperature", "2", "--seed", seed)["tokens"]
                 for seed in ("1", "1", "2")]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])

    def test_flags_that_change_how_and_not_what(self):
        model = ("--synthetic", "gpt2-tiny", "--model", self.path("made"), "--prompt", "abcabcabc", "--ignore-eos",
                 "--max-tokens", "12")
        plain = self.run_json(*model)
        scalar = self.run_json(*model, "--instructions", "scalar")
        self.assertEqual((scalar["instructions"], scalar["tokens"]), ("scalar", plain["tokens"]))
        guessed = self.run_json(*model, "--draft-tokens", "3")
        self.assertEqual(guessed["tokens"], plain["tokens"])
        self.assertGreater(guessed["drafted"], 0)
        # A context of the prompt and three tokens ends the text there.
        short = self.run_json(*model, "--context", "12")
        self.assertEqual((short["tokens"], short["end"]), (plain["tokens"][:len(short["tokens"])], "context"))
        self.assertLess(len(short["tokens"]), 12)
        _, err = self.expect(0, "run", *model, "--context", "12")
        self.assertIn("the context of 12 tokens is full", err)
        drawn = [self.run_json(*model, "--temperature", "1", "--top-p", p, "--seed", "7")["tokens"]
                 for p in ("0.9", "0.9", "0.000001")]
        self.assertEqual(drawn[0], drawn[1])
        self.assertEqual(drawn[2], plain["tokens"])  # the smallest share holds the likeliest alone
        self.write("p.toml", "[generate]\nmax_tokens = 3\n")
        few = self.run_json(*model[:-2], "--config", self.path("p.toml"))
        self.assertEqual(few["tokens"], plain["tokens"][:3])
        self.refused(2, ["--progress always", "auto or never"], "run", *model, "--progress", "always")
        self.expect(0, "inspect", *model[:4], "--context", "16", "--progress", "never", "--config",
                    self.path("p.toml"))
        _, err = self.expect(2, "run", "-v", "--model", self.path("made"), "--prompt", "x", "--strategy", "x")
        self.assertRegex(err, r"src/backend/transformer/\S+\.c:\d+")

    def test_synthetic_files(self):
        self.run_json("--synthetic", "gpt2-tiny:f32", "--model", self.path("kept"), "--prompt", "x")
        self.assertEqual(sorted(os.listdir(self.path("kept"))), ["config.json", "model.safetensors"])
        self.environment["TMPDIR"] = self.path("scratch")
        os.mkdir(self.path("scratch"))
        self.run_json("--synthetic", "gpt2-tiny:f32", "--prompt", "x")
        self.assertEqual(os.listdir(self.path("scratch")), [])
        out, err = self.expect(0, "run", "--synthetic", "gpt2-tiny", "--max-tokens", "3", "--ignore-eos")
        self.assertEqual(len(out.split()), 3)
        self.assertIn("the tokens mean nothing", err)

    def test_signals_leave_no_synthetic_files(self):
        self.environment["TMPDIR"] = self.path("scratch")
        os.mkdir(self.path("scratch"))
        # While weights are written, and twice while a text is (the first ends the text).
        for count, arguments in ((1, ("run", "--synthetic", "gpt2-small:f32")),
                                 (1, ("benchmark", "--synthetic", "gpt2-small:f32")),
                                 (2, ("run", "--synthetic", "llama-135m:i8", "--ignore-eos", "--max-tokens", "2000"))):
            with subprocess.Popen([support.PROGRAM, *arguments], env=self.environment, bufsize=0,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                (process.stderr if count == 1 else process.stdout).read(1)
                self.assertEqual(len(os.listdir(self.path("scratch"))), 1)
                for _ in range(count):
                    process.send_signal(signal.SIGINT)
                process.communicate()
            self.assertIn(process.returncode, (-signal.SIGINT, 0) if count == 2 else (-signal.SIGINT,))
            self.assertEqual(os.listdir(self.path("scratch")), [])

    def test_benchmark_contract(self):
        result = self.expect_json(0, "benchmark", "--json", "--quiet", "--synthetic", "llama-tiny:f16",
                                  "--sweep-memory", "1K,1G,2G", "--strategies", "sequential,resident-stream",
                                  "--max-tokens", "4", "--repeat", "2")
        self.assertEqual(len(result["rows"]), 4)
        for row in result["rows"]:
            self.assertLessEqual(ROW_KEYS, set(row))
            self.assertGreater(row["tokens_per_second"], 0)
            self.assertEqual(row["runs"], 2)
        self.assertEqual(len(result["refused"]), 2)
        self.assertEqual(result["refused"][0]["exit_code"], 3)
        self.assertIn(" @ ", result["fastest"])
        self.assertIn(" @ ", result["most_efficient"])
        out, _ = self.expect(0, "benchmark", "--csv", "--quiet", "--synthetic", "gpt2-tiny", "--sweep-memory", "1G",
                             "--repeat", "1", "--max-tokens", "2")
        self.assertEqual(len(out.splitlines()), 5)
        out, _ = self.expect(0, "benchmark", "--quiet", "--synthetic", "gpt2-tiny", "--sweep-memory", "1G",
                             "--repeat", "1", "--max-tokens", "2", "--strategies", "auto")
        self.assertIn("Summary:", out)
        self.expect(3, "benchmark", "--synthetic", "gpt2-tiny", "--sweep-memory", "1K")

    def test_inspect_contract(self):
        result = self.expect_json(0, "inspect", "--json", "--synthetic", "gpt2-tiny:i8", "--svg", self.path("p.svg"),
                                  "--sweep-memory", "1K,1G")
        self.assertEqual([layer["kind"] for layer in result["layers"]],
                         ["embedding", "block", "block", "block", "final_norm", "head"])
        self.assertTrue(result["layers"][-1]["tied"])
        self.assertEqual([plan["strategy"] for plan in result["plans"]], 2 * list(STRATEGIES))
        self.assertIn("refused", result["plans"][0])
        self.assertEqual(result["plans"][-1]["read_bytes_per_token"], 0)
        self.assertGreater(result["disk_bytes_per_second"], 0)
        with open(self.path("p.svg"), encoding="utf-8") as file:
            picture = file.read()
        self.assertTrue(picture.startswith("<svg") and picture.endswith("</svg>\n"))
        self.assertIn("refused", picture)
        out, _ = self.expect(0, "inspect", "--synthetic", "llama-tiny")
        for word in STRATEGIES + ("blocks 0 to 2, each", "least budget"):
            self.assertIn(word, out)

    def test_status_contract(self):
        root = os.path.join(support.SOURCE, "test", "fixtures", "rpi4")
        result = self.expect_json(0, "status", "--json", "--root", root)
        self.assertEqual(result["cpus"], 4)
        self.assertTrue(result["zones"])
        self.expect_json(0, "status", "--json")
        out, _ = self.expect(0, "status")
        self.assertIn("memory", out)
        line, _ = self.expect(0, "status", "-o", "jsonl", "--root", root)
        self.assertEqual(json.loads(line)["cpus"], 4)
        rows, _ = self.expect(0, "status", "--csv", "--root", root)
        head, row = rows.splitlines()
        self.assertEqual(row.split(",")[head.split(",").index("cpus")], "4")

    def test_usage(self):
        self.refused(2, ["no prompt"], "run", "--model", self.folder)
        self.refused(2, ["tokenizer.json", "make models", "--synthetic"],
                     "run", "--model", self.folder, "--prompt", "x")
        self.refused(2, ["unknown strategy", "did you mean \"resident-stream\""],
                     "run", "--quiet", "--synthetic", "gpt2-tiny", "--strategy", "resident-steam")
        self.refused(2, ["no shape \"gpt9\""], "run", "--quiet", "--synthetic", "gpt9")
        self.refused(2, ["--memory-budget"], "run", "--memory-budget", "lots")
        self.refused(2, ["--kv-cache f8"], "run", "--kv-cache", "f8")
        self.refused(2, ["--strategies: \"x\""], "benchmark", "--strategies", "x")
        self.refused(2, ["unknown command \"inspekt\"; did you mean \"inspect\""], "inspekt")
        self.refused(2, ["did you mean --model"], "run", "--modle", "x")
        self.refused(3, ["needs a budget of at least"], "run", "--quiet", "--synthetic", "gpt2-tiny",
                     "--memory-budget", "1M")
        for command in ("run", "benchmark", "inspect", "status"):
            out, _ = self.expect(0, command, "--help")
            self.assertIn(f"Usage: edge-rt {command}", out)
        out, _ = self.expect(0, "--help")
        self.assertIn("edge-rt COMMAND", out)

    def test_presets(self):
        self.write("p.toml", "[memory]\nbudget = \"2GiB\"\nkv_cache = \"f16\"\n[plan]\nstrategy = \"sequential\"\n"
                             "[generate]\nmax_tokens = 3\n")
        options = ("--synthetic", "gpt2-tiny", "--ignore-eos", "-c", self.path("p.toml"), "--prompt", "x")
        result = self.run_json(*options)
        self.assertEqual((result["budget_bytes"], result["strategy"], len(result["tokens"])), (2 << 30, "sequential", 3))
        result = self.run_json(*options, "--max-tokens", "4", "--strategy", "auto")
        self.assertEqual((result["strategy"], len(result["tokens"])), ("resident-stream", 4))
        self.write("p.toml", "[memory]\nbudgit = \"2GiB\"\n")
        self.refused(2, ["p.toml:2:1", "did you mean \"budget\""], "run", *options)


if __name__ == "__main__":
    support.main()
