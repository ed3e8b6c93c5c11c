/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/cut.h"

#include "backend/onnxruntime/cache.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "backend.cut"
#define SEAL "segments.json"
#define LARGEST_GRAPH ((UINT64_C(1) << 31) - 1)
#define MOST_SEGMENTS 256

static aegis_status no_memory(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no memory for the parts of a model");
}

void aegis_ort_parts_finish(aegis_ort_compiled *compiled)
{
    const aegis_allocator *allocator = &compiled->allocator;
    for (size_t i = 0; i < compiled->part_count; i++) {
        aegis_ort_part *part = &compiled->parts[i];
        aegis_free_text(allocator, part->path);
        aegis_deallocate(allocator, part->operands, part->input_count + part->output_count + 1,
                         sizeof *part->operands);
        aegis_deallocate(allocator, part->weights, part->weight_count + 1, sizeof *part->weights);
    }
    aegis_deallocate(allocator, compiled->parts, compiled->part_count + 1, sizeof *compiled->parts);
    for (size_t i = 0; i < compiled->boundary_count; i++) {
        aegis_free_text(allocator, (char *)(uintptr_t)compiled->boundaries[i].info.name);
    }
    aegis_deallocate(allocator, compiled->boundaries, compiled->boundary_count + 1,
                     sizeof *compiled->boundaries);
    compiled->parts = NULL;
    compiled->boundaries = NULL;
    compiled->part_count = compiled->boundary_count = 0;
}

static bool make_parts(aegis_ort_compiled *compiled, size_t count)
{
    compiled->parts =
        aegis_allocate_zeroed(&compiled->allocator, count + 1, sizeof *compiled->parts);
    compiled->part_count = compiled->parts == NULL ? 0 : count;
    return compiled->parts != NULL;
}

static bool make_operands(const aegis_allocator *allocator,
                          size_t inputs,
                          size_t outputs,
                          size_t weights,
                          aegis_ort_part *part)
{
    part->operands = aegis_allocate_zeroed(allocator, inputs + outputs + 1, sizeof *part->operands);
    if (part->operands != NULL) {
        part->input_count = inputs;
        part->output_count = outputs;
    }
    part->weights = aegis_allocate_zeroed(allocator, weights + 1, sizeof *part->weights);
    part->weight_count = part->weights == NULL ? 0 : weights;
    return part->operands != NULL && part->weights != NULL;
}

aegis_status aegis_ort_parts_whole(aegis_ort_compiled *compiled, aegis_error *err)
{
    const aegis_allocator *allocator = &compiled->allocator;
    size_t inputs = compiled->input_count, outputs = compiled->output_count;
    if (!make_parts(compiled, 1)) {
        return no_memory(err);
    }
    aegis_ort_part *part = &compiled->parts[0];
    part->path = aegis_copy_text(allocator, compiled->graph_path);
    part->graph_bytes = compiled->graph_bytes;
    if (part->path == NULL ||
        !make_operands(allocator, inputs, outputs, compiled->weight_count, part)) {
        aegis_ort_parts_finish(compiled);
        return no_memory(err);
    }
    for (size_t i = 0; i < inputs + outputs; i++) {
        part->operands[i] =
            i < inputs ? (aegis_ort_operand){AEGIS_ORT_ROLE_INPUT, (uint32_t)i}
                       : (aegis_ort_operand){AEGIS_ORT_ROLE_OUTPUT, (uint32_t)(i - inputs)};
    }
    for (size_t i = 0; i < compiled->weight_count; i++) {
        part->weights[i] = (uint32_t)i;
    }
    return AEGIS_OK;
}

/* ---- the key ---- */

