# SPDX-License-Identifier: Apache-2.0
"""Every kind of wrong workload: exit code, place, key and cure, and nothing on stdout."""

import json

import support

GOOD = 'name = "a"\npath = "a.null"\nbackend = "null"\nperiod = "500ms"\n'


class WrongWorkloads(support.CommandTest):
    def setUp(self):
        super().setUp()
        self.write("a.null", support.null_model())

    def wrong(self, code, parts, text):
        path = self.write("w.toml", text)
        for command in ("run", "check"):
            self.refused(code, parts, command, path)

    def test_not_toml(self):
        self.wrong(2, ["w.toml:1:"], "[device\n")
        self.wrong(2, ["w.toml:1:"], b"\xff\xfe\x00")

    def test_empty(self):
        self.wrong(2, ["w.toml:1:1: [device]: memory: is missing"], "")
        self.wrong(2, ["holds no model", "[[model]]"], '[device]\nmemory = "16MiB"\n')

    def test_unknown_key_with_suggestion(self):
        self.wrong(2, ['w.toml:8:1: [[model]] "a": dedline: unknown key', '"deadline"'],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD + 'dedline = "1s"\n')

    def test_deadline_zero(self):
        self.wrong(2, ['w.toml:8:12: [[model]] "a": deadline: must be above 0', "200ms"],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD + 'deadline = "0ms"\n')

    def test_wrong_type(self):
        self.wrong(2, ['w.toml:8:12: [[model]] "a": deadline: expected a duration', "an integer"],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD + "deadline = 200\n")

    def test_two_models_of_one_name(self):
        self.wrong(2, ['w.toml:9:8: [[model]] "a": name: the model at line 3'],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD + "[[model]]\n" + GOOD)

    def test_model_file_is_missing(self):
        self.wrong(2, ['w.toml:5:8: [[model]] "a": path: there is no file nowhere.null'],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD.replace("a.null", "nowhere.null"))

    def test_model_file_is_no_model(self):
        self.write("a.null", "not a model")
        self.wrong(2, ["w.toml:", '[[model]] "a"', "a.null"],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD)

    def test_wrong_shape(self):
        self.wrong(2, ["w.toml:", '[[model]] "a"', 'x'],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD + "inputs = { x = [1, 5] }\n")

    def test_input_that_the_model_does_not_have(self):
        self.wrong(2, ["w.toml:", '[[model]] "a"', "nothing"],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD + "inputs = { nothing = [1] }\n")

    def test_prepack(self):
        head = '[device]\nmemory = "16MiB"\n[[model]]\n'
        self.wrong(2, ["w.toml:8:11: [[model]] \"a\": prepack", '"auto"'],
                   head + GOOD + 'prepack = "outo"\n')
        self.wrong(2, ['[[model]] "a": prepack: expected'], head + GOOD + "prepack = 1\n")

    def test_paged_models(self):
        head = '[device]\nmemory = "16MiB"\nlanes = 2\n[[model]]\n'
        paged = 'residency = "paged"\n'
        self.wrong(2, ['w.toml:9:13: [[model]] "a": residency', "add lane = N"], head + GOOD + paged)
        self.wrong(2, ['w.toml:11:8: [[model]] "a": cuts', "cannot be cut"],
                   head + GOOD + paged + "lane = 0\ncuts = 2\n")
        other = GOOD.replace('"a"', '"b"')
        self.wrong(2, ['[[model]] "b": residency: "a" is paged on lane 0', "one lane"],
                   head + GOOD + paged + "lane = 0\n[[model]]\n" + other + paged + "lane = 1\n")
        self.wrong(2, ['[[model]] "a": residency', '"nul"'.replace("nul", "resident")],
                   head + GOOD + 'lane = 0\nresidency = "residant"\n')
        self.wrong(2, ['[[model]] "a": residency', "'null' cannot be paged", "make it resident"],
                   head + GOOD + paged + "lane = 0\n")

    def test_a_runtime_that_is_not_there_yet(self):
        for runtime in ("tensorrt", "tvm", "pytorch"):
            self.refused(2, ["w.toml:", f'"{runtime}" is designed for and not there yet', '"onnxruntime'],
                         "check", self.workload([GOOD.replace('"null"', f'"{runtime}"')]))

    def test_unknown_runtime(self):
        self.wrong(2, ["w.toml:6:11", '"tensor"', "onnxruntime"],
                   '[device]\nmemory = "16MiB"\n[[model]]\n' + GOOD.replace('"null"', '"tensor"'))

    def test_unknown_policy(self):
        self.wrong(2, ["w.toml:4:10: [schedule]: policy", "np-edf"],
                   '[device]\nmemory = "16MiB"\n[schedule]\npolicy = "np-edff"\n[[model]]\n' + GOOD)
        self.refused(2, ["--policy", "np-edf"], "run", self.null_workload(), "--policy", "np-edff")

    def test_a_folder_is_no_workload(self):
        self.refused(2, [self.folder], "run", self.folder)

    def test_more_memory_than_the_machine_has(self):
        path = self.workload([GOOD], device='memory = "200000GiB"')
        self.refused(4, ["w.toml: [device]"], "check", path)

    def test_the_trace_cannot_be_written(self):
        path = self.null_workload()
        self.refused(4, ["none/t"], "run", path, "--trace", self.path("none/t"), "--duration", "0.1",
                     "-q")


