/* SPDX-License-Identifier: Apache-2.0 */
/* `profile`: execution times and memory of one model, or of those of a workload. */
#include "profile.h"
#include "commands.h"

#include <aegisrt/workload.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROFILE_INPUT,
    PROFILE_STATE,
    PROFILE_SOURCE,
    PROFILE_MODEL,
    PROFILE_SAMPLES,
    PROFILE_LANES,
    PROFILE_THREADS,
    PROFILE_CONFIDENCE,
    PROFILE_ASSURANCE,
    PROFILE_MARGIN,
    PROFILE_METHOD,
    PROFILE_EXCEEDANCE,
    PROFILE_BACKEND,
    PROFILE_DEVICE,
    PROFILE_MEMORY
};

#define MAX_INPUTS 64
#define MAX_LANES 64
#define DEFAULT_ARENA (UINT64_C(64) << 20)
#define DEFAULT_PINNED (UINT64_C(16) << 20) /* inputs and outputs of a model on a GPU */

typedef struct profile_options {
    cli_common common;
    char *names[MAX_INPUTS]; /* copies that the shapes, pairs and sources point into */
    size_t name_count;
    aegis_input_shape inputs[MAX_INPUTS];
    size_t input_count;
    aegis_state_pair state[MAX_INPUTS];
    size_t state_count;
    aegis_source sources[MAX_INPUTS + 1];
    size_t source_count;
    const char *model, *backend;
    uint64_t lanes, threads, samples, memory_bytes;
    aegis_profile_options profile;
    aegis_device_kind device;
    bool method_given;
} profile_options;

/* What profiles are taken with. */
typedef struct bench {
    const profile_options *options;
    aegis_allocator allocator;
    aegis_device *device;
    aegis_backend *backend;
    const char *backend_name;
    aegis_stream *lanes[MAX_LANES];
    size_t lane_count;
    aegis_profiler *profiler;
    cli_progress progress;
    const char *model; /* being profiled */
} bench;

static const cli_option list[] = {
    [PROFILE_INPUT] = {"input", "NAME=1,3,480,640", "shape of an input; once for each"},
    [PROFILE_STATE] = {"state", "IN=OUT", "output that is fed back; once for each"},
    [PROFILE_SOURCE] = {"source", "NAME=VALUE", "a number, random, zeros or FILE.npy for an input"},
    [PROFILE_MODEL] = {"model", "NAME", "of a workload: only this one"},
    [PROFILE_SAMPLES] = {"samples", "N", "at least this many runs; default 100"},
    [PROFILE_LANES] = {"lanes", "N", "load N - 1 other lanes meanwhile; default 1"},
    [PROFILE_THREADS] = {"threads", "N", "cores that a run may use; default 1"},
    [PROFILE_CONFIDENCE] = {"confidence", "Q", "share of runs that the bound covers; default 0.99"},
    [PROFILE_ASSURANCE] = {"assurance", "A", "confidence in that statement; default 0.95"},
    [PROFILE_MARGIN] = {"margin", "M", "factor on top; default 1.5"},
    [PROFILE_METHOD] = {"method", "METHOD", "order-statistic (default), or evt: fit the tail"},
    [PROFILE_EXCEEDANCE] = {"exceedance", "P", "how rarely a run passes that bound; default 1e-4"},
    [PROFILE_BACKEND] = {"backend", "NAME", "default onnxruntime"},
    [PROFILE_DEVICE] = {"device", "KIND", "auto (default), host or cuda"},
    [PROFILE_MEMORY] = {"memory", "SIZE", "arena of the device; default 64MiB"},
};