static aegis_status name_folder(const aegis_ort_compiled *compiled,
                                const aegis_model_config *config,
                                char *name,
                                size_t name_size,
                                aegis_error *err)
{
    char key[AEGIS_SHA256_HEX_BYTES], *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return no_memory(err);
    }
    fprintf(out, "cut format 1\ngraph %s\n", compiled->graph_hash);
    for (size_t i = 0; i < compiled->input_count; i++) {
        const aegis_tensor_info *info = &compiled->inputs[i];
        fprintf(out, "input %s", info->name);
        for (int k = 0; k < info->rank; k++) {
            fprintf(out, " %" PRId64, info->shape[k]);
        }
        fprintf(out, "\n");
    }
    for (size_t i = 0; i < config->cut_count; i++) {
        fprintf(out, "cut %" PRIu32 "\n", config->cuts[i]);
    }
    bool whole = fclose(out) == 0;
    aegis_status status = whole ? aegis_sha256_bytes(text, strlen(text), key, err) : no_memory(err);
    free(text);
    if (status == AEGIS_OK) {
        snprintf(name, name_size, "%s/cut-%.16s", compiled->folder, key);
    }
    return status;
}

/* ---- making ---- */

static void segment_path(const char *folder, size_t index, char *path, size_t size)
{
    snprintf(path, size, "%s/segment-%03zu.onnx", folder, index);
}

static void remove_folder(const char *folder)
{
    char path[1400];
    for (size_t i = 0; i < MOST_SEGMENTS; i++) {
        segment_path(folder, i, path, sizeof path);
        if (unlink(path) != 0) {
            break;
        }
    }
    snprintf(path, sizeof path, "%s/" SEAL, folder);
    unlink(path);
    rmdir(folder);
}

static aegis_status write_one(const aegis_ort_profile *profile,
                              const char *folder,
                              size_t index,
                              uint32_t first,
                              uint32_t end,
                              json_t *list,
                              aegis_error *err)
{
    char path[1400], hash[AEGIS_SHA256_HEX_BYTES];
    void *bytes = NULL;
    size_t size = 0;
    segment_path(folder, index, path, sizeof path);
    aegis_status status =
        aegis_onnx_graph_segment(profile->graph, profile->values, profile->types,
                                 profile->value_count, first, end, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_sha256_bytes(bytes, size, hash, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_file_write_atomic(path, bytes, size, err);
    }
    free(bytes);
    if (status == AEGIS_OK &&
        json_array_append_new(
            list, json_pack("{s:I, s:s}", "bytes", (json_int_t)size, "sha256", hash)) != 0) {
        status = no_memory(err);
    }
    return status;
}

static aegis_status write_seal(const char *folder, json_t *root, aegis_error *err)
{
    char path[1400];
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    if (text == NULL) {
        return no_memory(err);
    }
    snprintf(path, sizeof path, "%s/" SEAL, folder);
    aegis_status status = aegis_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}

static aegis_status write_segments(const aegis_ort_profile *profile,
                                   const aegis_ort_compiled *compiled,
                                   const aegis_model_config *config,
                                   const char *folder,
                                   aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    json_t *list = json_array();
    json_t *root = json_pack("{s:i, s:s, s:O?}", "schema_version", 1, "graph_sha256",
                             compiled->graph_hash, "segments", list);
    if (list == NULL || root == NULL) {
        status = no_memory(err);
    }
    for (size_t i = 0; status == AEGIS_OK && i <= config->cut_count; i++) {
        uint32_t first = i == 0 ? 0 : config->cuts[i - 1];
        uint32_t end = i == config->cut_count ? profile->operators : config->cuts[i];
        status = write_one(profile, folder, i, first, end, list, err);
    }
    if (status == AEGIS_OK) {
        status = write_seal(folder, root, err);
    }
    json_decref(list);
    json_decref(root);
    return status;
}

/* Types and shapes come from a run over the inputs' sources. */
static aegis_status profile_once(const aegis_ort *ort,
                                 const aegis_ort_session_config *whole,
                                 const aegis_model_config *config,
                                 const aegis_ort_compiled *compiled,
                                 aegis_ort_profile *ret_profile,
                                 aegis_error *err)
{
    aegis_surface inputs = {.trial = NULL};
    aegis_model_config stateless = *config;
    stateless.state_count = 0;
    stateless.slots = 1;
    aegis_status status =
        aegis_surface_init(&inputs, &stateless, compiled->inputs, compiled->input_count, NULL, 0,
                           &compiled->allocator, err);
    if (status == AEGIS_OK) {
        status = aegis_surface_open_trial(&inputs, err);
    }
    if (status == AEGIS_OK) {
        status =
            aegis_ort_profile_take(ort, whole, &inputs, 1, &compiled->allocator, ret_profile, err);
    }
    aegis_surface_finish(&inputs);
    return status;
}

static aegis_status make_segments(const aegis_ort *ort,
                                  const aegis_ort_session_config *whole,
                                  const aegis_model_config *config,
                                  aegis_ort_compiled *compiled,
                                  const char *folder,
                                  aegis_error *err)
{
    char temporary[1200];
    aegis_ort_profile profile = {.graph = NULL};
    aegis_ort_session_config one = *whole;
    aegis_status status = aegis_ort_parts_whole(compiled, err);
    if (status == AEGIS_OK) {
        one.part = &compiled->parts[0];
        status = profile_once(ort, &one, config, compiled, &profile, err);
    }
    aegis_ort_parts_finish(compiled);
    if (status != AEGIS_OK) {
        return status;
    }
    snprintf(temporary, sizeof temporary, "%s/.cutting-XXXXXX", compiled->folder);
    if (mkdtemp(temporary) == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                 "cannot make a folder in the cache %s", compiled->folder);
    } else {
        status = write_segments(&profile, compiled, config, temporary, err);
        if (status == AEGIS_OK) {
            status = aegis_cache_publish(temporary, folder, err);
        }
        remove_folder(temporary);
    }
    aegis_ort_profile_finish(&profile);
    return status;
}

