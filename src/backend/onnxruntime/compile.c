/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/compile.h"

#include "backend/onnxruntime/cache.h"
#include "backend/onnxruntime/cut.h"
#include "backend/onnxruntime/loading.h"
#include "backend/onnxruntime/variants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "backend.compile"
#define LARGEST_MODEL ((UINT64_C(1) << 31) - 1) /* protobuf's own limit */
#define SMALLEST_EXTERNAL "128" /* shape operands stay in the graph: loading reads them */

/* What is known of a model file before it is compiled. */
typedef struct prepared {
    aegis_allocator allocator;
    char *bytes;
    size_t size;
    uint64_t external_bytes; /* of files beside it; known with the hash */
    aegis_onnx_graph *graph;
    aegis_surface_declaration *declared;
    size_t declared_count;
    aegis_input_shape *shapes;
    bool cuda; /* for a CUDA device */
} prepared;

static void finish_prepared(prepared *model)
{
    const aegis_allocator *allocator = &model->allocator;
    aegis_file_free(allocator, model->bytes, model->size);
    aegis_deallocate(allocator, model->declared, model->declared_count + 1,
                     sizeof *model->declared);
    aegis_deallocate(allocator, model->shapes, model->declared_count + 1, sizeof *model->shapes);
    aegis_onnx_graph_destroy(model->graph);
}