static const cli_command command = {
    .name = "profile",
    .operands = "MODEL.onnx|WORKLOAD.toml",
    .about =
        "Runs a model alone and with the other lanes loaded, and derives the bound that admission\n"
        "would use. With a workload (a name that ends in .toml) its models and its settings.",
    .examples = "  aegisrt profile models/ch_PP-OCRv4_det_infer.onnx --input x=1,3,480,640\n"
                "  aegisrt profile kiosk.toml --model text-detector --json\n"
                "  aegisrt profile vad.onnx --input input=1,512 --source sr=16000 --lanes 2\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

/* Splits "NAME=REST" into an owned copy. NULL after saying what is wrong. */
static char *
split(profile_options *options, const char *option, const char *argument, char **ret_rest)
{
    const char *equals = strrchr(argument, '=');
    if (equals == NULL || equals == argument || equals[1] == '\0') {
        cli_usage("--%s %s: write NAME=...", option, argument);
        return NULL;
    }
    if (options->name_count == MAX_INPUTS) {
        cli_usage("--%s %s: too many of them", option, argument);
        return NULL;
    }
    char *copy = strdup(argument);
    if (copy != NULL) {
        options->names[options->name_count++] = copy;
        copy[equals - argument] = '\0';
        *ret_rest = copy + (equals - argument) + 1;
    }
    return copy;
}

static int take_input(profile_options *options, const char *argument)
{
    aegis_input_shape shape = {0};
    char *rest = NULL;
    shape.name = split(options, "input", argument, &rest);
    if (shape.name == NULL) {
        return CLI_EXIT_USAGE;
    }
    for (char *at = rest; at != NULL && *at != '\0';) {
        char *end;
        long long dimension = strtoll(at, &end, 10);
        bool ends = *end == '\0' || ((*end == ',' || *end == 'x') && end[1] != '\0');
        if (end == at || !ends || dimension < 1 || dimension > INT32_MAX ||
            shape.rank == AEGIS_MAX_RANK) {
            return cli_usage("--input %s: write at most %d dimensions above 0, such as "
                             "x=1,3,480,640",
                             argument, AEGIS_MAX_RANK);
        }
        shape.shape[shape.rank++] = dimension;
        at = *end == '\0' ? end : end + 1;
    }
    options->inputs[options->input_count++] = shape;
    return 0;
}

static int take_state(profile_options *options, const char *argument)
{
    char *rest = NULL;
    const char *input = split(options, "state", argument, &rest);
    if (input == NULL) {
        return CLI_EXIT_USAGE;
    }
    options->state[options->state_count++] = (aegis_state_pair){.input = input, .output = rest};
    return 0;
}

static int take_source(profile_options *options, const char *argument)
{
    char *rest = NULL, *end;
    aegis_source source = {.high = 1};
    source.input = split(options, "source", argument, &rest);
    if (source.input == NULL) {
        return CLI_EXIT_USAGE;
    }
    size_t length = strlen(rest);
    source.constant = strtod(rest, &end);
    if (*end == '\0') {
        source.kind = AEGIS_SOURCE_CONSTANT;
    } else if (strcmp(rest, "random") == 0) {
        source.kind = AEGIS_SOURCE_RANDOM;
    } else if (strcmp(rest, "zeros") == 0) {
        source.kind = AEGIS_SOURCE_ZEROS;
    } else if (length > 4 && strcmp(rest + length - 4, ".npy") == 0) {
        source.kind = AEGIS_SOURCE_FILE;
        source.path = rest;
    } else {
        return cli_usage("--source %s: write a number, random, zeros or a .npy file", argument);
    }
    options->sources[options->source_count++] = source;
    return 0;
}

static int take_device(profile_options *options, const char *argument)
{
    static const aegis_device_kind kinds[] = {AEGIS_DEVICE_AUTO, AEGIS_DEVICE_HOST,
                                              AEGIS_DEVICE_CUDA};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(argument, aegis_device_kind_name(kinds[i])) == 0) {
            options->device = kinds[i];
            return 0;
        }
    }
    return cli_usage("--device %s: write auto, host or cuda", argument);
}

static int take_method(profile_options *options, const char *argument)
{
    options->method_given = true;
    options->profile.extreme_value = strcmp(argument, "evt") == 0;
    if (!options->profile.extreme_value && strcmp(argument, "order-statistic") != 0) {
        return cli_usage("--method %s: write order-statistic or evt", argument);
    }
    return 0;
}

