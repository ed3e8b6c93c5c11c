/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/workload.h>

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICE "[device]\nmemory = \"64MiB\"\n"
#define MODEL "[[model]]\nname = \"a\"\npath = \"a.onnx\"\nperiod = \"10ms\"\n"

static aegis_workload *parse(const char *text)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_error error = {0};
    if (aegis_workload_parse(text, strlen(text), "w.toml", &allocator, &workload, &error) !=
        AEGIS_OK) {
        fail_msg("%s", error.message);
    }
    return workload;
}

static void defaults(void **state)
{
    (void)state;
    aegis_workload *workload = parse(DEVICE MODEL);
    assert_string_equal(workload->path, "w.toml");
    assert_int_equal(workload->device_kind, AEGIS_DEVICE_AUTO);
    assert_int_equal(workload->memory_bytes, 64 << 20);
    assert_int_equal(workload->lanes, 1);
    assert_int_equal(workload->spill_bytes, 1 << 20);
    assert_int_equal(workload->lane_width, 1);
    assert_int_equal(workload->lane_cpu[0], -1);
    assert_int_equal(workload->lane_cpu[63], -1);
    assert_int_equal(workload->lane_multiprocessors[0], 0);
    assert_true(workload->ahead);
    assert_true(workload->lanes_alike);
    assert_string_equal(workload->policy, "np-edf");
    assert_int_equal(workload->queue_depth, 64);
    assert_int_equal(workload->wait, AEGIS_WAIT_SLEEP);
    assert_int_equal(workload->model_count, 1);
    const aegis_workload_model *model = &workload->models[0];
    assert_string_equal(model->name, "a");
    assert_string_equal(model->path, "a.onnx");
    assert_string_equal(model->config.name, "a");
    assert_string_equal(model->config.path, "a.onnx");
    assert_string_equal(model->backend, "onnxruntime");
    assert_int_equal(model->period_ns, 10000000);
    assert_int_equal(model->deadline_ns, 10000000);
    assert_int_equal(model->lane, -1);
    assert_int_equal(model->priority, 0);
    assert_int_equal(model->overrun, AEGIS_OVERRUN_ABORT);
    assert_int_equal(model->early, AEGIS_EARLY_REFUSE);
    assert_int_equal(model->weight, 1);
    assert_int_equal(model->config.threads, 1);
    assert_int_equal(model->config.source_count, 1);
    assert_null(model->config.sources[0].input);
    assert_int_equal(model->config.sources[0].kind, AEGIS_SOURCE_RANDOM);
    assert_false(model->external || model->background || model->expect_refuse);
    assert_int_equal(model->place.line, 3);
    assert_int_equal(model->path_place.line, 5);
    assert_int_equal(model->path_place.column, 8);
    assert_int_equal(model->inputs_place.line, 3);
    aegis_workload_free(workload);
}

static const char everything[] =
    "[device]\nkind = \"host\"\nmemory = \"512MiB\"\nlanes = 2\nspill = \"2M\"\n"
    "lock_memory = true\nhuge_pages = false\nlane_width = 2\nlane_cpu = [1, -1]\nlane_spin = "
    "\"30us\"\nprocess_memory = \"1GiB\"\nfifo_priority = 40\npinned = \"8MiB\"\ncompletion = "
    "\"poll\"\n"
    "ahead = false\ngraphs = false\nmultiprocessors = [16, 16]\n"
    "[schedule]\npolicy = \"np-fp\"\nqueue_depth = 8\nwait = \"poll\"\nearly = \"delay\"\n"
    "hang = \"3s\"\n"
    "[[model]]\nname = \"vad\"\npath = \"vad.onnx\"\nbackend = \"onnxruntime\"\n"
    "inputs = { x = [1, 512], sr = [], h = [2, 1, 128] }\nstate = { h = \"hn\" }\n"
    "period = \"32ms\"\ndeadline = \"20ms\"\noffset = \"1ms\"\njitter = \"500us\"\n"
    "memory = \"64MiB\"\ncompute = \"5ms\"\noverrun = \"skip\"\nearly = \"refuse\"\n"
    "source = { sr = 16000, x = \"random\", ids = \"random(0,30521)\", m = 0.5, f = \"in.npy\", "
    "z = \"zeros\" }\n"
    "priority = -3\nlane = 1\nconfidence = 0.999\nassurance = 0.9\nmargin = 2\nsamples = 300\n"
    "threads = 2\nslots = 4\nprepack = false\ncpu_nodes = \"allow\"\nseed = 7\nexpect = "
    "\"refuse\"\n"
    "[[model]]\nname = \"b\"\npath = \"b.onnx\"\nclass = \"background\"\nweight = 3\n"
    "share = 0.25\n"
    "source = \"external\"\n"
    "[[model]]\nname = \"c\"\npath = \"c.onnx\"\nperiod = \"1s\"\nsource = \"zeros\"\n"
    "copies = \"early\"\n";

