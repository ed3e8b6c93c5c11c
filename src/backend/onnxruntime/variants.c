/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/variants.h"

#include "backend/onnxruntime/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPONENT "backend.variants"
#define INPUT_SETS 2
#define MOST_TRIALS 48 /* sessions made for the sake of one model's order */
#define LARGEST_GRAPH ((UINT64_C(1) << 31) - 1)
#define RESERVE_BYTES (UINT64_C(1) << 20)

/* What a form computes, and the most bytes it has at once meanwhile. */
typedef struct outcome {
    char results[AEGIS_SHA256_HEX_BYTES];
    uint64_t peak_bytes;
} outcome;

typedef struct choosing {
    const aegis_ort *ort;
    aegis_allocator allocator;
    const char *folder;
    const aegis_model_config *config;
    aegis_surface surface; /* inputs only */
    aegis_surface_declaration *outputs;
    size_t output_count;
    const char **names; /* inputs, then outputs */
    OrtValue **values;
    size_t name_count;
    aegis_reserve reserve;
    outcome best;
    unsigned trials;
} choosing;

/* ---- one run ---- */

static OrtStatus *describe(const OrtApi *api, OrtValue *value, void **ret_data, uint64_t *ret_size)
{
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    aegis_element element = AEGIS_ELEMENT_F32;
    size_t count = 0;
    OrtStatus *native = api->GetTensorTypeAndShape(value, &info);
    if (native == NULL) {
        native = api->GetTensorShapeElementCount(info, &count);
    }
    if (native == NULL) {
        native = api->GetTensorElementType(info, &type);
    }
    if (native == NULL) {
        native = api->GetTensorMutableData(value, ret_data);
    }
    if (info != NULL) {
        api->ReleaseTensorTypeAndShapeInfo(info);
    }
    if (native == NULL && !aegis_ort_element_of(type, &element)) {
        native = api->CreateStatus(ORT_NOT_IMPLEMENTED, "an output is no tensor of numbers");
    }
    *ret_size = count * aegis_element_bytes(element);
    return native;
}

static OrtStatus *
hash_outputs(const choosing *c, aegis_sha256 *hash, aegis_status *ret_status, aegis_error *err)
{
    OrtStatus *native = NULL;
    for (size_t i = c->surface.input_count; native == NULL && i < c->name_count; i++) {
        void *data = NULL;
        uint64_t size = 0;
        native = describe(c->ort->api, c->values[i], &data, &size);
        if (native == NULL && *ret_status == AEGIS_OK) {
            *ret_status = aegis_sha256_add(hash, data, size, err);
        }
    }
    return native;
}

static void release_values(choosing *c, size_t from, size_t end)
{
    for (size_t i = from; i < end; i++) {
        if (c->values[i] != NULL) {
            c->ort->api->ReleaseValue(c->values[i]);
            c->values[i] = NULL;
        }
    }
}

static OrtStatus *run_once(choosing *c,
                           OrtSession *session,
                           aegis_ort_context *context,
                           aegis_sha256 *hash,
                           aegis_status *ret_status,
                           aegis_error *err)
{
    size_t inputs = c->surface.input_count;
    uint64_t before = context->peak_bytes = context->live_bytes;
    OrtStatus *native =
        c->ort->api->Run(session, NULL, c->names, (const OrtValue *const *)c->values, inputs,
                         c->names + inputs, c->output_count, c->values + inputs);
    uint64_t peak = context->peak_bytes - before;
    if (native == NULL) {
        native = hash_outputs(c, hash, ret_status, err);
    }
    release_values(c, inputs, c->name_count);
    c->best.peak_bytes = peak > c->best.peak_bytes ? peak : c->best.peak_bytes;
    return native;
}