static int take(void *self, size_t option, const char *argument)
{
    profile_options *options = self;
    switch (option) {
    case PROFILE_INPUT:
        return take_input(options, argument);
    case PROFILE_STATE:
        return take_state(options, argument);
    case PROFILE_SOURCE:
        return take_source(options, argument);
    case PROFILE_MODEL:
        options->model = argument;
        return 0;
    case PROFILE_SAMPLES:
        return cli_take_unsigned("samples", argument, 1, 20000, &options->samples);
    case PROFILE_LANES:
        return cli_take_unsigned("lanes", argument, 1, MAX_LANES, &options->lanes);
    case PROFILE_THREADS:
        return cli_take_unsigned("threads", argument, 1, 256, &options->threads);
    case PROFILE_CONFIDENCE:
        return cli_take_number("confidence", argument, 0.01, 0.9999, &options->profile.quantile);
    case PROFILE_ASSURANCE:
        return cli_take_number("assurance", argument, 0.01, 0.9999, &options->profile.assurance);
    case PROFILE_MARGIN:
        return cli_take_number("margin", argument, 1, 100, &options->profile.margin);
    case PROFILE_METHOD:
        return take_method(options, argument);
    case PROFILE_EXCEEDANCE:
        return cli_take_number("exceedance", argument, 1e-12, 0.1, &options->profile.exceedance);
    case PROFILE_BACKEND:
        options->backend = argument;
        return 0;
    case PROFILE_DEVICE:
        return take_device(options, argument);
    default:
        return cli_take_size("memory", argument, &options->memory_bytes);
    }
}

static void pass_progress(void *self, const char *phase, uint32_t done, uint32_t total)
{
    bench *b = self;
    cli_progress_step(&b->progress, phase, b->model, done, total);
}

/* `workload` may be NULL: lanes of a GPU then share its multiprocessors. */
static aegis_status open_lanes(
    bench *b, const aegis_workload *workload, uint64_t lanes, unsigned width, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < lanes && status == AEGIS_OK; i++) {
        aegis_stream_config config = {.name = "aegis-profile",
                                      .cpu = -1,
                                      .width = (int)width,
                                      .multiprocessors =
                                          workload != NULL ? workload->lane_multiprocessors[i] : 0};
        status = aegis_stream_create(b->device, &config, &b->lanes[i], err);
        b->lane_count += status == AEGIS_OK;
    }
    return status;
}

static aegis_status open_bench(bench *b,
                               const aegis_device_config *device,
                               const aegis_workload *workload,
                               uint64_t lanes,
                               unsigned width,
                               aegis_error *err)
{
    const uint64_t scratch_bytes = lanes * aegis_profiler_scratch_bytes(device->kind);
    const uint64_t pinned_bytes =
        scratch_bytes > 0 && lanes > 1 ? lanes * AEGIS_PROFILER_PINNED_BYTES : 0;
    aegis_device_config with_scratch = *device;
    aegis_buffer scratch = {0}, pinned = {0};
    with_scratch.arena_bytes += scratch_bytes;
    with_scratch.pinned_bytes += pinned_bytes;
    aegis_status status = aegis_device_create(&with_scratch, &b->allocator, &b->device, err);
    if (status == AEGIS_OK && scratch_bytes > 0) {
        status = aegis_device_alloc(b->device, scratch_bytes, 64, &scratch, err);
    }
    if (status == AEGIS_OK) {
        status = open_lanes(b, workload, lanes, width, err);
    }
    if (status == AEGIS_OK && pinned_bytes > 0) {
        status = aegis_device_pinned_alloc(b->device, pinned_bytes, 64, &pinned, err);
    }
    if (status == AEGIS_OK) {
        aegis_profiler_config config = {.lanes = b->lanes,
                                        .lane_count = b->lane_count,
                                        .scratch = scratch,
                                        .pinned = pinned,
                                        .clock = aegis_clock_monotonic(),
                                        .progress = pass_progress,
                                        .progress_self = b};
        status = aegis_profiler_create(&config, &b->allocator, &b->profiler, err);
    }
    return status;
}

static void close_bench(bench *b)
{
    aegis_profiler_destroy(b->profiler);
    aegis_backend_destroy(b->backend);
    for (size_t i = 0; i < b->lane_count; i++) {
        aegis_stream_destroy(b->lanes[i]);
    }
    aegis_device_destroy(b->device);
}

/* One runtime at a time: the models of a workload may use several. */
static aegis_status use_backend(
    bench *b, const char *name, const char *cache_dir, const char *consumer, aegis_error *err)
{
    if (b->backend != NULL && strcmp(b->backend_name, name) == 0) {
        return AEGIS_OK;
    }
    aegis_backend_destroy(b->backend);
    b->backend = NULL;
    b->backend_name = name;
    aegis_backend_config config = {.runtime = name, .cache_dir = cache_dir, .consumer = consumer};
    return aegis_backend_create(&config, b->device, &b->allocator, &b->backend, err);
}

