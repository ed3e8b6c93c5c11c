# SPDX-License-Identifier: Apache-2.0
"""Help, versions, wrong words on the command line."""

import os
import re

import support

COMMANDS = ["run", "check", "admit", "verify", "plan", "profile", "replay", "explain", "devices", "doctor"]


class Usage(support.CommandTest):
    def test_help_lists_every_command_and_exit_code(self):
        out, err = self.expect(0, "--help")
        self.assertEqual(err, "")
        for command in COMMANDS + ["trace"]:
            self.assertRegex(out, rf"(?m)^  {command} ")
        for code in range(7):
            self.assertRegex(out, rf"(?m)^  {code}  ")

    def test_version(self):
        out, _ = self.expect(0, "--version")
        self.assertRegex(out, r"^aegisrt \d+\.\d+\.\d+\n$")

    def test_every_command_explains_itself_with_examples(self):
        for command in [[c] for c in COMMANDS] + [["trace", "export"]]:
            out, err = self.expect(0, *command, "--help")
            self.assertEqual(err, "")
            self.assertIn("Usage: aegisrt " + " ".join(command), out)
            self.assertIn("Examples:\n  aegisrt " + " ".join(command), out)
            short, _ = self.expect(0, *command, "-h")
            self.assertEqual(short, out)

    def test_unknown_words_get_the_nearest_known_one(self):
        self.refused(2, ['"rum"', '"run"'], "rum")
        self.refused(2, ["--help"], "xylophone")
        self.refused(2, ["--polcy", "--policy"], "run", "--polcy", "fifo", "w.toml")
        self.refused(2, ["--capasity=3", "--capacity"], "plan", "--capasity=3", "b.csv")
        self.refused(2, ["--xylophone", "--help"], "run", "--xylophone", "w.toml")
        self.refused(2, ["no command"])
        # A flag that the command has not is not suggested for itself.
        err = self.refused(2, ["unknown option --json"], "trace", "export", "--json", "t")
        self.assertNotIn("did you mean", err)
        for planned in ("report", "engine", "status", "top", "serve"):
            self.refused(2, [f'"{planned}" is designed for and not there yet'], planned)

    def test_missing_and_superfluous_operands(self):
        self.refused(2, ["WORKLOAD"], "run")
        self.refused(2, ["TRACE"], "replay", "--json")
        self.refused(2, ['"b" is one operand too many'], "run", "a", "b")
        self.refused(2, ["one operand too many"], "devices", "x")
        self.refused(2, ["--duration wants an argument"], "run", "w.toml", "--duration")
        self.refused(2, ["trace export"], "trace")

    def test_wrong_values_say_what_is_possible(self):
        self.refused(2, ["table, json, jsonl or csv"], "devices", "-o", "xml")
        self.refused(2, ["auto or never"], "devices", "--progress", "always")
        self.refused(2, ["--duration 3x", "seconds"], "run", "w.toml", "--duration", "3x")
        self.refused(2, ["--duration -3", "seconds"], "run", "w.toml", "--duration=-3")
        self.refused(2, ["--duration 0", "above 0"], "run", "w.toml", "--duration", "0")
        self.refused(2, ["--window", "--at TIME"], "explain", "t", "--window", "5ms")
        self.refused(2, ["--duration x", "seconds"], "simulate", "w.toml", "--duration", "x")
        self.refused(2, ["sleep or poll"], "run", "w.toml", "--wait", "spin")
        self.refused(2, ["--nodes 0", "from 1"], "plan", "b.csv", "--nodes", "0")
        self.refused(2, ["jsonl or perfetto"], "trace", "export", "t", "--format", "xml")

    def test_a_file_that_is_none_of_these(self):
        large = self.write("model.onnx", b"x" * (2 << 20))
        self.refused(2, ["has 2.00 MiB", "is it the right one?"], "check", large)

    def test_files_that_are_not_there(self):
        for command in (["run"], ["check"], ["replay"], ["explain"], ["trace", "export"], ["plan"]):
            self.refused(2, ["nowhere.file"], *command, "nowhere.file")

    def test_files_that_cannot_be_written_are_found_before_any_work(self):
        # The operands are not there: nothing of them was read.
        commands = [("admit", "certificate"), ("simulate", "gantt"), ("simulate", "trace"), ("run", "trace"),
                    ("run", "perfetto"), ("run", "svg"), ("check", "svg"), ("plan", "svg"), ("trace export", "output")]
        self.write("file", "")
        for command, option in commands:
            for path, why in (("none/x", "No such file"), (self.folder, "Is a directory"), ("file/x", "Not a directory")):
                self.refused(4, [f"--{option} {path} cannot be written: {why}", "name a file in a folder that is there"],
                             *command.split(), f"--{option}", path, "no-operand")
        for path in ("new", "file"):  # nothing is made, nothing is lost
            self.write("file", "kept")
            self.refused(2, ["no-operand"], "admit", "--certificate", path, "no-operand")
            self.assertFalse(os.path.exists(self.path("new")))
            with open(self.path("file"), encoding="utf-8") as file:
                self.assertEqual(file.read(), "kept")

    def test_verbose_says_where_in_the_program(self):
        _, err = self.expect(2, "run", "nowhere.toml", "--verbose")
        self.assertRegex(err, r"(?m)^  \(base\.file, src/base/file\.c:\d+ .*not_found, permanent\)$")
        _, err = self.expect(2, "run", "nowhere.toml")
        self.assertNotIn("src/base", err)

    def test_a_runtime_that_cannot_be_loaded_is_told(self):
        devices = self.expect_json(0, "devices", "--json")
        for runtime in devices["runtimes"]:
            self.assertEqual(runtime["available"], runtime["built"])
            self.assertEqual(runtime["version"] is None, not runtime["available"])
            self.assertEqual(runtime["reason"] is None, runtime["available"])
        if not any(r["name"] == "onnxruntime" and r["built"] for r in devices["runtimes"]):
            self.skipTest("this build has no ONNX Runtime")
        self.environment["AEGISRT_ONNXRUNTIME"] = self.path("none.so")
        devices = self.expect_json(0, "devices", "--json")
        (onnx,) = [r for r in devices["runtimes"] if r["name"] == "onnxruntime"]
        self.assertEqual((onnx["built"], onnx["available"], onnx["version"]), (True, False, None))
        self.assertIn("none.so", onnx["reason"])
        out, _ = self.expect(0, "devices")
        self.assertIn("Runtime: onnxruntime cannot be used: ", out)
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_colours_without_a_terminal(self):
        for command in ("devices", "doctor"):
            out, _ = self.expect(0, command)
            self.assertIsNone(re.search("\033", out))