class WrongOnnxModels(support.CommandTest):
    MODEL = "ch_ppocr_mobile_v2.0_cls_infer.onnx"

    def check(self, code, parts, path, extra=""):
        body = f'name = "cls"\npath = "{path}"\nperiod = "500ms"\n{extra}'
        workload = self.workload([body], device='memory = "64MiB"')
        self.refused(code, ["w.toml:", '[[model]] "cls"'] + parts, "check", workload)

    def test_not_an_onnx_file(self):
        self.needs_onnxruntime()
        self.check(2, ["bad.onnx"], self.write("bad.onnx", "this is no model\n" * 100))

    def test_empty_file(self):
        self.needs_onnxruntime()
        self.check(2, ["bad.onnx"], self.write("bad.onnx", b""))

    def test_truncated_model(self):
        with open(self.needs_model(self.MODEL), "rb") as file:
            whole = file.read()
        self.check(2, ["bad.onnx"], self.write("bad.onnx", whole[: len(whole) // 2]))

    def test_wrong_rank(self):
        path = self.needs_model(self.MODEL)
        self.check(2, ['x', "4"], path, "inputs = { x = [1, 3, 48] }\n")

    def test_fixed_dimension_contradicted(self):
        path = self.needs_model(self.MODEL)
        self.check(2, ['x', "5"], path, "inputs = { x = [1, 5, 48, 192] }\n")

    def test_free_dimensions_need_a_shape(self):
        path = self.needs_model(self.MODEL)
        self.check(2, ['x', "inputs"], path)

    def test_inputs_larger_than_the_memory_are_never_tried(self):
        path = self.needs_model(self.MODEL)
        trace = self.path("t")
        body = f'name = "cls"\npath = "{path}"\nperiod = "2s"\n'
        body += "inputs = { x = [10000, 3, 48, 192] }\n"
        workload = self.workload([body], device='memory = "64MiB"')
        result = self.expect_json(3, "run", "--json", "-q", workload, "--duration", "0.1", "--trace",
                                  trace)
        (refused,) = result["rejected"]
        self.assertIn("its inputs alone take 264 MiB or more", refused["reason"])
        self.assertEqual(refused["rationale"], "memory")
        self.assertEqual(refused["memory_missing_bytes"], 10000 * 3 * 48 * 192 - (64 << 20))
        out, _ = self.expect(0, "trace", "export", trace)
        (record,) = [r for r in map(json.loads, out.splitlines()) if r["kind"] == "refused"]
        self.assertIn("needs 264 MiB and 64.0 MiB of 64.0 MiB are free", record["sentence"])

    def test_unknown_input(self):
        path = self.needs_model(self.MODEL)
        self.check(2, ["image"], path, "inputs = { image = [1, 3, 48, 192] }\n")

    def test_budget_below_the_weights(self):
        path = self.needs_model(self.MODEL)
        body = f'name = "cls"\npath = "{path}"\nperiod = "30s"\ninputs = {{ x = [1, 3, 48, 192] }}\n'
        workload = self.workload([body + 'memory = "64KiB"\n'], device='memory = "64MiB"')
        result = self.expect_json(3, "check", "--json", "-q", workload)
        self.assertEqual(result["admitted"], 0)
        self.assertEqual(result["rejected"][0]["model"], "cls")
        self.assertEqual(result["rejected"][0]["rationale"], "model-budget")
        workload = self.workload([body], device='memory = "256KiB"\nspill = "4KiB"')
        result = self.expect_json(3, "check", "--json", "-q", workload)
        self.assertEqual(result["rejected"][0]["rationale"], "memory")
        self.assertGreater(result["rejected"][0]["memory_missing_bytes"], 0)


class MissingRuntime(support.CommandTest):
    def test_a_runtime_that_was_not_built_names_flag_and_consumer(self):
        devices = self.expect_json(0, "devices", "--json")
        if any(r["name"] == "onnxruntime" and r["built"] for r in devices["runtimes"]):
            self.skipTest("this build has ONNX Runtime")
        self.write("a.onnx", "x")
        workload = self.workload(['name = "a"\npath = "a.onnx"\nperiod = "1s"\n'])
        self.refused(4, ["onnxruntime", "AEGISRT_BUILD_ONNXRUNTIME", '"a"'], "check", workload)


if __name__ == "__main__":
    support.main()
