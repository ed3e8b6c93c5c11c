# SPDX-License-Identifier: Apache-2.0
"""`[device] process_memory` in `run` and `check`: what is admitted, what is refused before it is loaded, and what would fit."""

import os
import re

import support

MIB = 1 << 20
COMMANDS = (("check",), ("run", "--duration", "0.3"))
READING = 4 * MIB  # of the reader itself, beside two copies of the file
ONNX = "PP-OCRv6_rec_small.onnx"
with open(support.PROGRAM, "rb") as program:
    TEXT = program.read()
# Sanitizers keep far more memory than the program asks for.
SANITIZED = b"__asan_init" in TEXT or b"__tsan_init" in TEXT


class ProcessMemory(support.CommandTest):
    def setUp(self):
        super().setUp()
        if SANITIZED:
            self.skipTest("a sanitizer needs more than the budget")

    def heavy_workload(self, budget, weights=24 * MIB, memory="40MiB"):
        """A small model and one whose trial lies beside the arena with all of its weights."""
        self.write("a.null", support.null_model())
        self.write("heavy.null", support.null_model(weights=weights))
        models = [f'name = "{name}"\npath = "{name}.null"\nbackend = "null"\nperiod = "500ms"\noverrun = "report"\n'
                  + support.QUICK for name in ("a", "heavy")]
        return self.workload(models, device=f'memory = "{memory}"\nprocess_memory = {budget}')

    def onnx_workload(self, budget):
        model = (f'name = "rec"\npath = "{self.needs_model(ONNX)}"\ninputs = {{ x = [1, 3, 48, 320] }}\n'
                 'period = "4s"\noverrun = "report"\n' + support.QUICK)
        return self.workload([model], device=f'memory = "32MiB"\nprocess_memory = {budget}')

    def refusal(self, result, model):
        self.assertEqual([one["model"] for one in result["rejected"]], [model])
        one = result["rejected"][0]
        self.assertEqual(one["rationale"], "memory")
        for part in ("[device] process_memory leaves", "lower [device] memory"):
            self.assertIn(part, one["reason"])
        needed = int(re.search(r"the process needs (\d+)", one["reason"]).group(1))
        budget = result["memory"]["process_budget"]
        self.assertEqual(one["memory_missing_bytes"], needed - budget)
        self.assertLessEqual(result["memory"]["process_peak"], budget)  # so it was not loaded
        return needed, one["reason"]

    def test_what_fits_is_admitted_and_kept_to(self):
        for command in COMMANDS:
            budget = 512 * MIB
            result = self.expect_json(0, *command, self.heavy_workload(budget), "--json", "-q")
            self.assertEqual(result["admitted"], 2)
            self.assertEqual(result["memory"]["process_budget"], budget)
            self.assertLessEqual(result["memory"]["process_peak"], budget)

    def test_what_does_not_fit_is_refused_with_what_would(self):
        for command in COMMANDS:
            result = self.expect_json(3, *command, self.heavy_workload(80 * MIB), "--json", "-q")
            self.assertEqual(result["admitted"], 1)  # the small one
            needed, _ = self.refusal(result, "heavy")
            self.assertGreater(needed, (40 + 24) * MIB)
            again = self.expect_json(0, *command, self.heavy_workload(needed + 2 * MIB), "--json", "-q")
            self.assertEqual(again["admitted"], 2)

    def test_a_refusal_is_told_in_words(self):
        out, err = self.expect(3, "check", self.heavy_workload(80 * MIB), "-q")
        self.assertIn("[device] process_memory leaves", out + err)

    def test_an_arena_beyond_it_is_told_before_any_model(self):
        self.refused(3, ["before any model is loaded", "[device] process_memory is 16.0 MiB", "raise it"],
                     "check", self.heavy_workload(16 * MIB))

    def test_wrong_values_are_told_with_their_place(self):
        for value, parts in (("1", ("w.toml:4:18", "process_memory: 1 B", "64.0 KiB")),
                             ('"lots"', ("w.toml:4:18", "process_memory", "lots")),
                             ("-1", ("w.toml:4:18", "process_memory")),
                             ("true", ("w.toml:4:18", "process_memory"))):
            for command in COMMANDS:
                self.refused(2, parts, *command, self.heavy_workload(value))
        path = self.workload(["name = \"a\"\npath = \"a.null\"\nbackend = \"null\"\nperiod = \"1s\"\n"],
                             device='memory = "16MiB"\nprocess_memry = "1GiB"')
        self.refused(2, ["w.toml:4:1", "\"process_memory\""], "check", path)

    def test_an_onnx_model_is_refused_before_its_file_is_read(self):
        size = os.path.getsize(self.needs_model(ONNX))
        result = self.expect_json(3, "check", self.onnx_workload(90 * MIB), "--json", "-q")
        needed, reason = self.refusal(result, "rec")
        self.assertIn(f"reading its file: it takes {2 * size + READING} bytes", reason)
        # Enough for that, and not for compiling.
        result = self.expect_json(3, "check", self.onnx_workload(needed + 8 * MIB), "--json", "-q")
        needed, reason = self.refusal(result, "rec")
        self.assertIn("compiling it, estimated from the size of its files", reason)
        result = self.expect_json(0, "check", self.onnx_workload(needed + 16 * MIB), "--json", "-q")
        self.assertEqual(result["admitted"], 1)

    def test_an_onnx_model_is_held_against_what_it_took_before(self):
        for _ in range(2):  # the second start takes it from the cache and sees what that takes
            self.expect_json(0, "check", self.onnx_workload(1024 * MIB), "--json", "-q")
        # What the process holds before differs by machine and run, so each refusal says where the next one is to be had.
        budget, reason = 96 * MIB, ""
        for _ in range(6):
            result = self.expect_json(3, "check", self.onnx_workload(budget), "--json", "-q")
            needed, reason = self.refusal(result, "rec")
            if "reading its file" not in reason:
                break
            budget = needed + 4 * MIB
        self.assertIn("loading it, as measured before", reason)
        result = self.expect_json(0, "check", self.onnx_workload(needed + 32 * MIB), "--json", "-q")
        self.assertEqual(result["admitted"], 1)


if __name__ == "__main__":
    support.main()