class Machine(support.CommandTest):
    def test_devices(self):
        result = self.expect_json(0, "devices", "--json")
        host = result["devices"][0]
        self.assertEqual(host["kind"], "host")
        self.assertGreater(host["multiprocessors"], 0)
        self.assertGreater(host["memory_bytes"], 0)
        for figure in ("bandwidth_bytes_per_second", "flops"):
            self.assertIn(host[figure]["source"], ("unknown", "derived", "measured"))
            self.assertEqual(host[figure]["value"] is None, host[figure]["source"] == "unknown")

    def test_doctor(self):
        result = self.expect_json(0, "doctor", "--json")
        ids = [check["id"] for check in result["checks"]]
        self.assertEqual(len(ids), len(set(ids)))
        for wanted in ("rt-throttling", "memlock", "cpu-governor", "isolated-cpus"):
            self.assertIn(wanted, ids)
        for check in result["checks"]:
            self.assertIn(check["state"], ("ok", "warn", "fail", "unknown"))
            self.assertTrue(check["found"])
        failures = sum(check["state"] == "fail" for check in result["checks"])
        self.assertEqual(result["failures"], failures)
        self.expect(1 if failures else 0, "doctor", "--strict", "--root", "/")

    def test_doctor_of_a_tree_that_is_not_there(self):
        self.refused(2, ["--root", "no such folder"], "doctor", "--root", self.path("nowhere"))

    def test_doctor_of_an_empty_tree_knows_nothing(self):
        result = self.expect_json(0, "doctor", "--json", "--root", self.folder)
        states = {c["id"]: c["state"] for c in result["checks"]}
        self.assertEqual(states["clocksource"], "unknown")


if __name__ == "__main__":
    support.main()