static aegis_status measure(bench *b,
                            const aegis_model_config *config,
                            size_t lane,
                            const aegis_profile_options *options,
                            cli_measured *ret_measured,
                            aegis_error *err)
{
    aegis_model *model = NULL;
    aegis_model_config bound = *config;
    bound.stream = b->lanes[lane];
    b->model = config->name;
    cli_progress_step(&b->progress, "loading", config->name, 0, 1);
    aegis_status status = aegis_model_open(b->backend, &bound, &model, err);
    if (status == AEGIS_OK) {
        status = aegis_model_record(model, bound.stream, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_model_estimate_memory(model, ret_measured->by_class, err);
    }
    if (status == AEGIS_OK) {
        aegis_profiler_use_lane(b->profiler, lane);
        status = aegis_profiler_profile_under_load(b->profiler, model, options,
                                                   &ret_measured->profile, err);
    }
    if (status == AEGIS_OK) {
        ret_measured->name = config->name;
        ret_measured->overhead_bytes = aegis_model_overhead_bytes(model);
        ret_measured->loading_bytes = aegis_model_loading_peak_bytes(model);
        snprintf(ret_measured->label, sizeof ret_measured->label, "%s", aegis_model_label(model));
        snprintf(ret_measured->hash, sizeof ret_measured->hash, "%s", aegis_model_hash(model));
    }
    aegis_model_close(model);
    cli_progress_clear(&b->progress);
    return status;
}

/* "models/vad.onnx" -> "vad" */
static void name_of(const char *path, char *name, size_t size)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    snprintf(name, size, "%.*s",
             (int)(dot != NULL && dot > base ? (size_t)(dot - base) : strlen(base)), base);
}

static int profile_file(profile_options *options, const char *path)
{
    bench b = {.options = options, .allocator = aegis_allocator_default()};
    cli_measured row = {0};
    aegis_error error = {0};
    char name[128];
    unsigned threads = options->threads == 0 ? 1 : (unsigned)options->threads;
    const char *cache = getenv("AEGISRT_CACHE_DIR");
    cli_progress_init(&b.progress, &options->common);
    name_of(path, name, sizeof name);
    options->sources[options->source_count++] =
        (aegis_source){.kind = AEGIS_SOURCE_RANDOM, .high = 1};
    aegis_model_config config = {.name = name,
                                 .path = path,
                                 .inputs = options->inputs,
                                 .input_count = options->input_count,
                                 .state = options->state,
                                 .state_count = options->state_count,
                                 .sources = options->sources,
                                 .source_count = options->source_count,
                                 .threads = threads};
    aegis_device_config device = {
        .kind = options->device,
        .arena_bytes = options->memory_bytes == 0 ? DEFAULT_ARENA : options->memory_bytes,
        .pinned_bytes = options->device == AEGIS_DEVICE_HOST ? 0 : DEFAULT_PINNED};
    aegis_profile_options profile = options->profile;
    profile.min_samples = (uint32_t)options->samples;
    aegis_status status =
        open_bench(&b, &device, NULL, options->lanes == 0 ? 1 : options->lanes, threads, &error);
    if (status == AEGIS_OK) {
        status =
            use_backend(&b, options->backend != NULL ? options->backend : "onnxruntime",
                        cache != NULL && cache[0] != '\0' ? cache : ".aegisrt-cache", name, &error);
    }
    if (status == AEGIS_OK) {
        status = measure(&b, &config, 0, &profile, &row, &error);
    }
    int code = status == AEGIS_OK ? cli_print_measured(&row, 1, options->common.format)
                                  : cli_fail(&options->common, &error);
    close_bench(&b);
    return code;
}