static aegis_status prepare(const aegis_model_config *config,
                            const aegis_allocator *allocator,
                            prepared *ret_model,
                            aegis_error *err)
{
    prepared *model = ret_model;
    *model = (prepared){.allocator = *allocator};
    aegis_status status = aegis_ort_ask_reading(config, err);
    if (status == AEGIS_OK) {
        status = aegis_file_read(config->path, LARGEST_MODEL, allocator, &model->bytes,
                                 &model->size, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_parse(model->bytes, model->size, config->path, allocator,
                                        &model->graph, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_declarations(model->graph, true, &model->declared,
                                               &model->declared_count, err);
    }
    if (status == AEGIS_OK) {
        model->shapes =
            aegis_allocate_zeroed(allocator, model->declared_count + 1, sizeof *model->shapes);
        status = model->shapes == NULL
                     ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                       "no memory to compile")
                     : aegis_surface_fix_shapes(config, model->declared, model->declared_count,
                                                model->shapes, err);
    }
    if (status != AEGIS_OK) {
        finish_prepared(model);
    }
    return status;
}

static void folder_of(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        snprintf(folder, size, ".");
    } else {
        snprintf(folder, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
}

/* The model file's hash; with external data the hash of all files' hashes. */
static aegis_status hash_model(prepared *model,
                               const char *folder,
                               char ret_hash[AEGIS_SHA256_HEX_BYTES],
                               aegis_error *err)
{
    aegis_onnx_external *externals = NULL;
    struct stat info;
    size_t count = 0;
    bool ambiguous;
    aegis_status status = aegis_sha256_bytes(model->bytes, model->size, ret_hash, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_externals(model->graph, &externals, &count, &ambiguous, err);
    }
    for (size_t i = 0; status == AEGIS_OK && i < count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) {
            seen = seen || strcmp(externals[k].location, externals[i].location) == 0;
        }
        if (!seen) {
            char path[1400], both[2 * AEGIS_SHA256_HEX_BYTES] = "";
            snprintf(path, sizeof path, "%s/%s", folder, externals[i].location);
            memcpy(both, ret_hash, AEGIS_SHA256_HEX_BYTES - 1);
            status = aegis_sha256_file(path, both + AEGIS_SHA256_HEX_BYTES - 1, err);
            model->external_bytes += stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
            if (status == AEGIS_OK) {
                status = aegis_sha256_bytes(both, strlen(both), ret_hash, err);
            }
        }
    }
    aegis_deallocate(&model->allocator, externals, count + 1, sizeof *externals);
    return status;
}

/* ---- session options ---- */

OrtStatus *
aegis_ort_base_options(const aegis_ort *ort, unsigned threads, OrtSessionOptions **ret_options)
{
    const OrtApi *api = ort->api;
    OrtSessionOptions *options = NULL;
    OrtStatus *native = api->CreateSessionOptions(&options);
    if (native != NULL) {
        return native;
    }
    if ((native = api->DisableMemPattern(options)) != NULL ||
        (native = api->DisableCpuMemArena(options)) != NULL ||
        (native = api->SetSessionExecutionMode(options, ORT_SEQUENTIAL)) != NULL ||
        (native = api->SetIntraOpNumThreads(options, threads == 0 ? 1 : (int)threads)) != NULL ||
        (native = api->SetInterOpNumThreads(options, 1)) != NULL ||
        (native = api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL)) != NULL ||
        (native = api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0")) !=
            NULL ||
        (native = api->AddSessionConfigEntry(options, "session.inter_op.allow_spinning", "0")) !=
            NULL) {
        api->ReleaseSessionOptions(options);
        return native;
    }
    *ret_options = options;
    return NULL;
}

/* The codes that say more than that it failed. No switch: other versions of the library have other
 * codes, and their headers too. */
static aegis_status status_of_build(const aegis_ort *ort, const OrtStatus *native)
{
    const char *text = ort->api->GetErrorMessage(native);
    const OrtErrorCode code = ort->api->GetErrorCode(native);
    if (code == ORT_INVALID_PROTOBUF) {
        return AEGIS_ERROR_PARSE;
    }
    if (code == ORT_NO_SUCHFILE) {
        return AEGIS_ERROR_NOT_FOUND;
    }
    return code == ORT_NOT_IMPLEMENTED || strstr(text, "is not a registered") != NULL ||
                   strstr(text, "No Op registered") != NULL
               ? AEGIS_ERROR_UNSUPPORTED
               : AEGIS_ERROR_ENGINE_BUILD;
}

/* Optimises `bytes` and writes the result to `folder`/optimised.onnx and .data. */
static OrtStatus *optimise(const aegis_ort *ort,
                           GraphOptimizationLevel level,
                           const void *bytes,
                           size_t size,
                           const char *model_folder,
                           const char *folder)
{
    const OrtApi *api = ort->api;
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    char path[1400];
    snprintf(path, sizeof path, "%s/optimised.onnx", folder);
    OrtStatus *native = aegis_ort_base_options(ort, 1, &options);
    if (native != NULL) {
        return native;
    }
    if ((native = api->SetSessionGraphOptimizationLevel(options, level)) == NULL &&
        (native = api->SetOptimizedModelFilePath(options, path)) == NULL &&
        (native = api->AddSessionConfigEntry(
             options, "session.optimized_model_external_initializers_file_name",
             "optimised.data")) == NULL &&
        (native = api->AddSessionConfigEntry(
             options, "session.optimized_model_external_initializers_min_size_in_bytes",
             SMALLEST_EXTERNAL)) == NULL &&
        (native = api->AddSessionConfigEntry(options,
                                             "session.model_external_initializers_file_folder_path",
                                             model_folder)) == NULL) {
        native = api->CreateSessionFromArray(ort->env, bytes, size, options, &session);
    }
    if (session != NULL) {
        api->ReleaseSession(session);
    }
    api->ReleaseSessionOptions(options);
    return native;
}

/* ---- building a folder ---- */

/* The optimised graph loads again as it is. */
static bool loads_again(const aegis_ort *ort, const char *folder)
{
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    char path[1400];
    snprintf(path, sizeof path, "%s/" AEGIS_CACHE_GRAPH, folder);
    OrtStatus *native = aegis_ort_base_options(ort, 1, &options);
    if (native == NULL) {
        native = ort->api->SetSessionGraphOptimizationLevel(options, ORT_DISABLE_ALL);
    }
    if (native == NULL) {
        native = ort->api->CreateSession(ort->env, path, options, &session);
    }
    bool loads = native == NULL;
    if (native != NULL) {
        ort->api->ReleaseStatus(native);
    }
    if (session != NULL) {
        ort->api->ReleaseSession(session);
    }
    if (options != NULL) {
        ort->api->ReleaseSessionOptions(options);
    }
    return loads;
}

/* On the host dimensions stay as they are declared: with fixed ones the optimiser chooses other
 * fusions, and the results differ in their last bits from what the same file computes elsewhere. It
 * gains no time. For a device they are fixed, and what is chosen for the CPU is left out. */
static aegis_status optimise_model(const aegis_ort *ort,
                                   prepared *model,
                                   const char *model_folder,
                                   const char *folder,
                                   void **ret_bytes,
                                   size_t *ret_size,
                                   aegis_error *err)
{
    void *bytes = NULL;
    size_t size = 0;
    aegis_onnx_graph_drop_initialiser_inputs(model->graph);
    aegis_status status = model->cuda ? aegis_onnx_graph_fix_inputs(model->graph, model->shapes,
                                                                    model->declared_count, err)
                                      : AEGIS_OK;
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_serialise(model->graph, &bytes, &size, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    OrtStatus *native = optimise(ort, model->cuda ? ORT_ENABLE_BASIC : ORT_ENABLE_ALL, bytes, size,
                                 model_folder, folder);
    if (native != NULL) {
        free(bytes);
        status = status_of_build(ort, native);
        return aegis_ort_error(ort, native, AEGIS_HERE(COMPONENT), status, "cannot compile it",
                               err);
    }
    *ret_bytes = bytes;
    *ret_size = size;
    return AEGIS_OK;
}

/* All dimensions are declared, so that sizes are those of the model and not of one use of it. */
static bool has_fixed_inputs(const prepared *model)
{
    for (size_t i = 0; i < model->declared_count; i++) {
        for (int d = 0; d < model->declared[i].rank; d++) {
            if (model->declared[i].shape[d] < 0) {
                return false;
            }
        }
        if (model->declared[i].rank < 0) {
            return false;
        }
    }
    return true;
}

static aegis_status build(const aegis_ort *ort,
                          prepared *model,
                          const aegis_model_config *config,
                          const aegis_ort_compiled *compiled,
                          const char *folder,
                          aegis_error *err)
{
    void *bytes = NULL;
    size_t size = 0;
    bool packed = false;
    json_t *chunks = NULL;
    bool control_flow = aegis_onnx_graph_has_control_flow(model->graph);
    aegis_status status =
        optimise_model(ort, model, compiled->model_folder, folder, &bytes, &size, err);
    if (status == AEGIS_OK && !control_flow) {
        status =
            aegis_ort_variants_choose(ort, folder, config, compiled->inputs, compiled->input_count,
                                      has_fixed_inputs(model), &model->allocator, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cache_pack(folder, &model->allocator, &packed, &chunks, err);
    }
    if (status == AEGIS_OK) {
        bool at_load = !packed || (control_flow && !loads_again(ort, folder));
        if (at_load) {
            json_array_clear(chunks);
            status = aegis_cache_keep_source(folder, bytes, size, err);
        }
        if (status == AEGIS_OK) {
            status = aegis_cache_seal(folder, compiled->hash, at_load, chunks, err);
        }
    }
    json_decref(chunks);
    free(bytes);
    return status;
}

/* ---- the key ---- */

/* Lines of /proc/cpuinfo that say which kernels and layouts the optimiser chooses. */
static void describe_cpu(char *text, size_t size)
{
    static const char *const keys[] = {"vendor_id", "cpu family",      "model",   "flags",
                                       "Features",  "CPU implementer", "CPU part"};
    char line[8192];
    size_t used = 0;
    FILE *file = fopen("/proc/cpuinfo", "r");
    text[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL && line[0] != '\n') {
        for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(keys); i++) {
            if (strncmp(line, keys[i], strlen(keys[i])) == 0 && used < size) {
                used += (size_t)snprintf(text + used, size - used, "%s", line);
                break;
            }
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void describe_shapes(const prepared *model, char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < model->declared_count; i++) {
        const aegis_input_shape *one = &model->shapes[i];
        for (int d = -1; d < one->rank && used < size; d++) {
            used += d < 0
                        ? (size_t)snprintf(text + used, size - used, "%s:", one->name)
                        : (size_t)snprintf(text + used, size - used, "%" PRId64 ",", one->shape[d]);
        }
    }
}

static aegis_status make_key(const aegis_ort *ort,
                             const prepared *model,
                             const char *hash,
                             char ret_key[AEGIS_SHA256_HEX_BYTES],
                             aegis_error *err)
{
    size_t size = 32768, used;
    char *text = aegis_allocate_zeroed(&model->allocator, size, 1);
    if (text == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to compile");
    }
    used = (size_t)snprintf(text, size, "format 3\nmodel %s\nonnxruntime %s\nlevel %s\n", hash,
                            ort->version, model->cuda ? "basic, for cuda" : "all");
    if (model->cuda) {
        describe_shapes(model, text + used, size - used);
    } else {
        describe_cpu(text + used, size - used);
    }
    aegis_status status = aegis_sha256_bytes(text, strlen(text), ret_key, err);
    aegis_deallocate(&model->allocator, text, size, 1);
    return status;
}

/* "<stem>__onnxruntime-1.31.1__<16 digits of the key>", or "...-cuda__...": readable by eye, the
 * key decides. */
static void name_folder(const aegis_ort *ort,
                        bool cuda,
                        const char *cache_dir,
                        const char *path,
                        const char *key,
                        char *name,
                        size_t size)
{
    const char *slash = strrchr(path, '/');
    const char *stem = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(stem, '.');
    int length = dot != NULL && dot != stem ? (int)(dot - stem) : (int)strlen(stem);
    snprintf(name, size, "%s/%.*s__onnxruntime-%s%s__%.16s", cache_dir, length > 100 ? 100 : length,
             stem, ort->version, cuda ? "-cuda" : "", key);
}

static aegis_status compile_into(const aegis_ort *ort,
                                 prepared *model,
                                 const aegis_model_config *config,
                                 const char *cache_dir,
                                 const char *folder,
                                 aegis_ort_compiled *compiled,
                                 aegis_error *err)
{
    char temporary[1200];
    aegis_status status = aegis_ort_ask_compiling(config, model->size, model->external_bytes, err);
    if (status == AEGIS_OK) {
        status = aegis_folder_create(cache_dir, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    snprintf(temporary, sizeof temporary, "%s/.making-XXXXXX", cache_dir);
    if (mkdtemp(temporary) == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                               "cannot make a folder in the cache %s", cache_dir);
    }
    status = build(ort, model, config, compiled, temporary, err);
    if (status == AEGIS_OK) {
        status = aegis_cache_publish(temporary, folder, err);
    }
    aegis_cache_remove(temporary);
    return status;
}

static aegis_status
copy_inputs(const prepared *model, aegis_ort_compiled *compiled, aegis_error *err)
{
    compiled->inputs = aegis_allocate_zeroed(&compiled->allocator, model->declared_count + 1,
                                             sizeof *compiled->inputs);
    compiled->input_count = compiled->inputs == NULL ? 0 : model->declared_count;
    bool whole = compiled->inputs != NULL;
    for (size_t i = 0; whole && i < model->declared_count; i++) {
        compiled->inputs[i].name = aegis_copy_text(&compiled->allocator, model->declared[i].name);
        compiled->inputs[i].element = model->declared[i].element;
        compiled->inputs[i].rank = model->shapes[i].rank;
        memcpy(compiled->inputs[i].shape, model->shapes[i].shape, sizeof compiled->inputs[i].shape);
        whole = compiled->inputs[i].name != NULL;
    }
    return whole ? AEGIS_OK
                 : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory to compile");
}

aegis_status aegis_ort_compile(const aegis_ort *ort,
                               const char *cache_dir,
                               const aegis_model_config *config,
                               bool cuda,
                               const aegis_allocator *allocator,
                               aegis_ort_compiled *ret_compiled,
                               aegis_error *err)
{
    prepared model;
    char key[AEGIS_SHA256_HEX_BYTES], folder[1000];
    aegis_ort_compiled compiled = {.allocator = *allocator};
    aegis_status status = prepare(config, allocator, &model, err);
    if (status != AEGIS_OK) {
        return status;
    }
    model.cuda = cuda;
    folder_of(config->path, compiled.model_folder, sizeof compiled.model_folder);
    status = hash_model(&model, compiled.model_folder, compiled.hash, err);
    if (status == AEGIS_OK) {
        status = make_key(ort, &model, compiled.hash, key, err);
    }
    if (status == AEGIS_OK) {
        name_folder(ort, cuda, cache_dir, config->path, key, folder, sizeof folder);
        status = copy_inputs(&model, &compiled, err);
    }
    if (status == AEGIS_OK && access(folder, F_OK) != 0) {
        status = compile_into(ort, &model, config, cache_dir, folder, &compiled, err);
    }
    finish_prepared(&model);
    if (status == AEGIS_OK) {
        status = aegis_cache_open(folder, &compiled, err);
    }
    if (status != AEGIS_OK) {
        aegis_ort_compiled_finish(&compiled);
        return status;
    }
    *ret_compiled = compiled;
    return AEGIS_OK;
}

static void finish_infos(const aegis_allocator *allocator, aegis_tensor_info *infos, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        aegis_free_text(allocator, (char *)infos[i].name);
    }
    aegis_deallocate(allocator, infos, count + 1, sizeof *infos);
}

void aegis_ort_compiled_finish(aegis_ort_compiled *compiled)
{
    const aegis_allocator *allocator = &compiled->allocator;
    if (allocator->free == NULL) {
        return;
    }
    finish_infos(allocator, compiled->inputs, compiled->input_count);
    finish_infos(allocator, compiled->outputs, compiled->output_count);
    for (size_t i = 0; i < compiled->weight_count; i++) {
        aegis_free_text(allocator, compiled->weights[i].name);
    }
    aegis_deallocate(allocator, compiled->weights, compiled->weight_count + 1,
                     sizeof *compiled->weights);
    aegis_deallocate(allocator, compiled->chunks, compiled->chunk_count + 1,
                     sizeof *compiled->chunks);
    aegis_ort_parts_finish(compiled);
    memset(compiled, 0, sizeof *compiled);
}
