# SPDX-License-Identifier: Apache-2.0
"""[[event]]: models that are added, removed and moved while a workload runs."""

import json
import os

import support

MIB = 1 << 20
DEVICE = '[device]\nkind = "host"\nmemory = "%d"\nlanes = 1\n'
EVENT = '[[event]]\nat = "%s"\n%s\n'


def model(name, path, rest=""):
    return ('[[model]]\nname = "%s"\npath = "%s"\noverrun = "report"\n%s%s\n'
            % (name, path, support.QUICK, rest))


class Events(support.CommandTest):
    def null(self, name, mebibytes, rest=""):
        self.write(name + ".null", support.null_model(weights=mebibytes * MIB))
        return model(name, name + ".null", 'backend = "null"\nperiod = "20s"\n' + rest)

    def workload(self, events, memory=16 * MIB, rest=""):
        return self.write(
            "w.toml", DEVICE % memory + self.null("a", 4) + self.null("b", 1) + self.null("c", 4) +
            self.null("d", 1) + self.null("big", 6, rest) + events)

    def run_it(self, code, workload, seconds="2"):
        trace = self.path("t")
        result = self.expect_json(code, "run", workload, "--duration", seconds, "--json", "-q",
                                  "--trace", trace)
        replayed = self.expect_json(0, "replay", trace, "--json")
        self.assertEqual(replayed["identical"], replayed["decisions"])
        self.assertIsNone(replayed["first_difference"])
        return result

    # a | b | c | d | rest: without a and c there are three holes, and big is larger than each.
    MOVED = (EVENT % ("300ms", 'remove = "a"') + EVENT % ("400ms", 'remove = "c"') +
             EVENT % ("600ms", 'add = "big"\nexpect = "refuse"') +
             EVENT % ("800ms", 'compact = "big"'))

    def test_refused_for_its_place_then_moved_in(self):
        result = self.run_it(0, self.workload(self.MOVED, rest="start = false\n"))
        events = result["events"]
        self.assertEqual([e["outcome"] for e in events], ["done", "done", "refused", "done"])
        self.assertTrue(all(e["expected"] for e in events))
        self.assertTrue(events[2]["fits_after_moving"])
        self.assertIn("would fit after compaction", events[2]["reason"])
        self.assertLess(events[1]["planned_bytes"], events[0]["planned_bytes"])
        self.assertEqual([one["model"] for one in events[0]["left"]], ["a"])
        self.assertGreaterEqual(events[0]["left"][0]["completed"], 1)
        self.assertEqual({one["model"] for one in events[3]["left"]}, {"b", "d"})
        self.assertEqual({m["name"] for m in result["models"]}, {"b", "d", "big"})
        for one in result["models"]:
            self.assertGreaterEqual(one["completed"], 1, one["name"])
        self.assertEqual({one["model"] for one in result["rejected"]}, {"a", "c"})

    def test_the_table_tells_them(self):
        workload = self.workload(self.MOVED, rest="start = false\n")
        out, _ = self.expect(0, "run", workload, "--duration", "1.5", "-q")
        for part in ("would fit after compaction", "refused (as expected)", "until then a:",
                     "compact"):
            self.assertIn(part, out)
        out, _ = self.expect(0, "check", workload, "-q")
        self.assertRegex(out, r"big .* out\n")

    def test_what_was_not_expected_ends_with_3(self):
        events = EVENT % ("200ms", 'add = "big"') + EVENT % ("9s", 'remove = "d"')
        result = self.run_it(3, self.workload(events, rest="start = false\n"), "0.5")
        self.assertEqual([e["outcome"] for e in result["events"]], ["refused", "not reached"])
        self.assertEqual([e["expected"] for e in result["events"]], [False, True])
        self.assertEqual(result["surprises"], 1)
        self.expect(3, "run", self.workload(EVENT % ("100ms", 'add = "a"')), "--duration", "0.3",
                    "-q") # it is in

    def test_pressure_removes_whom_the_policy_names(self):
        events = (EVENT % ("200ms", 'pressure = "20MiB"\npolicy = "largest"') +
                  EVENT % ("300ms", 'pressure = "5MiB"\npolicy = "smallest-enough"') +
                  EVENT % ("400ms", 'pressure = "900KiB"\npolicy = "smallest-enough"') +
                  EVENT % ("500ms", 'pressure = "5MiB"\npolicy = "largest"'))
        events += EVENT % ("600ms", 'add = "big"')
        result = self.run_it(3, self.workload(events, rest="start = false\n"), "1.5")
        left = [{one["model"] for one in event["left"]} for event in result["events"]]
        self.assertEqual([e["outcome"] for e in result["events"]],
                         ["failed", "failed", "done", "done", "done"])
        self.assertIn("all together would free", result["events"][0]["reason"])
        self.assertIn("no model alone would free", result["events"][1]["reason"])
        self.assertEqual([len(one) for one in left], [0, 0, 1, 2, 0])
        self.assertLessEqual(left[2], {"b", "d"})
        self.assertEqual(left[3], {"a", "c"})
        before, after = result["events"][2]["planned_bytes"], result["events"][3]["planned_bytes"]
        self.assertGreaterEqual(before - after, 5 << 20)

    def test_pressure_is_in_the_trace(self):
        trace = self.path("t")
        events = EVENT % ("200ms", 'pressure = "900KiB"\npolicy = "largest"')
        self.expect(0, "run", self.workload(events, memory=32 * MIB), "--duration", "0.5",
                    "-q", "--trace", trace)
        out, _ = self.expect(0, "trace", "export", trace)
        records = [json.loads(line) for line in out.splitlines()]
        (asked,) = [r for r in records if r["kind"] == "pressure"]
        self.assertEqual(asked["needed_bytes"], 900 << 10)
        self.assertGreaterEqual(asked["freeable_bytes"], 5 << 20)
        self.assertIn("by policy largest", asked["sentence"])
        memory = [r["value"] for r in records if r["kind"] == "counter" and r["counter"] == "memory"]
        self.assertEqual(len(memory), 2)
        self.assertGreaterEqual(memory[0] - memory[1], 900 << 10)

    def test_what_is_wrong_is_told(self):
        for events, rest, parts in (
                ('[[event]]\nadd = "a"\n', "", ["at", "is missing"]),
                (EVENT % ("1s", ""), "", ["says when, but not what"]),
                (EVENT % ("1s", 'add = "x"'), "", ['there is no model "x"']),
                (EVENT % ("1s", 'add = "a"\nremove = "b"'), "", ["second change"]),
                (EVENT % ("1s", "compact = false"), "", ["false is no change"]),
                (EVENT % ("1s", "compact = 3"), "", ["compact"]),
                (EVENT % ("1s", 'pressure = "1MiB"'), "", ["policy", "is missing", "newest"]),
                (EVENT % ("1s", 'pressure = "1MiB"\npolicy = "x"'), "", ["policy"]),
                (EVENT % ("1s", 'add = "a"\npolicy = "newest"'), "", ["policy", "remove it"]),
                (EVENT % ("1s", 'pressure = "1MiB"\npolicy = "newest"\nexpect = "refuse"'), "",
                 ["expect"]),
                (EVENT % ("1s", 'remove = "a"\nexpect = "refuse"'), "", ["expect"]),
                (EVENT % ("1s", 'ad = "a"'), "", ["ad:", "unknown key"]),
                ("event = 3\n", "", ["event"]),
                ("", "start = false\n", ['"big" is not there at the start']),
                (EVENT % ("1s", 'add = "big"'), 'start = false\nexpect = "refuse"\n', ["start"])):
            if events.startswith("event"):
                workload = self.write("v.toml", events + DEVICE % MIB + self.null("a", 1))
            else:
                workload = self.workload(events, rest=rest)
            self.refused(2, [".toml:", *parts], "check", workload)

    def test_real_models(self):
        self.needs_onnxruntime()
        stems = {"content": "magika", "between": "ch_ppocr_mobile_v2.0_cls_infer",
                 "tiny": "light_shufflenet", "objects": "light_squeezenet"}
        files = {name: os.path.join(support.MODELS, stem + ".onnx")
                 for name, stem in stems.items()}
        if not all(os.path.exists(path) for path in files.values()):
            self.skipTest("the models are not there; make models fetches them")
        rest = {"content": 'source = "random(0, 255)"\ninputs = { bytes = [1, 2048] }\n',
                "between": "inputs = { x = [1, 3, 48, 192] }\n",
                "tiny": 'inputs = { "gpu_0/data_0" = [1, 3, 224, 224] }\n',
                "objects": "inputs = { data_0 = [1, 3, 224, 224] }\n"}
        models = {name: model(name, files[name], 'period = "20s"\n' + rest[name])
                  for name in stems}
        models["last"] = models["between"].replace('"between"', '"last"')
        order = ("content", "between", "tiny", "last", "objects")
        text = "".join(models[name] for name in order)
        all_in = self.expect_json(0, "check", self.write("all.toml", DEVICE % (64 * MIB) + text),
                                  "--json", "-q")
        objects = next(m for m in all_in["models"] if m["name"] == "objects")
        planned = all_in["memory"]["planned"]
        memory = planned - (objects["memory_bytes"] - objects["activation_bytes"]) + (64 << 10)
        text = text.replace('name = "objects"\n', 'name = "objects"\nstart = false\n')
        text += (EVENT % ("600ms", 'remove = "content"') + EVENT % ("700ms", 'remove = "tiny"') +
                 EVENT % ("800ms", 'add = "objects"\nexpect = "refuse"') +
                 EVENT % ("900ms", 'compact = "objects"') +
                 EVENT % ("2s", 'add = "tiny"\nexpect = "refuse"') + EVENT % ("3s", "compact = true"))
        result = self.run_it(0, self.write("w.toml", DEVICE % (memory // 4096 * 4096) + text), "5")
        outcomes = [e["outcome"] for e in result["events"]]
        self.assertEqual(outcomes[:4], ["done", "done", "refused", "done"])
        self.assertTrue(result["events"][2]["fits_after_moving"])
        self.assertEqual(outcomes[4:], ["refused", "done"])
        self.assertFalse(result["events"][4]["fits_after_moving"])
        self.assertIn("it would fit without model 'objects'", result["events"][4]["reason"])
        done = {m["name"]: m["completed"] for m in result["models"]}
        for name in ("between", "last", "objects"):
            self.assertGreaterEqual(done[name], 1, done)


if __name__ == "__main__":
    support.main()