/* ---- reading ---- */

typedef struct reading {
    aegis_ort_compiled *compiled;
    const char *folder;
    size_t room; /* of boundaries */
    aegis_error *err;
} reading;

static bool find_info(const aegis_tensor_info *infos, size_t count, const char *name, uint32_t *ret)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(infos[i].name, name) == 0) {
            *ret = (uint32_t)i;
            return true;
        }
    }
    return false;
}

static bool find_boundary(const aegis_ort_compiled *compiled, const char *name, uint32_t *ret)
{
    for (size_t i = 0; i < compiled->boundary_count; i++) {
        if (strcmp(compiled->boundaries[i].info.name, name) == 0) {
            *ret = (uint32_t)i;
            return true;
        }
    }
    return false;
}

static aegis_status read_input(reading *r, uint32_t part, const char *name, aegis_ort_operand *ret)
{
    aegis_ort_compiled *compiled = r->compiled;
    aegis_ort_operand operand = {AEGIS_ORT_ROLE_INPUT, 0};
    if (find_info(compiled->inputs, compiled->input_count, name, &operand.index)) {
        operand.role = AEGIS_ORT_ROLE_INPUT;
    } else if (find_info(compiled->outputs, compiled->output_count, name, &operand.index)) {
        operand.role = AEGIS_ORT_ROLE_OUTPUT;
    } else if (find_boundary(compiled, name, &operand.index)) {
        operand.role = AEGIS_ORT_ROLE_BOUNDARY;
        compiled->boundaries[operand.index].end = part + 1;
    } else {
        return aegis_cache_damaged(r->folder, "a segment reads what none before it writes", r->err);
    }
    *ret = operand;
    return AEGIS_OK;
}

static bool add_boundary(reading *r, const aegis_tensor_info *info)
{
    aegis_ort_compiled *compiled = r->compiled;
    const aegis_allocator *allocator = &compiled->allocator;
    size_t count = compiled->boundary_count;
    aegis_ort_boundary *bigger =
        aegis_allocate_zeroed(allocator, count + 2, sizeof *compiled->boundaries);
    char *name = aegis_copy_text(allocator, info->name);
    if (bigger == NULL || name == NULL) {
        aegis_deallocate(allocator, bigger, count + 2, sizeof *bigger);
        aegis_free_text(allocator, name);
        return false;
    }
    if (count > 0) {
        memcpy(bigger, compiled->boundaries, count * sizeof *bigger);
    }
    bigger[count].info = *info;
    bigger[count].info.name = name;
    aegis_deallocate(allocator, compiled->boundaries, count + 1, sizeof *bigger);
    compiled->boundaries = bigger;
    compiled->boundary_count = count + 1;
    return true;
}