static aegis_status profile_models(bench *b,
                                   const aegis_workload *workload,
                                   cli_measured *rows,
                                   size_t *ret_count,
                                   aegis_error *err)
{
    const profile_options *options = b->options;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < workload->model_count && status == AEGIS_OK; i++) {
        const aegis_workload_model *model = &workload->models[i];
        if (options->model != NULL && strcmp(options->model, model->name) != 0) {
            continue;
        }
        aegis_profile_options profile = {
            .min_samples = options->samples > 0 ? (uint32_t)options->samples : model->samples,
            .quantile =
                options->profile.quantile > 0 ? options->profile.quantile : model->confidence,
            .assurance =
                options->profile.assurance > 0 ? options->profile.assurance : model->assurance,
            .margin = options->profile.margin > 0 ? options->profile.margin : model->margin,
            .extreme_value =
                options->method_given ? options->profile.extreme_value : model->extreme_value,
            .exceedance =
                options->profile.exceedance > 0 ? options->profile.exceedance : model->exceedance};
        status = use_backend(b, model->backend, workload->cache_dir, model->name, err);
        if (status == AEGIS_OK) {
            size_t lane = workload->lanes_alike ? 0 : (size_t)model->lane;
            status = measure(b, &model->config, lane, &profile, &rows[*ret_count], err);
        }
        if (status != AEGIS_OK) {
            aegis_error_prefix(err, "%s:%d:%d: [[model]] \"%s\"", workload->path, model->place.line,
                               model->place.column, model->name);
        } else {
            (*ret_count)++;
        }
    }
    return status;
}

static int say_no_model(const aegis_workload *workload, const char *name)
{
    const char **names = calloc(workload->model_count, sizeof *names);
    const char *nearest = NULL;
    for (size_t i = 0; names != NULL && i < workload->model_count; i++) {
        names[i] = workload->models[i].name;
    }
    if (names != NULL) {
        nearest = cli_nearest(name, names, workload->model_count);
    }
    free(names);
    return cli_usage("--model %s: %s has no such model%s%s%s", name, workload->path,
                     nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
                     nearest != NULL ? "?" : "");
}

static int profile_loaded(const profile_options *options, const aegis_workload *workload)
{
    bench b = {.options = options, .allocator = aegis_allocator_default()};
    cli_measured *rows = calloc(workload->model_count, sizeof *rows);
    aegis_error error = {0};
    size_t count = 0;
    if (rows == NULL) {
        fputs("aegisrt: error: no host memory for the profiles\n", stderr);
        return CLI_EXIT_UNAVAILABLE;
    }
    cli_progress_init(&b.progress, &options->common);
    aegis_device_config device = {.kind = workload->device_kind,
                                  .arena_bytes = options->memory_bytes == 0 ? DEFAULT_ARENA
                                                                            : options->memory_bytes,
                                  .pinned_bytes = workload->pinned_bytes};
    aegis_status status =
        open_bench(&b, &device, workload, options->lanes == 0 ? workload->lanes : options->lanes,
                   workload->lane_width, &error);
    if (status == AEGIS_OK) {
        status = profile_models(&b, workload, rows, &count, &error);
    }
    int code = status != AEGIS_OK ? cli_fail(&options->common, &error)
               : count == 0       ? say_no_model(workload, options->model)
                                  : cli_print_measured(rows, count, options->common.format);
    close_bench(&b);
    free(rows);
    return code;
}

static int profile_workload(const profile_options *options, const char *path)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_error error = {0};
    if (options->input_count + options->state_count + options->source_count > 0 ||
        options->threads > 0 || options->backend != NULL) {
        return cli_usage("profile: a workload has its own inputs, state, sources, threads and "
                         "backend; --input and the like are for a model file");
    }
    if (aegis_workload_load(path, &allocator, &workload, &error) != AEGIS_OK) {
        return cli_fail(&options->common, &error);
    }
    if (options->lanes > 0 && !workload->lanes_alike) {
        aegis_workload_free(workload);
        return cli_usage(
            "profile: --lanes is for lanes that are alike, and those of the workload have "
            "different numbers of multiprocessors; leave it out");
    }
    int code = profile_loaded(options, workload);
    aegis_workload_free(workload);
    return code;
}

int aegisrt_command_profile(int argc, char **argv)
{
    profile_options options = {0};
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &options, &options.common, &first);
    if (code == CLI_CONTINUE) {
        size_t length = strlen(argv[first]);
        bool is_workload = length > 5 && strcmp(argv[first] + length - 5, ".toml") == 0;
        if (!is_workload && options.model != NULL) {
            code = cli_usage("profile: --model chooses from a workload");
        } else if (!is_workload && options.profile.exceedance > 0 &&
                   !options.profile.extreme_value) {
            code = cli_usage("profile: --exceedance belongs to --method evt");
        } else {
            code = is_workload ? profile_workload(&options, argv[first])
                               : profile_file(&options, argv[first]);
        }
    }
    for (size_t i = 0; i < options.name_count; i++) {
        free(options.names[i]);
    }
    return code;
}