static OrtStatus *open_session(const choosing *c, const char *file, OrtSession **ret_session)
{
    const OrtApi *api = c->ort->api;
    OrtSessionOptions *options = NULL;
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", c->folder, file);
    OrtStatus *native = aegis_ort_base_options(c->ort, 1, &options);
    if (native == NULL &&
        (native = api->SetSessionGraphOptimizationLevel(options, ORT_DISABLE_ALL)) == NULL &&
        (native = api->AddSessionConfigEntry(options, "session.use_env_allocators", "1")) == NULL) {
        native = api->CreateSession(c->ort->env, path, options, ret_session);
    }
    if (options != NULL) {
        api->ReleaseSessionOptions(options);
    }
    return native;
}

/* All sets of inputs; `c->best` collects the peak. */
static OrtStatus *run_all(
    choosing *c, const char *file, aegis_sha256 *hash, aegis_status *ret_status, aegis_error *err)
{
    aegis_ort_context context;
    OrtSession *session = NULL;
    aegis_ort_context_init(&context, &c->reserve);
    aegis_ort_enter(&context);
    OrtStatus *native = open_session(c, file, &session);
    for (uint64_t set = 0; native == NULL && *ret_status == AEGIS_OK && set < INPUT_SETS; set++) {
        c->surface.seed = c->config->seed + set;
        *ret_status = aegis_surface_reset(&c->surface, err);
        if (*ret_status == AEGIS_OK) {
            native = run_once(c, session, &context, hash, ret_status, err);
        }
    }
    if (session != NULL) {
        c->ort->api->ReleaseSession(session);
    }
    aegis_ort_leave();
    return native;
}

/* False when the form cannot be run; then `status` says whether that ends the search. */
static bool
measure(choosing *c, const char *file, outcome *ret, aegis_status *ret_status, aegis_error *err)
{
    outcome kept = c->best;
    aegis_sha256 hash = {NULL};
    c->best.peak_bytes = 0;
    *ret_status = aegis_sha256_start(&hash, err);
    OrtStatus *native = *ret_status == AEGIS_OK ? run_all(c, file, &hash, ret_status, err) : NULL;
    ret->peak_bytes = c->best.peak_bytes;
    if (native == NULL && *ret_status == AEGIS_OK) {
        *ret_status = aegis_sha256_finish(&hash, ret->results, err);
    }
    aegis_sha256_end(&hash);
    if (ret != &c->best) {
        c->best = kept;
    }
    c->trials++;
    bool ran = native == NULL && *ret_status == AEGIS_OK;
    if (native != NULL) {
        c->ort->api->ReleaseStatus(native);
    }
    return ran;
}

/* ---- forms ---- */

static aegis_status read_graph(const choosing *c, aegis_onnx_graph **ret_graph, aegis_error *err)
{
    char path[1400], *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/optimised.onnx", c->folder);
    aegis_status status = aegis_file_read(path, LARGEST_GRAPH, &c->allocator, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_parse(bytes, size, path, &c->allocator, ret_graph, err);
    }
    aegis_file_free(&c->allocator, bytes, size);
    return status;
}

static aegis_status
write_graph(const choosing *c, const aegis_onnx_graph *graph, const char *file, aegis_error *err)
{
    char path[1400];
    void *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", c->folder, file);
    aegis_status status = aegis_onnx_graph_serialise(graph, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_file_write_atomic(path, bytes, size, err);
    }
    free(bytes);
    return status;
}

/* The form in variant.onnx takes the place of the graph when it is as good and computes the same.
 */
static aegis_status judge(choosing *c, bool less_only, bool *ret_taken, aegis_error *err)
{
    outcome found = {.peak_bytes = 0};
    aegis_status status = AEGIS_OK;
    char from[1400], to[1400];
    *ret_taken = false;
    if (!measure(c, "variant.onnx", &found, &status, err)) {
        return status;
    }
    uint64_t limit = c->best.peak_bytes - (less_only && c->best.peak_bytes > 0 ? 1 : 0);
    if (strcmp(found.results, c->best.results) != 0 || found.peak_bytes > limit) {
        return AEGIS_OK;
    }
    snprintf(from, sizeof from, "%s/variant.onnx", c->folder);
    snprintf(to, sizeof to, "%s/optimised.onnx", c->folder);
    if (rename(from, to) != 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, "cannot replace %s", to);
    }
    c->best = found;
    *ret_taken = true;
    return AEGIS_OK;
}