static aegis_status read_output(reading *r,
                                uint32_t part,
                                const aegis_surface_declaration *declared,
                                aegis_ort_operand *ret)
{
    aegis_ort_compiled *compiled = r->compiled;
    aegis_tensor_info info = {
        .name = declared->name, .element = declared->element, .rank = declared->rank};
    uint64_t elements;
    memcpy(info.shape, declared->shape, sizeof info.shape);
    if (info.rank < 0 || !aegis_shape_elements(info.shape, info.rank, &elements) ||
        __builtin_mul_overflow(elements, aegis_element_bytes(info.element), &info.size_bytes)) {
        return aegis_cache_damaged(r->folder, "a segment's output has no fixed shape", r->err);
    }
    aegis_ort_operand operand = {AEGIS_ORT_ROLE_OUTPUT, 0};
    if (find_info(compiled->outputs, compiled->output_count, info.name, &operand.index)) {
        aegis_tensor_info *output = &compiled->outputs[operand.index];
        info.name = output->name;
        *output = info;
    } else if (find_boundary(compiled, info.name, &operand.index)) {
        return aegis_cache_damaged(r->folder, "two segments write the same tensor", r->err);
    } else {
        operand = (aegis_ort_operand){AEGIS_ORT_ROLE_BOUNDARY, (uint32_t)compiled->boundary_count};
        if (!add_boundary(r, &info)) {
            return no_memory(r->err);
        }
        compiled->boundaries[operand.index].first = part;
        compiled->boundaries[operand.index].end = part + 1;
    }
    *ret = operand;
    return AEGIS_OK;
}

static aegis_status
find_weight(reading *r, const aegis_onnx_external *external, uint32_t *ret_index)
{
    const aegis_ort_compiled *compiled = r->compiled;
    for (size_t i = 0; i < compiled->weight_count; i++) {
        const aegis_ort_weight *weight = &compiled->weights[i];
        if (strcmp(weight->name, external->name) == 0 && weight->offset == external->offset &&
            weight->length == external->length) {
            *ret_index = (uint32_t)i;
            return AEGIS_OK;
        }
    }
    return aegis_cache_damaged(r->folder, "a segment uses an initialiser that the model lacks",
                               r->err);
}

/* Operands and weights of one segment, from what its graph declares. */
static aegis_status read_graph(reading *r, uint32_t index, const aegis_onnx_graph *graph)
{
    const aegis_allocator *allocator = &r->compiled->allocator;
    aegis_ort_part *part = &r->compiled->parts[index];
    aegis_surface_declaration *inputs = NULL, *outputs = NULL;
    aegis_onnx_external *externals = NULL;
    size_t input_count = 0, output_count = 0, external_count = 0;
    bool ambiguous = false;
    aegis_status status = aegis_onnx_graph_declarations(graph, true, &inputs, &input_count, r->err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_declarations(graph, false, &outputs, &output_count, r->err);
    }
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_externals(graph, &externals, &external_count, &ambiguous, r->err);
    }
    if (status == AEGIS_OK &&
        !make_operands(allocator, input_count, output_count, external_count, part)) {
        status = no_memory(r->err);
    }
    for (size_t i = 0; status == AEGIS_OK && i < input_count; i++) {
        status = read_input(r, index, inputs[i].name, &part->operands[i]);
    }
    for (size_t i = 0; status == AEGIS_OK && i < output_count; i++) {
        status = read_output(r, index, &outputs[i], &part->operands[input_count + i]);
    }
    for (size_t i = 0; status == AEGIS_OK && i < external_count; i++) {
        status = find_weight(r, &externals[i], &part->weights[i]);
    }
    aegis_deallocate(allocator, inputs, input_count + 1, sizeof *inputs);
    aegis_deallocate(allocator, outputs, output_count + 1, sizeof *outputs);
    aegis_deallocate(allocator, externals, external_count + 1, sizeof *externals);
    return status;
}