static void every_key(void **state)
{
    (void)state;
    aegis_workload *workload = parse(everything);
    assert_int_equal(workload->device_kind, AEGIS_DEVICE_HOST);
    assert_int_equal(workload->lanes, 2);
    assert_int_equal(workload->spill_bytes, 2 << 20);
    assert_int_equal(workload->pinned_bytes, 8 << 20);
    assert_int_equal(workload->process_bytes, 1 << 30);
    assert_int_equal(workload->completion, AEGIS_COMPLETION_POLL);
    assert_false(workload->ahead);
    assert_false(workload->graphs);
    assert_true(workload->models[0].config.eager);
    assert_true(workload->models[0].config.allow_cpu_nodes);
    assert_false(workload->models[2].config.allow_cpu_nodes);
    assert_true(workload->lock_memory);
    assert_false(workload->huge_pages);
    assert_int_equal(workload->lane_width, 2);
    assert_int_equal(workload->lane_cpu[0], 1);
    assert_int_equal(workload->lane_cpu[1], -1);
    assert_int_equal(workload->lane_multiprocessors[1], 16);
    assert_true(workload->lanes_alike);
    assert_true(workload->has_lane_spin);
    assert_int_equal(workload->lane_spin_ns, 30000);
    assert_int_equal(workload->fifo_priority, 40);
    assert_string_equal(workload->policy, "np-fp");
    assert_int_equal(workload->queue_depth, 8);
    assert_int_equal(workload->wait, AEGIS_WAIT_POLL);
    assert_true(workload->hang_given && workload->hang_ns == UINT64_C(3000000000));
    assert_int_equal(workload->model_count, 3);
    assert_true(workload->copies_early);
    assert_true(workload->models[2].config.early_copies);
    assert_int_equal(workload->models[2].copies_place.column, 10);
    assert_false(workload->models[0].config.early_copies);
    assert_int_equal(workload->models[0].copies_place.line, 0);
    const aegis_workload_model *vad = &workload->models[0];
    assert_int_equal(vad->period_ns, 32000000);
    assert_int_equal(vad->deadline_ns, 20000000);
    assert_int_equal(vad->offset_ns, 1000000);
    assert_int_equal(vad->jitter_ns, 500000);
    assert_int_equal(vad->memory_bytes, 64 << 20);
    assert_int_equal(vad->config.memory_limit_bytes, 64 << 20);
    assert_int_equal(vad->compute_ns, 5000000);
    assert_int_equal(vad->overrun, AEGIS_OVERRUN_SKIP);
    assert_int_equal(vad->early, AEGIS_EARLY_REFUSE);
    assert_int_equal(vad->priority, -3);
    assert_int_equal(vad->lane, 1);
    assert_true(vad->confidence > 0.9989 && vad->confidence < 0.9991);
    assert_true(vad->assurance > 0.89 && vad->assurance < 0.91);
    assert_true(vad->margin > 1.99 && vad->margin < 2.01);
    assert_int_equal(vad->samples, 300);
    assert_true(vad->expect_refuse);
    assert_int_equal(vad->inputs_place.line, 28);
    assert_int_equal(vad->inputs_place.column, 10);
    const aegis_model_config *config = &vad->config;
    assert_int_equal(config->threads, 2);
    assert_int_equal(config->slots, 4);
    assert_int_equal(config->seed, 7);
    assert_false(config->prepack);
    assert_int_equal(config->input_count, 3);
    assert_string_equal(config->inputs[0].name, "x");
    assert_int_equal(config->inputs[0].rank, 2);
    assert_int_equal(config->inputs[0].shape[1], 512);
    assert_string_equal(config->inputs[1].name, "sr");
    assert_int_equal(config->inputs[1].rank, 0);
    assert_int_equal(config->state_count, 1);
    assert_string_equal(config->state[0].input, "h");
    assert_string_equal(config->state[0].output, "hn");
    assert_int_equal(config->source_count, 7);
    assert_int_equal(config->sources[0].kind, AEGIS_SOURCE_CONSTANT);
    assert_true(config->sources[0].constant > 15999 && config->sources[0].constant < 16001);
    assert_int_equal(config->sources[1].kind, AEGIS_SOURCE_RANDOM);
    assert_int_equal(config->sources[2].low, 0);
    assert_int_equal(config->sources[2].high, 30521);
    assert_int_equal(config->sources[3].kind, AEGIS_SOURCE_CONSTANT);
    assert_int_equal(config->sources[4].kind, AEGIS_SOURCE_FILE);
    assert_string_equal(config->sources[4].path, "in.npy");
    assert_int_equal(config->sources[5].kind, AEGIS_SOURCE_ZEROS);
    assert_null(config->sources[6].input);
    const aegis_workload_model *background = &workload->models[1];
    assert_true(background->background && background->external);
    assert_int_equal(background->weight, 3);
    assert_int_equal(background->share_ppm, 250000);
    assert_int_equal(vad->share_ppm, 0);
    assert_int_equal(background->period_ns, 0);
    assert_int_equal(background->deadline_ns, 0);
    assert_int_equal(background->early, AEGIS_EARLY_DELAY);
    assert_int_equal(workload->models[2].priority, 2);
    aegis_workload_free(workload);
}

