# SPDX-License-Identifier: Apache-2.0
"""What the tests of the commands share. AEGISRT_PROGRAM names the program under test."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ.get("AEGISRT_PROGRAM", "bin/aegisrt")
SOURCE = os.environ.get(
    "AEGISRT_SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
)
MODELS = os.path.join(SOURCE, "models")
LONGEST_SECONDS = 300
# Few samples: these tests ask for shapes, not for figures.
QUICK = 'samples = 100\nconfidence = 0.9\n'


def null_model(spin="20us", weights=256, activation=1024, faults=None):
    """A model of the null runtime: spins, touches its memory, needs no file from elsewhere."""
    model = {
        "inputs": [{"name": "x", "dtype": "f32", "shape": [1, 4]}],
        "outputs": [{"name": "y", "dtype": "f32", "shape": [1, 4]}],
        "weights_bytes": weights,
        "segments": [[{"alloc": activation}, {"spin": spin}, {"free": 0}]],
    }
    if faults is not None:
        model["faults"] = faults
    return json.dumps(model)


class CommandTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="aegisrt-cli-")
        self.environment = dict(os.environ, AEGISRT_CACHE_DIR=self.path("cache"))

    def tearDown(self):
        shutil.rmtree(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return self.path(name)

    def run_program(self, *arguments):
        return subprocess.run(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment,
            timeout=LONGEST_SECONDS,
        )

    def expect(self, code, *arguments):
        """Runs a command; returns (stdout, stderr) when it ended with `code`."""
        done = self.run_program(*arguments)
        out, err = done.stdout.decode(), done.stderr.decode()
        self.assertEqual(done.returncode, code, f"{arguments}\nstdout: {out}\nstderr: {err}")
        return out, err

    def expect_json(self, code, *arguments):
        out, _ = self.expect(code, *arguments)
        result = json.loads(out)
        self.assertEqual(result["schema_version"], 1)
        return result

    def refused(self, code, parts, *arguments):
        """Runs a command that must fail with nothing on stdout and all `parts` on stderr."""
        out, err = self.expect(code, *arguments)
        self.assertEqual(out, "")
        self.assertTrue(err.splitlines()[-1].startswith("aegisrt: error: "), err)
        for part in parts:
            self.assertIn(part, err)
        return err

    def workload(self, models, device='memory = "16MiB"', schedule="", name="w.toml"):
        """Writes a workload; `models` are the bodies of its [[model]] tables."""
        text = f'[device]\nkind = "host"\n{device}\n[schedule]\n{schedule}\n'
        for body in models:
            text += f"[[model]]\n{body}\n"
        return self.write(name, text)

    def null_workload(self, extra="", **keywords):
        """One model of the null runtime, so easy to schedule that no noise refuses it."""
        self.write("a.null", null_model())
        body = 'name = "a"\npath = "a.null"\nbackend = "null"\nperiod = "5s"\n' + QUICK + extra
        return self.workload([body], **keywords)

    def needs_onnxruntime(self):
        devices = self.expect_json(0, "devices", "--json")
        if not any(r["name"] == "onnxruntime" and r["built"] for r in devices["runtimes"]):
            self.skipTest("this build has no ONNX Runtime")

    def needs_model(self, name):
        self.needs_onnxruntime()
        path = os.path.join(MODELS, name)
        if not os.path.exists(path):
            self.skipTest(f"{path} is missing: make models fetches it")
        return path


def main():
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun > 0 and len(result.skipped) == result.testsRun:
        sys.exit(77)