static aegis_status read_segment(reading *r, uint32_t index, json_t *entry)
{
    const aegis_allocator *allocator = &r->compiled->allocator;
    aegis_ort_part *part = &r->compiled->parts[index];
    const char *wanted = json_string_value(json_object_get(entry, "sha256"));
    char path[1400], hash[AEGIS_SHA256_HEX_BYTES], *bytes = NULL;
    size_t size = 0;
    aegis_onnx_graph *graph = NULL;
    segment_path(r->folder, index, path, sizeof path);
    part->path = aegis_copy_text(allocator, path);
    aegis_status status = part->path == NULL ? no_memory(r->err) : AEGIS_OK;
    if (status == AEGIS_OK && access(path, R_OK) != 0) {
        status = aegis_cache_damaged(r->folder, "a segment is missing", r->err);
    }
    if (status == AEGIS_OK) {
        status = aegis_file_read(path, LARGEST_GRAPH, allocator, &bytes, &size, r->err);
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_bytes(bytes, size, hash, r->err);
    }
    if (status == AEGIS_OK && (wanted == NULL || strcmp(hash, wanted) != 0)) {
        status = aegis_cache_damaged(r->folder, "a segment has another hash", r->err);
    }
    if (status == AEGIS_OK) {
        memcpy(part->hash, hash, sizeof hash);
        part->graph_bytes = size;
        status = aegis_onnx_graph_parse(bytes, size, path, allocator, &graph, r->err);
    }
    aegis_file_free(allocator, bytes, size);
    if (status == AEGIS_OK) {
        status = read_graph(r, index, graph);
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}

static aegis_status
read_segments(aegis_ort_compiled *compiled, const char *folder, size_t count, aegis_error *err)
{
    char path[1400];
    reading r = {.compiled = compiled, .folder = folder, .err = err};
    snprintf(path, sizeof path, "%s/" SEAL, folder);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    const char *graph = json_string_value(json_object_get(root, "graph_sha256"));
    json_t *list = json_object_get(root, "segments");
    aegis_status status = AEGIS_OK;
    if (graph == NULL || strcmp(graph, compiled->graph_hash) != 0 ||
        json_array_size(list) != count) {
        status = aegis_cache_damaged(
            folder, "its " SEAL " cannot be read or belongs to other segments", err);
    } else if (!make_parts(compiled, count)) {
        status = no_memory(err);
    }
    for (uint32_t i = 0; status == AEGIS_OK && i < count; i++) {
        status = read_segment(&r, i, json_array_get(list, i));
    }
    json_decref(root);
    if (status != AEGIS_OK) {
        aegis_ort_parts_finish(compiled);
    }
    return status;
}

static aegis_status
check_cuts(const aegis_ort_compiled *compiled, const aegis_model_config *config, aegis_error *err)
{
    if (compiled->at_load) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "it cannot be cut: its control flow is optimised whenever it is "
                               "loaded, so that its operators have no fixed positions");
    }
    if (config->cut_count >= MOST_SEGMENTS) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "%zu cuts; at most %d", config->cut_count, MOST_SEGMENTS - 1);
    }
    for (size_t i = 0; i < config->cut_count; i++) {
        if (config->cuts[i] == 0 || (i > 0 && config->cuts[i] <= config->cuts[i - 1])) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "cut %zu is at position %" PRIu32
                                   ": positions begin at 1 and must ascend",
                                   i, config->cuts[i]);
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_ort_parts_cut(const aegis_ort *ort,
                                 const aegis_ort_session_config *whole,
                                 const aegis_model_config *config,
                                 aegis_ort_compiled *compiled,
                                 aegis_error *err)
{
    char folder[1200];
    aegis_status status = check_cuts(compiled, config, err);
    if (status == AEGIS_OK) {
        status = name_folder(compiled, config, folder, sizeof folder, err);
    }
    if (status == AEGIS_OK && access(folder, F_OK) != 0) {
        status = make_segments(ort, whole, config, compiled, folder, err);
    }
    return status == AEGIS_OK ? read_segments(compiled, folder, config->cut_count + 1, err)
                              : status;
}