static aegis_status try_fold(choosing *c, aegis_error *err)
{
    aegis_onnx_graph *graph = NULL;
    size_t folded = 0;
    bool taken;
    aegis_status status = read_graph(c, &graph, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_fold(graph, &folded, err);
    }
    if (status == AEGIS_OK && folded > 0) {
        status = write_graph(c, graph, "variant.onnx", err);
        if (status == AEGIS_OK) {
            status = judge(c, false, &taken, err);
        }
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}

static aegis_status try_forget(choosing *c, aegis_error *err)
{
    aegis_onnx_graph *graph = NULL;
    bool taken;
    aegis_status status = read_graph(c, &graph, err);
    if (status == AEGIS_OK) {
        aegis_onnx_graph_forget_sizes(graph);
        status = write_graph(c, graph, "variant.onnx", err);
    }
    if (status == AEGIS_OK) {
        status = judge(c, true, &taken, err);
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}

/* One choice, over the operators in the order that `order` was made from. */
static aegis_status
try_choice(choosing *c, const void *bytes, size_t size, aegis_onnx_order *order, aegis_error *err)
{
    aegis_onnx_graph *graph = NULL;
    bool taken = false;
    aegis_status status =
        aegis_onnx_graph_parse(bytes, size, c->folder, &c->allocator, &graph, err);
    if (status == AEGIS_OK) {
        aegis_onnx_order_apply(order, graph);
        status = write_graph(c, graph, "variant.onnx", err);
    }
    if (status == AEGIS_OK) {
        status = judge(c, true, &taken, err);
    }
    if (taken) {
        aegis_onnx_order_keep(order);
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}

/* Each choice once, in order; what helps stays. */
static aegis_status try_orders(choosing *c, aegis_error *err)
{
    aegis_onnx_graph *graph = NULL;
    aegis_onnx_order *order = NULL;
    void *bytes = NULL;
    size_t size = 0;
    aegis_status status = read_graph(c, &graph, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_serialise(graph, &bytes, &size, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_onnx_order_create(graph, &order, err);
    }
    size_t choices = status == AEGIS_OK ? aegis_onnx_order_choices(order) : 0;
    for (size_t i = 0; status == AEGIS_OK && i < choices && c->trials < MOST_TRIALS; i++) {
        if (aegis_onnx_order_try(order, i)) {
            status = try_choice(c, bytes, size, order, err);
        }
    }
    aegis_onnx_order_destroy(order);
    aegis_onnx_graph_destroy(graph);
    free(bytes);
    return status;
}

/* ---- all of it ---- */

static aegis_status list_names(choosing *c, const aegis_onnx_graph *graph, aegis_error *err)
{
    aegis_status status =
        aegis_onnx_graph_declarations(graph, false, &c->outputs, &c->output_count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    c->name_count = c->surface.input_count + c->output_count;
    c->names = aegis_allocate_zeroed(&c->allocator, c->name_count, sizeof(const char *));
    c->values = aegis_allocate_zeroed(&c->allocator, c->name_count, sizeof(OrtValue *));
    if (c->names == NULL || c->values == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to compare graphs");
    }
    for (size_t i = 0; i < c->name_count; i++) {
        c->names[i] = i < c->surface.input_count ? c->surface.inputs[i].name
                                                 : c->outputs[i - c->surface.input_count].name;
    }
    return AEGIS_OK;
}

/* Over the bytes of the surface, whose contents change from set to set. */
static bool make_inputs(choosing *c)
{
    const OrtApi *api = c->ort->api;
    OrtStatus *native = NULL;
    for (size_t i = 0; native == NULL && i < c->surface.input_count; i++) {
        const aegis_tensor_info *info = &c->surface.inputs[i];
        native = api->CreateTensorWithDataAsOrtValue(
            c->ort->memory, aegis_surface_input_pointer(&c->surface, i, 0, 0), info->size_bytes,
            info->shape, (size_t)info->rank, aegis_ort_element(info->element), &c->values[i]);
    }
    if (native != NULL) {
        api->ReleaseStatus(native);
    }
    return native == NULL;
}

static aegis_status prepare(choosing *c,
                            const aegis_onnx_graph *graph,
                            const aegis_tensor_info *inputs,
                            size_t input_count,
                            aegis_error *err)
{
    aegis_model_config stateless = *c->config;
    stateless.state_count = 0;
    stateless.slots = 1;
    aegis_status status = aegis_reserve_init(&c->reserve, RESERVE_BYTES, err);
    if (status == AEGIS_OK) {
        status = aegis_surface_init(&c->surface, &stateless, inputs, input_count, NULL, 0,
                                    &c->allocator, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_surface_open_trial(&c->surface, err);
    }
    return status == AEGIS_OK ? list_names(c, graph, err) : status;
}

static void finish(choosing *c)
{
    char path[1400];
    if (c->values != NULL) {
        release_values(c, 0, c->name_count);
    }
    aegis_deallocate(&c->allocator, (void *)c->names, c->name_count, sizeof(const char *));
    aegis_deallocate(&c->allocator, c->values, c->name_count, sizeof(OrtValue *));
    aegis_deallocate(&c->allocator, c->outputs, c->output_count + 1, sizeof *c->outputs);
    aegis_surface_finish(&c->surface);
    aegis_reserve_finish(&c->reserve);
    snprintf(path, sizeof path, "%s/variant.onnx", c->folder);
    unlink(path);
}

/* Whether there is anything to choose: most graphs need no run. */
static aegis_status worth_trying(const choosing *c, bool fixed, bool *ret_worth, aegis_error *err)
{
    aegis_onnx_graph *graph = NULL;
    aegis_onnx_order *order = NULL;
    size_t folded = 0;
    aegis_status status = read_graph(c, &graph, err);
    if (status == AEGIS_OK && fixed) {
        status = aegis_onnx_order_create(graph, &order, err);
    }
    *ret_worth = order != NULL && aegis_onnx_order_choices(order) > 0;
    aegis_onnx_order_destroy(order);
    if (status == AEGIS_OK && !*ret_worth) {
        status = aegis_onnx_graph_fold(graph, &folded, err);
        *ret_worth = folded > 0;
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}

aegis_status aegis_ort_variants_choose(const aegis_ort *ort,
                                       const char *folder,
                                       const aegis_model_config *config,
                                       const aegis_tensor_info *inputs,
                                       size_t input_count,
                                       bool fixed,
                                       const aegis_allocator *allocator,
                                       aegis_error *err)
{
    choosing c = {.ort = ort, .allocator = *allocator, .folder = folder, .config = config};
    aegis_onnx_graph *graph = NULL;
    bool worth = false;
    aegis_status status = worth_trying(&c, fixed, &worth, err);
    if (status != AEGIS_OK || !worth) {
        return status;
    }
    status = read_graph(&c, &graph, err);
    if (status == AEGIS_OK && prepare(&c, graph, inputs, input_count, NULL) == AEGIS_OK &&
        make_inputs(&c) && measure(&c, "optimised.onnx", &c.best, &status, err)) {
        status = try_fold(&c, err);
        if (status == AEGIS_OK && fixed) {
            status = try_forget(&c, err);
        }
        if (status == AEGIS_OK && fixed) {
            status = try_orders(&c, err);
        }
    }
    finish(&c);
    aegis_onnx_graph_destroy(graph);
    return status;
}
