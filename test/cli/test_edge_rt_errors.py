# SPDX-License-Identifier: Apache-2.0
"""`edge-rt` with one wrong input of each kind: exit codes, nothing on stdout, and texts that say the cure."""

import json
import os
import shutil
import struct

import support

support.PROGRAM = os.environ.get("AEGISRT_EDGE_RT", "bin/edge-rt")
FIXTURES = os.path.join(support.SOURCE, "test", "fixtures")
COMMANDS = (("run", "--prompt", "x"), ("benchmark", "--repeat", "1", "--strategies", "auto"), ("inspect",))
FETCH = "fetch or convert"
SYNTHETIC = "gpt2-tiny:f32"


class Errors(support.CommandTest):
    def fails(self, code, parts, *arguments):
        """No stack of lines but one that names the thing and the cure."""
        out, err = self.expect(code, *arguments)
        if arguments[0] != "benchmark":  # it lists what was refused
            self.assertEqual(out, "")
        for part in parts:
            self.assertIn(part, err)
        self.assertEqual(err.count("edge-rt: error: "), 0 if "no run ended well" in err else 1, err)

    def everywhere(self, code, parts, *arguments):
        for command in COMMANDS:
            with self.subTest(command=command[0]):
                self.fails(code, parts, *command, *arguments)

    def good(self):
        """A made model with a tokenizer of one token for each byte, and the parts of its weights."""
        folder = self.path("good")
        self.expect(0, "run", "-q", "--synthetic", SYNTHETIC, "--model", folder, "--prompt", "x", "--max-tokens", "1")
        with open(os.path.join(folder, "model.safetensors"), "rb") as file:
            raw = file.read()
        length = struct.unpack("<Q", raw[:8])[0]
        return json.loads(raw[8:8 + length]), raw[8 + length:]

    def bytes_alone(self):
        """The bytes of GPT-2's alphabet as tokens, without merges."""
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        vocabulary = {chr(byte): byte for byte in printable}
        vocabulary.update({chr(256 + i): byte for i, byte in enumerate(others)})
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return json.dumps({"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": level,
                           "post_processor": None, "decoder": level,
                           "model": {"type": "BPE", "vocab": vocabulary, "merges": []}})

    def broken(self, name, header, data, claimed=None):
        """A model whose weights are these; `header` is an object or bytes."""
        folder = self.path(name)
        os.makedirs(folder)
        shutil.copy(self.path("good/config.json"), folder)
        self.write(os.path.join(folder, "tokenizer.json"), self.bytes_alone())
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        self.write(os.path.join(folder, "model.safetensors"),
                   struct.pack("<Q", len(text) if claimed is None else claimed) + text + data)
        return folder

    def test_a_good_model_is_none_of_these(self):
        header, data = self.good()
        folder = self.broken("fine", header, data)
        for command in COMMANDS:
            self.expect(0, *command, "--model", folder)

    def test_models_that_are_not_there(self):
        self.everywhere(2, ["model folder", self.path("nowhere"), "make models"], "--model", self.path("nowhere"))
        os.makedirs(self.path("empty"))
        for command in COMMANDS[:2]:
            self.fails(2, ["empty/tokenizer.json", "Hugging Face's layout has one"], *command, "--model",
                       self.path("empty"))
        self.fails(2, ["empty/config.json"], "inspect", "--model", self.path("empty"))
        self.write("file", "")
        self.everywhere(2, ["is not a folder; name the one that holds config.json"], "--model", self.path("file"))

    def test_weights_that_are_damaged(self):
        header, data = self.good()
        names = [name for name in header if name != "__metadata__"]

        def changed(**keys):
            return {**header, names[0]: {**header[names[0]], **keys}}

        first, second = names[0], next(name for name in names[1:] if header[name]["shape"] == header[names[1]]["shape"])
        size = header[second]["data_offsets"][1] - header[second]["data_offsets"][0]
        begin = header[first]["data_offsets"][0]
        overlapping = {**header, second: {**header[second], "data_offsets": [begin, begin + size]}}
        cases = {
            "truncated": (header, data[:-100], None, ["the file is truncated", FETCH]),
            "claims": (header, data, 1 << 40, ["its header claims 1099511627776 bytes", "limit", FETCH]),
            "long": (header, data, 200 * 1000 * 1000, ["its header claims 200000000 bytes", FETCH]),
            "short": (b"", b"", None, [FETCH]),
            "overlapping": (overlapping, data, None, ["overlaps", FETCH]),
            "behind": (header, data + b"more", None, ["4 bytes behind", FETCH]),
            "strange": (changed(dtype="F128"), data, None, ['"F128" is not supported', "convert the model to F32"]),
            "other": (changed(dtype="I64"), data, None, ["its shape as I64 needs", FETCH]),
            "syntax": (b"{broken", b"", None, ["model.safetensors:1:2", FETCH]),
        }
        for name, (head, rest, claimed, parts) in cases.items():
            with self.subTest(case=name):
                self.everywhere(2, ["model.safetensors", *parts], "--model", self.broken(name, head, rest, claimed))

    def test_presets_that_are_wrong(self):
        unknown = self.write("unknown.toml", '[memory]\nbudgit = "1G"\n')
        wrong = self.write("wrong.toml", '[memory]\nbudget = "many"\n')
        syntax = self.write("syntax.toml", "[memory\n")
        self.everywhere(2, ["unknown.toml:2:1", 'did you mean "budget"'], "-c", unknown)
        self.everywhere(2, ["wrong.toml:2:10", '"many" is not a size', '"64MiB"'], "-c", wrong)
        self.everywhere(2, ["syntax.toml:1:"], "-c", syntax)
        self.everywhere(2, ["nowhere.toml"], "-c", self.path("nowhere.toml"))

    def test_budgets_that_are_too_small(self):
        options = ("--synthetic", SYNTHETIC)
        self.fails(3, ["needs a budget of at least", "it has 1.00 MiB (given)", "a shorter context"], "run", "-q",
                   *options, "--memory-budget", "1M", "--prompt", "x")
        self.fails(3, ["no run ended well: this model", "needs a budget of at least", "a shorter context"],
                   "benchmark", *options, "--sweep-memory", "1M", "--strategies", "auto")
        # A comparison says so in the row.
        out, _ = self.expect(0, "inspect", *options, "--sweep-memory", "1M", "-q")
        self.assertIn("needs a budget of at least", out)

    def test_words_and_numbers_that_are_wrong(self):
        there = "there are sequential, greedy-grouping, speculative-prefetch, resident-stream and auto"
        self.fails(2, ['"foo"', there], "benchmark", "--synthetic", SYNTHETIC, "--strategies", "auto,foo")
        self.fails(2, ["--strategies: write names with commas"], "benchmark", "--synthetic", SYNTHETIC,
                   "--strategies", "")
        self.fails(2, ['"sequental"', there, 'did you mean "sequential"'], "run", "-q", "--prompt", "x",
                   "--synthetic", SYNTHETIC, "--strategy", "sequental")
        for option in ("--memory-budget", "--sweep-memory"):
            command = ("run", "--prompt", "x") if option == "--memory-budget" else ("benchmark",)
            self.fails(2, [f"{option} lots: write bytes, or a number with K"], *command, option, "lots")
        self.fails(2, ["--memory-budget 0", "leave it out"], "run", "--prompt", "x", "--memory-budget", "0")
        for given, words in ((("--top-k", "5"), "change nothing at temperature 0"),
                             (("--lookup", "--temperature", "1"), "prompt lookup is for temperature 0")):
            _, err = self.expect(0, "run", "--synthetic", SYNTHETIC, "--prompt", "x", "--max-tokens", "2", *given)
            self.assertIn(words, err)
        self.fails(2, ["--threads 99", "from 1 to 64"], "run", "--prompt", "x", "--threads", "99")
        self.everywhere(2, ['dtype "f99"; write f32, f16, bf16 or i8'], "--synthetic", "gpt2-tiny:f99")
        self.everywhere(2, ['no shape "gtp2"; there are gpt2-small'], "--synthetic", "gtp2")
        self.everywhere(2, ["unknown option --bogus"], "--bogus")

    def test_files_that_cannot_be_written_are_found_before_any_work(self):
        for command, option in (("run", "logits"), ("inspect", "svg")):
            self.fails(4, [f"--{option} none/x cannot be written", "name a file in a folder"], command,
                       "--model", "none", f"--{option}", "none/x")

    def test_status_of_a_machine_that_cannot_be_read(self):
        self.fails(4, ["neither proc/stat nor proc/meminfo", "is /proc mounted?"], "status", "--root",
                   self.path("nowhere"))
        self.fails(2, ["did you mean --root?"], "status", "--rot", "/")

    def status(self, name):
        root = os.path.join(FIXTURES, name)
        words, _ = self.expect(0, "status", "--root", root)
        return self.expect_json(0, "status", "--json", "--root", root), words

    def test_status_on_raspberry_pis(self):
        hot, words = self.status("rpi4")
        self.assertEqual(hot["zones"], [{"type": "cpu-thermal", "celsius": 82.764, "limit_celsius": 110.0}])
        self.assertIn("throttled", hot["throttle_now"])
        self.assertIn("under-voltage", hot["throttle_ever"])
        for part in ("82.8 C; slowed or stopped at 110.0 C", "1000 MHz; 1800 allowed, 1800 possible", "since boot",
                     "soft temperature limit"):
            self.assertIn(part, words)
        cool, words = self.status("rpi5")
        self.assertEqual((cool["throttle_now"], cool["throttle_ever"]), ("none", "none"))
        self.assertIsNone(cool["memory_limit_bytes"])
        self.assertIn("1500 MHz; 2400 allowed", words)
        mainline, words = self.status("rpi4-mainline")
        self.assertEqual(mainline["memory_limit_bytes"], 512 << 20)
        self.assertEqual(mainline["throttle_now"],
                         "under-voltage, cooling device active, maximum frequency lowered")
        self.assertIn("2.00 processors", words)
        self.assertIn("memory pressure", words)


if __name__ == "__main__":
    support.main()