static void lanes_of_different_sizes(void **state)
{
    (void)state;
    aegis_workload *workload =
        parse(DEVICE "lanes = 2\nmultiprocessors = [8, 16]\n" MODEL "lane = 1\n");
    assert_int_equal(workload->lane_multiprocessors[0], 8);
    assert_int_equal(workload->lane_multiprocessors[1], 16);
    assert_false(workload->lanes_alike);
    aegis_workload_free(workload);
}

typedef struct refusal {
    const char *text;
    aegis_status status;
    const char *starts; /* of the message */
    const char *holds;  /* somewhere in it: the cure */
} refusal;

/* A model whose keys past the period are `keys`; they begin at line 7. */
#define KEYS(keys) DEVICE MODEL keys
#define AT_7(column, key) "w.toml:7:" #column ": [[model]] \"a\": " key ": "

static const refusal refusals[] = {
    {"", AEGIS_ERROR_CONFIG, "w.toml:1:1: [device]: memory: is missing", "512MiB"},
    {DEVICE, AEGIS_ERROR_CONFIG, "w.toml:1:1: model: the workload holds no model",
     "add a [[model]]"},
    {DEVICE "model = []\n", AEGIS_ERROR_CONFIG, "w.toml:3:1: [device]: model: unknown key",
     "memory"},
    {"model = []\n" DEVICE, AEGIS_ERROR_CONFIG, "w.toml:1:9: model: the workload holds no model",
     "add"},
    {"model = [3]\n" DEVICE, AEGIS_ERROR_CONFIG, "w.toml:1:10: model: expected a table, got an int",
     "[[model]]"},
    {DEVICE "[model]\nname = \"a\"\n", AEGIS_ERROR_CONFIG, "w.toml:3:1: model: expected an array",
     "[[model]]"},
    {"a = \n", AEGIS_ERROR_PARSE, "w.toml:1:5: ", "value"},
    {"[device\n", AEGIS_ERROR_PARSE, "w.toml:1:8: ", "']'"},
    {DEVICE "memory = 3\n", AEGIS_ERROR_PARSE, "w.toml:3:1", "redefine"},
    {DEVICE "[devise]\n", AEGIS_ERROR_CONFIG, "w.toml:3:2: devise: unknown key", "\"device\""},
    {DEVICE "[quartz]\n", AEGIS_ERROR_CONFIG, "w.toml:3:2: quartz: unknown key; known are device",
     "schedule"},
    {DEVICE "[[mode]]\n", AEGIS_ERROR_UNSUPPORTED, "w.toml:3:1: mode: not supported", "remove"},
    {"device = 3\n", AEGIS_ERROR_CONFIG, "w.toml:1:10: device: expected a table, got an integer",
     ""},
    {DEVICE "lane = 2\n", AEGIS_ERROR_CONFIG, "w.toml:3:1: [device]: lane: unknown", "\"lanes\""},
    {DEVICE "kind = \"gpu\"\n", AEGIS_ERROR_CONFIG, "w.toml:3:8: [device]: kind: \"gpu\"",
     "\"auto\", \"host\" or \"cuda\""},
    {DEVICE "kind = 1\n", AEGIS_ERROR_CONFIG, "w.toml:3:8: [device]: kind: expected \"auto\"",
     "got an integer"},
    {DEVICE "lanes = 0\n", AEGIS_ERROR_CONFIG, "w.toml:3:9: [device]: lanes: 0 is out", "1 to 64"},
    {DEVICE "lanes = 65\n", AEGIS_ERROR_CONFIG, "w.toml:3:9: [device]: lanes: 65", "1 to 64"},
    {DEVICE "lanes = 1.5\n", AEGIS_ERROR_CONFIG, "w.toml:3:9: [device]: lanes: expected an integer",
     "fraction"},
    {DEVICE "lock_memory = 1\n", AEGIS_ERROR_CONFIG, "w.toml:3:15: [device]: lock_memory: expected",
     "true or false"},
    {DEVICE "process_memory = 1\n", AEGIS_ERROR_CONFIG, "w.toml:3:18: [device]: process_memory: 1",
     "64.0 KiB"},
    {DEVICE "lane_spin = \"1s\"\n", AEGIS_ERROR_CONFIG, "w.toml:3:13: [device]: lane_spin",
     "at most \"10ms\""},
    {DEVICE "fifo_priority = 99\n", AEGIS_ERROR_CONFIG, "w.toml:3:17: [device]: fifo_priority",
     "0 to 98"},
    {DEVICE "lane_cpu = [0, 1]\n", AEGIS_ERROR_CONFIG, "w.toml:3:12: [device]: lane_cpu: has 2",
     "one CPU for each lane"},
    {DEVICE "lane_cpu = [\"x\"]\n", AEGIS_ERROR_CONFIG, "w.toml:3:13: [device]: lane_cpu",
     "lane 0"},
    {DEVICE "multiprocessors = 64\n", AEGIS_ERROR_CONFIG,
     "w.toml:3:19: [device]: multiprocessors: expected an array", "such as [64, 64]"},
    {DEVICE "multiprocessors = [8, 8]\n", AEGIS_ERROR_CONFIG,
     "w.toml:3:19: [device]: multiprocessors: has 2 entries for 1 lanes", "its own"},
    {DEVICE "lanes = 2\nmultiprocessors = [8, 0]\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:23: [device]: multiprocessors: expected a number", "lane 1"},
    {DEVICE "lanes = 2\nmultiprocessors = [8, 16]\n" MODEL, AEGIS_ERROR_CONFIG,
     "w.toml:5:1: [[model]] \"a\": lane: is missing", "different numbers"},
    {DEVICE "multiprocessors = [8]\n" MODEL "backend = \"transformer\"\n", AEGIS_ERROR_UNSUPPORTED,
     "w.toml:8:11: [[model]] \"a\": backend: a kernel of a language model", "remove the key"},
    {"[device]\nmemory = \"64 MB\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:2:10: [device]: memory: \"64 MB\"", "MiB"},
    {"[device]\nmemory = -5\n", AEGIS_ERROR_CONFIG, "w.toml:2:10: [device]: memory: 0 B", "from"},
    {"[device]\nmemory = true\n", AEGIS_ERROR_CONFIG, "w.toml:2:10: [device]: memory: expected",
     "a boolean"},
    {"[device]\nmemory = \"1M\"\nlanes = 2\n", AEGIS_ERROR_CONFIG, "w.toml:2:10: [device]: memory",
     "spill"},
    {DEVICE "[schedule]\npolicy = \"np-edff\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:10: [schedule]: policy: ", "np-edff"},
    {DEVICE "[schedule]\nqueue_depth = 0\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:15: [schedule]: queue_depth: 0", "1 to 1024"},
    {DEVICE "[schedule]\nwait = \"spin\"\n", AEGIS_ERROR_CONFIG, "w.toml:4:8: [schedule]: wait",
     "\"sleep\" or \"poll\""},
    {DEVICE "[schedule]\nearly = \"now\"\n", AEGIS_ERROR_CONFIG, "w.toml:4:9: [schedule]: early",
     "\"refuse\" or \"delay\""},
    {DEVICE "[[model]]\npath = \"x\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:3:1: [[model]] number 1: name: is missing", "name of its own"},
    {DEVICE "[[model]]\nname = \"a b\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:8: [[model]] number 1: name", "letters"},
    {DEVICE "[[model]]\nname = \"\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:8: [[model]] number 1: name: is empty", "text-detector"},
    {DEVICE "[[model]]\nname = 7\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:8: [[model]] number 1: name: expected a name", "got an integer"},
    {DEVICE "[[model]]\nname = \"a\"\nperiod = \"1ms\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:3:1: [[model]] \"a\": path: is missing", "model file"},
    {DEVICE "[[model]]\nname = \"a\"\npath = \"x\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:3:1: [[model]] \"a\": period: is missing", "200ms"},
    {DEVICE MODEL MODEL, AEGIS_ERROR_CONFIG,
     "w.toml:8:8: [[model]] \"a\": name: the model at line 3", "name of its own"},
    {DEVICE "[schedule]\ncuts = \"atuo\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:8: [schedule]: cuts: \"atuo\" is no way to cut (did you mean \"auto\"?)",
     "\"none\" or a number of segments"},
    {DEVICE "[schedule]\ncuts = [3]\n", AEGIS_ERROR_CONFIG,
     "w.toml:4:8: [schedule]: cuts: expected", "got an array"},
    {KEYS("cuts = 65\n"), AEGIS_ERROR_CONFIG, AT_7(8, "cuts") "65 segments", "1 to 64"},
    {KEYS("cuts = true\n"), AEGIS_ERROR_CONFIG, AT_7(8, "cuts") "expected", "list of positions"},
    {KEYS("cuts = [4, 4]\n"), AEGIS_ERROR_CONFIG, AT_7(12, "cuts") "position 2 must be", "ascend"},
    {KEYS("cuts = [0]\n"), AEGIS_ERROR_CONFIG, AT_7(9, "cuts") "position 1 must be", "at least 1"},
    {KEYS("perod = \"1ms\"\n"), AEGIS_ERROR_CONFIG, AT_7(1, "perod") "unknown key", "\"period\""},
    {KEYS("variants = []\n"), AEGIS_ERROR_UNSUPPORTED, AT_7(12, "variants") "not supported",
     "one [[model]] for each shape"},
    {KEYS("deadline = \"0ms\"\n"), AEGIS_ERROR_CONFIG, AT_7(12, "deadline") "must be above 0",
     "200ms"},
    {KEYS("deadline = 200\n"), AEGIS_ERROR_CONFIG, AT_7(12, "deadline") "expected a duration",
     "got an integer"},
    {KEYS("deadline = \"200\"\n"), AEGIS_ERROR_CONFIG, AT_7(12, "deadline") "\"200\" is not a dur",
     "ns, us, ms or s"},
    {KEYS("deadline = \"999999999s\"\n"), AEGIS_ERROR_CONFIG,
     AT_7(12, "deadline") "\"999999999s\" is too", "366 days"},
    {KEYS("deadline = \"99999999999999999999s\"\n"), AEGIS_ERROR_CONFIG, AT_7(12, "deadline"),
     "duration"},
    {DEVICE "[[model]]\nname = \"a\"\npath = \"x\"\nperiod = \"0s\"\n", AEGIS_ERROR_CONFIG,
     "w.toml:6:10: [[model]] \"a\": period: must be above 0", "200ms"},
    {KEYS("jitter = \"-1ms\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "jitter") "\"-1ms\" is not a dur",
     ""},
    {KEYS("memory = \"1KiB\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "memory") "1.00 KiB is out",
     "4.00 KiB"},
    {KEYS("memory = \"1GiB\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "memory") "1073741824 bytes is more",
     "[device] memory"},
    {KEYS("compute = \"0ns\"\n"), AEGIS_ERROR_CONFIG, AT_7(11, "compute") "must be above 0", ""},
    {KEYS("overrun = \"kill\"\n"), AEGIS_ERROR_CONFIG, AT_7(11, "overrun") "\"kill\" is not known",
     "\"abort\", \"skip\" or \"report\""},
    {KEYS("expect = \"pass\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "expect"), "\"refuse\""},
    {KEYS("early = \"x\"\n"), AEGIS_ERROR_CONFIG, AT_7(9, "early"), "\"delay\""},
    {KEYS("lane = 1\n"), AEGIS_ERROR_CONFIG, AT_7(8, "lane") "lane 1 does not exist", "lanes = 1"},
    {KEYS("lane = -1\n"), AEGIS_ERROR_CONFIG, AT_7(8, "lane") "-1 is out of range", ""},
    {KEYS("threads = 2\n"), AEGIS_ERROR_CONFIG, AT_7(11, "threads") "2 threads", "lane_width"},
    {KEYS("priority = 3000000000\n"), AEGIS_ERROR_CONFIG, AT_7(12, "priority") "3000000000", ""},
    {KEYS("weight = 2\n"), AEGIS_ERROR_CONFIG, AT_7(10, "weight") "is for background models",
     "class = \"background\""},
    {KEYS("share = 0.5\n"), AEGIS_ERROR_CONFIG, AT_7(9, "share") "is for background models",
     "\"compute\""},
    {KEYS("copies = \"late\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "copies") "\"late\" is not known",
     "\"inline\", \"early\" or \"auto\""},
    {KEYS("class = \"background\"\ncopies = \"early\"\n"), AEGIS_ERROR_CONFIG,
     "w.toml:8:10: [[model]] \"a\": copies: is for models with a deadline", "\"inline\""},
    {KEYS("class = \"background\"\ncopies = \"auto\"\n"), AEGIS_ERROR_CONFIG,
     "w.toml:8:10: [[model]] \"a\": copies: is for models with a deadline", "\"inline\""},
    {KEYS("deadline = \"60s\"\ncopies = \"early\"\n"), AEGIS_ERROR_CONFIG,
     "w.toml:8:10: [[model]] \"a\": copies: early ones need a deadline of at most the period",
     "lower deadline"},
    {KEYS("class = \"background\"\nshare = 1.5\n"), AEGIS_ERROR_CONFIG,
     "w.toml:8:9: [[model]] \"a\": share: 1.5 is out of range", "between 0.0001 and 1"},
    {KEYS("class = \"background\"\ndeadline = \"1ms\"\n"), AEGIS_ERROR_CONFIG,
     "w.toml:8:12: [[model]] \"a\": deadline: a background model has no deadline", "remove"},
    {KEYS("class = \"best\"\n"), AEGIS_ERROR_CONFIG, AT_7(9, "class"), "\"background\""},
    {KEYS("source = \"external\"\noffset = \"1ms\"\n"), AEGIS_ERROR_CONFIG,
     "w.toml:8:10: [[model]] \"a\": offset: ", "remove it"},
    {DEVICE "[[model]]\nname = \"a\"\npath = \"x\"\nclass = \"background\"\nsource = \"external\"\n"
            "compute = \"1ms\"\n",
     AEGIS_ERROR_CONFIG, "w.toml:8:11: [[model]] \"a\": compute: ", "give the model a period"},
    {KEYS("confidence = 1.0\n"), AEGIS_ERROR_CONFIG, AT_7(14, "confidence") "1 is out of range",
     "strictly between 0 and 1"},
    {KEYS("confidence = nan\n"), AEGIS_ERROR_CONFIG, AT_7(14, "confidence"), "strictly between"},
    {KEYS("assurance = \"high\"\n"), AEGIS_ERROR_CONFIG, AT_7(13, "assurance") "expected a number",
     "got a string"},
    {KEYS("margin = 0.5\n"), AEGIS_ERROR_CONFIG, AT_7(10, "margin") "0.5 is out of range",
     "between 1 and 100"},
    {KEYS("samples = 99\n"), AEGIS_ERROR_CONFIG, AT_7(11, "samples") "99 is out of range",
     "100 to 20000"},
    {KEYS("seed = 2020-01-01\n"), AEGIS_ERROR_CONFIG, AT_7(8, "seed") "expected an integer",
     "date or time"},
    {KEYS("backend = \"onnxruntim\"\n"), AEGIS_ERROR_CONFIG,
     AT_7(11, "backend") "there is no runtime", "\"onnxruntime\""},
    {KEYS("inputs = [1]\n"), AEGIS_ERROR_CONFIG, AT_7(10, "inputs") "expected a table of shapes",
     "got an array"},
    {KEYS("inputs = { x = 3 }\n"), AEGIS_ERROR_CONFIG, AT_7(16, "inputs") "x: expected dimensions",
     "[1, 3, 480, 640]"},
    {KEYS("inputs = { x = [1, \"a\"] }\n"), AEGIS_ERROR_CONFIG, AT_7(20, "inputs") "x: expected an",
     "got a string"},
    {KEYS("inputs = { x = [1, 0] }\n"), AEGIS_ERROR_CONFIG, AT_7(20, "inputs") "x: dimension 0",
     "above 0"},
    {KEYS("inputs = { x = [1,1,1,1,1,1,1,1,1] }\n"), AEGIS_ERROR_CONFIG,
     AT_7(16, "inputs") "x: has 9", "at most 8"},
    {KEYS("inputs = { x = [2000000, 2000000] }\n"), AEGIS_ERROR_CONFIG, AT_7(16, "inputs"),
     "product"},
    {KEYS("state = { h = 3 }\n"), AEGIS_ERROR_CONFIG, AT_7(15, "state") "h: expected the name",
     "got an integer"},
    {KEYS("state = { h = \"\" }\n"), AEGIS_ERROR_CONFIG, AT_7(15, "state") "h: expected the name",
     "empty"},
    {KEYS("state = { h = \"o\", c = \"o\" }\n"), AEGIS_ERROR_CONFIG,
     AT_7(24, "state") "output \"o\" feeds both h and c", "of its own"},
    {KEYS("source = \"rnadom\"\n"), AEGIS_ERROR_CONFIG,
     AT_7(10, "source") "\"rnadom\" is no source", "\"random\""},
    {KEYS("source = \"random(5,2)\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "source"), "LOW <= HIGH"},
    {KEYS("source = \"random(1,99999999999999999999)\"\n"), AEGIS_ERROR_CONFIG, AT_7(10, "source"),
     "LOW"},
    {KEYS("source = { x = [1] }\n"), AEGIS_ERROR_CONFIG, AT_7(16, "source") "expected a number",
     "got an array"},
};

static void errors_name_place_key_and_cure(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(refusals); i++) {
        const refusal *r = &refusals[i];
        aegis_workload *workload = NULL;
        aegis_error error = {0};
        aegis_status status =
            aegis_workload_parse(r->text, strlen(r->text), "w.toml", &allocator, &workload, &error);
        if (status != r->status || strncmp(error.message, r->starts, strlen(r->starts)) != 0 ||
            strstr(error.message, r->holds) == NULL) {
            fail_msg("row %zu: %s\nwanted %s: %s ... %s\ngot %s: %s", i, r->text,
                     aegis_status_name(r->status), r->starts, r->holds, aegis_status_name(status),
                     error.message);
        }
        assert_null(workload);
        assert_int_equal(error.status, status);
    }
}

static void repeated(char *text, size_t size, const char *part, size_t count)
{
    size_t used = strlen(text);
    for (size_t i = 0; i < count && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, part, i);
    }
}

static void number_of_models_is_bounded(void **state)
{
    (void)state;
    static char text[1 << 20];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_error error = {0};
    strcpy(text, DEVICE);
    repeated(text, sizeof text, "[[model]]\nname=\"m%zu\"\npath=\"x\"\nperiod=\"1s\"\n", 4096);
    assert_int_equal(
        aegis_workload_parse(text, strlen(text), "w.toml", &allocator, &workload, &error),
        AEGIS_OK);
    assert_int_equal(workload->model_count, 4096);
    aegis_workload_free(workload);
    workload = NULL;
    repeated(text, sizeof text, "[[model]]\nname=\"n%zu\"\n", 1);
    assert_int_equal(
        aegis_workload_parse(text, strlen(text), "w.toml", &allocator, &workload, &error),
        AEGIS_ERROR_CONFIG);
    assert_non_null(strstr(error.message, "4097 models; at most 4096"));
}

/* Allocations that succeed before the next one fails; -1: none fails. */
typedef struct failing {
    long left;
    size_t live;
} failing;

static void *failing_alloc(void *self, size_t size)
{
    failing *f = self;
    if (f->left == 0) {
        return NULL;
    }
    f->left -= f->left > 0;
    f->live++;
    return malloc(size);
}

static void failing_free(void *self, void *pointer, size_t size)
{
    (void)size;
    if (pointer != NULL) {
        ((failing *)self)->live--;
        free(pointer);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool passed = false;
    for (long n = 0; n < 1000 && !passed; n++) {
        failing counts = {.left = n};
        aegis_allocator allocator = {.alloc = failing_alloc, .free = failing_free, .self = &counts};
        aegis_workload *workload = NULL;
        aegis_error error = {0};
        aegis_status status = aegis_workload_parse(everything, strlen(everything), "w.toml",
                                                   &allocator, &workload, &error);
        passed = status == AEGIS_OK;
        if (passed) {
            aegis_workload_free(workload);
        } else {
            assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
            assert_null(workload);
        }
        assert_int_equal(counts.live, 0);
    }
    assert_true(passed);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* A folder with "sub/w.toml" and "sub/a.onnx". */
static void files_are_found_beside_the_workload(void **state)
{
    (void)state;
    char folder[] = "/tmp/aegis-workload-XXXXXX", path[128], model[128];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_error error = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w.toml", folder);
    snprintf(model, sizeof model, "%s/a.onnx", folder);
    write_text(path, DEVICE MODEL);

    assert_int_equal(aegis_workload_load(path, &allocator, &workload, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "w.toml:5:8: [[model]] \"a\": path: there is no file "
                                          "a.onnx"));
    assert_non_null(strstr(error.message, folder));

    write_text(model, "x");
    assert_int_equal(aegis_workload_load(path, &allocator, &workload, &error), AEGIS_OK);
    assert_string_equal(workload->models[0].path, model);
    assert_string_equal(workload->path, path);
    aegis_workload_free(workload);

    unlink(path);
    workload = NULL;
    assert_int_equal(aegis_workload_load(path, &allocator, &workload, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, path));
    assert_null(workload);
    unlink(model);
    rmdir(folder);
}

/* As the text of each would, with the file's own failures besides. */
static void files_fail_as_their_texts_do(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        aegis_status status;
    } cases[] = {{"[device\n", AEGIS_ERROR_PARSE},
                 {DEVICE "process_memory = 1\n", AEGIS_ERROR_CONFIG},
                 {DEVICE "[[mode]]\n", AEGIS_ERROR_UNSUPPORTED}};
    char folder[] = "/tmp/aegis-workload-XXXXXX", path[128];
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w.toml", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(path, cases[i].text);
        assert_int_equal(aegis_workload_load(path, &allocator, &workload, NULL), cases[i].status);
    }
    failing counts = {.left = 0};
    const aegis_allocator none = {.alloc = failing_alloc, .free = failing_free, .self = &counts};
    assert_int_equal(aegis_workload_load(path, &none, &workload, NULL), AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(aegis_workload_load(folder, &allocator, &workload, NULL), AEGIS_ERROR_IO);
    assert_null(workload);
    unlink(path);
    rmdir(folder);
}

static void cache_folder_comes_from_the_environment(void **state)
{
    (void)state;
    unsetenv("AEGISRT_CACHE_DIR");
    aegis_workload *workload = parse(DEVICE MODEL);
    assert_string_equal(workload->cache_dir, ".aegisrt-cache");
    aegis_workload_free(workload);
    setenv("AEGISRT_CACHE_DIR", "/tmp/elsewhere", 1);
    workload = parse(DEVICE MODEL);
    assert_string_equal(workload->cache_dir, "/tmp/elsewhere");
    aegis_workload_free(workload);
    unsetenv("AEGISRT_CACHE_DIR");
}

static void null_arguments_are_refused(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    assert_int_equal(aegis_workload_parse(NULL, 0, "w", &allocator, &workload, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_workload_load(NULL, &allocator, &workload, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_workload_parse("x", 1, "w", &allocator, &workload, NULL),
                     AEGIS_ERROR_PARSE);
    aegis_workload_free(NULL);
}

static const aegis_workload_cuts *cuts_of(const char *text, aegis_workload **workload)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err = {0};
    assert_int_equal(aegis_workload_parse(text, strlen(text), "w.toml", &allocator, workload, &err),
                     AEGIS_OK);
    return &(*workload)->models[0].cuts;
}

static void cuts_of_a_model_come_before_those_of_the_schedule(void **state)
{
    (void)state;
    aegis_workload *w;
    const aegis_workload_cuts *cuts = cuts_of(DEVICE MODEL, &w);
    assert_int_equal(cuts->mode, AEGIS_CUTS_NONE);
    aegis_workload_free(w);
    cuts = cuts_of(DEVICE "[schedule]\ncuts = \"auto\"\n" MODEL, &w);
    assert_int_equal(w->cuts.mode, AEGIS_CUTS_AUTO);
    assert_int_equal(cuts->mode, AEGIS_CUTS_AUTO);
    assert_int_equal(cuts->place.line, 0);
    aegis_workload_free(w);
    cuts = cuts_of(DEVICE "[schedule]\ncuts = \"auto\"\n" MODEL "cuts = [2, 9]\n", &w);
    assert_int_equal(cuts->mode, AEGIS_CUTS_AT);
    assert_int_equal(cuts->position_count, 2);
    assert_int_equal(cuts->positions[1], 9);
    assert_int_equal(cuts->place.line, 9);
    aegis_workload_free(w);
    cuts = cuts_of(DEVICE "[schedule]\ncuts = 5\n" MODEL "cuts = \"none\"\n", &w);
    assert_int_equal(w->cuts.mode, AEGIS_CUTS_EVEN);
    assert_int_equal(w->cuts.segments, 5);
    assert_int_equal(cuts->mode, AEGIS_CUTS_NONE);
    aegis_workload_free(w);
}

static void events_come_by_time(void **state)
{
    (void)state;
    aegis_workload *workload =
        parse(DEVICE MODEL
              "[[model]]\nname = \"b\"\npath = \"b.onnx\"\nperiod = \"10ms\"\nstart = false\n"
              "[[event]]\nat = \"2s\"\ncompact = true\n"
              "[[event]]\nat = \"0s\"\nadd = \"b\"\nexpect = \"refuse\"\n"
              "[[event]]\nat = \"2s\"\ncompact = \"b\"\n"
              "[[event]]\nat = \"1500ms\"\nremove = \"a\"\n"
              "[[event]]\nat = \"3s\"\npressure = \"2MiB\"\npolicy = \"largest\"\n");
    static const aegis_workload_event expected[] = {
        {0, AEGIS_CHANGE_ADD, 1, true, {15, 1}, 0, 0},
        {1500000000, AEGIS_CHANGE_REMOVE, 0, false, {22, 1}, 0, 0},
        {2000000000, AEGIS_CHANGE_COMPACT, AEGIS_CHANGE_OF_NOBODY, false, {12, 1}, 0, 0},
        {2000000000, AEGIS_CHANGE_COMPACT, 1, false, {19, 1}, 0, 0},
        {3000000000,
         AEGIS_CHANGE_PRESSURE,
         AEGIS_CHANGE_OF_NOBODY,
         false,
         {25, 1},
         2 << 20,
         AEGIS_PRESSURE_LARGEST}};
    assert_false(workload->models[0].absent);
    assert_true(workload->models[1].absent);
    assert_int_equal(workload->event_count, 5);
    for (size_t i = 0; i < 5; i++) {
        const aegis_workload_event *event = &workload->events[i];
        assert_int_equal(event->at_ns, expected[i].at_ns);
        assert_int_equal(event->change, expected[i].change);
        assert_int_equal(event->model, expected[i].model);
        assert_int_equal(event->expect_refuse, expected[i].expect_refuse);
        assert_int_equal(event->place.line, expected[i].place.line);
        assert_int_equal(event->needed_bytes, expected[i].needed_bytes);
        assert_int_equal(event->policy, expected[i].policy);
    }
    aegis_workload_free(workload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(events_come_by_time),
        cmocka_unit_test(every_key),
        cmocka_unit_test(lanes_of_different_sizes),
        cmocka_unit_test(errors_name_place_key_and_cure),
        cmocka_unit_test(number_of_models_is_bounded),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(files_are_found_beside_the_workload),
        cmocka_unit_test(files_fail_as_their_texts_do),
        cmocka_unit_test(cache_folder_comes_from_the_environment),
        cmocka_unit_test(null_arguments_are_refused),
        cmocka_unit_test(cuts_of_a_model_come_before_those_of_the_schedule),
    };
    return cmocka_run_group_tests_name("workload", tests, NULL, NULL);
}
