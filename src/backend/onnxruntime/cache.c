/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "backend.cache"
#define ALIGNMENT 64u
#define LARGEST_GRAPH ((UINT64_C(1) << 31) - 1)

static void join(char *path, size_t size, const char *folder, const char *name)
{
    snprintf(path, size, "%s/%s", folder, name);
}

static aegis_status io_error(const char *what, const char *path, aegis_error *err)
{
    int code = errno;
    return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, code,
                                  "cannot %s %s: %s", what, path, strerror(code));
}

/* ---- packing ---- */

static bool write_fully(int fd, const unsigned char *bytes, uint64_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, bytes, size > (1u << 30) ? (1u << 30) : (size_t)size);
        if (wrote < 0 && errno != EINTR) {
            return false;
        }
        if (wrote > 0) {
            bytes += wrote;
            size -= (uint64_t)wrote;
        }
    }
    return true;
}

/* Copies all ranges to `out`, each at a multiple of 64, and points the graph there. */
static aegis_status copy_ranges(aegis_onnx_graph *graph,
                                const aegis_onnx_external *externals,
                                size_t count,
                                const unsigned char *data,
                                uint64_t data_size,
                                int out,
                                const char *out_path,
                                aegis_error *err)
{
    static const unsigned char zeros[ALIGNMENT];
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const aegis_onnx_external *one = &externals[i];
        if (one->offset > data_size || one->length > data_size - one->offset) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_BUILD,
                                   "initialiser '%s' lies outside of the compiled data", one->name);
        }
        uint64_t padding = aegis_align_up(one->length, ALIGNMENT) - one->length;
        aegis_status status =
            aegis_onnx_graph_move_external(graph, i, AEGIS_CACHE_WEIGHTS, offset, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (!write_fully(out, data + one->offset, one->length) ||
            !write_fully(out, zeros, padding)) {
            return io_error("write", out_path, err);
        }
        offset += one->length + padding;
    }
    return fsync(out) == 0 ? AEGIS_OK : io_error("sync", out_path, err);
}

static aegis_status pack_weights(const char *folder,
                                 aegis_onnx_graph *graph,
                                 const aegis_onnx_external *externals,
                                 size_t count,
                                 aegis_error *err)
{
    char from[1400], to[1400];
    struct stat info = {.st_size = 0};
    aegis_status status = AEGIS_OK;
    void *data = NULL;
    join(from, sizeof from, folder, "optimised.data");
    join(to, sizeof to, folder, AEGIS_CACHE_WEIGHTS);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0) {
        status = io_error("create", to, err);
    } else if (count > 0 && (in < 0 || fstat(in, &info) != 0)) {
        status = io_error("open", from, err);
    } else if (count > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, in, 0);
        status = data == MAP_FAILED ? io_error("map", from, err) : AEGIS_OK;
    }
    if (status == AEGIS_OK) {
        status = copy_ranges(graph, externals, count, data, (uint64_t)info.st_size, out, to, err);
    }
    if (data != NULL && data != MAP_FAILED) {
        munmap(data, (size_t)info.st_size);
    }
    if (in >= 0) {
        close(in);
    }
    if (out >= 0) {
        close(out);
    }
    return status;
}

static aegis_status parse_file(const char *path,
                               const aegis_allocator *allocator,
                               aegis_onnx_graph **ret_graph,
                               aegis_error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    aegis_status status = aegis_file_read(path, LARGEST_GRAPH, allocator, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_parse(bytes, size, path, allocator, ret_graph, err);
    }
    aegis_file_free(allocator, bytes, size);
    return status;
}

aegis_status aegis_cache_pack(const char *folder,
                              const aegis_allocator *allocator,
                              bool *ret_packed,
                              aegis_error *err)
{
    char path[1400];
    aegis_onnx_graph *graph = NULL;
    aegis_onnx_external *externals = NULL;
    size_t count = 0, size = 0;
    bool ambiguous = false;
    void *bytes = NULL;
    join(path, sizeof path, folder, "optimised.onnx");
    aegis_status status = parse_file(path, allocator, &graph, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_externals(graph, &externals, &count, &ambiguous, err);
    }
    if (status == AEGIS_OK && !ambiguous) {
        status = pack_weights(folder, graph, externals, count, err);
    }
    if (status == AEGIS_OK && !ambiguous) {
        status = aegis_onnx_graph_serialise(graph, &bytes, &size, err);
    }
    if (status == AEGIS_OK && !ambiguous) {
        join(path, sizeof path, folder, AEGIS_CACHE_GRAPH);
        status = aegis_file_write_atomic(path, bytes, size, err);
    }
    free(bytes);
    aegis_deallocate(allocator, externals, count + 1, sizeof *externals);
    aegis_onnx_graph_destroy(graph);
    if (status == AEGIS_OK) {
        join(path, sizeof path, folder, "optimised.onnx");
        unlink(path);
        join(path, sizeof path, folder, "optimised.data");
        unlink(path);
        *ret_packed = !ambiguous;
    }
    return status;
}

aegis_status
aegis_cache_keep_source(const char *folder, const void *bytes, size_t size, aegis_error *err)
{
    char path[1400];
    join(path, sizeof path, folder, AEGIS_CACHE_WEIGHTS);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return io_error("create", path, err);
    }
    close(fd);
    join(path, sizeof path, folder, AEGIS_CACHE_GRAPH);
    return aegis_file_write_atomic(path, bytes, size, err);
}

/* ---- seal and publication ---- */

static uint64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

aegis_status
aegis_cache_seal(const char *folder, const char *model_hash, bool at_load, aegis_error *err)
{
    char graph[1400], weights[1400], seal[1400], text[700];
    char graph_hash[AEGIS_SHA256_HEX_BYTES], weights_hash[AEGIS_SHA256_HEX_BYTES];
    join(graph, sizeof graph, folder, AEGIS_CACHE_GRAPH);
    join(weights, sizeof weights, folder, AEGIS_CACHE_WEIGHTS);
    join(seal, sizeof seal, folder, AEGIS_CACHE_SEAL);
    aegis_status status = aegis_sha256_file(graph, graph_hash, err);
    if (status == AEGIS_OK) {
        status = aegis_sha256_file(weights, weights_hash, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    int length =
        snprintf(text, sizeof text,
                 "{\n \"schema_version\": 1,\n \"model_sha256\": \"%s\",\n \"at_load\": %s,\n"
                 " \"graph_bytes\": %" PRIu64 ",\n \"graph_sha256\": \"%s\",\n"
                 " \"weights_bytes\": %" PRIu64 ",\n \"weights_sha256\": \"%s\"\n}\n",
                 model_hash, at_load ? "true" : "false", size_of(graph), graph_hash,
                 size_of(weights), weights_hash);
    return aegis_file_write_atomic(seal, text, (size_t)length, err);
}

aegis_status aegis_cache_publish(const char *temporary, const char *folder, aegis_error *err)
{
    if (rename(temporary, folder) == 0) {
        char parent[1400];
        snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(folder, '/') - folder), folder);
        int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            fsync(fd);
            close(fd);
        }
        return AEGIS_OK;
    }
    return errno == ENOTEMPTY || errno == EEXIST ? AEGIS_OK : io_error("publish", folder, err);
}

void aegis_cache_remove(const char *folder)
{
    static const char *const files[] = {AEGIS_CACHE_GRAPH, AEGIS_CACHE_WEIGHTS, AEGIS_CACHE_SEAL,
                                        "optimised.onnx", "optimised.data"};
    char path[1400];
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(files); i++) {
        join(path, sizeof path, folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* ---- reading it back ---- */

aegis_status aegis_cache_damaged(const char *folder, const char *what, aegis_error *err)
{
    return aegis_error_set(
        err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
        "the compiled model %s is damaged: %s; remove the folder, it will be made anew", folder,
        what);
}

static aegis_status read_seal(const char *folder, aegis_ort_compiled *compiled, aegis_error *err)
{
    char path[1400];
    join(path, sizeof path, folder, AEGIS_CACHE_SEAL);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    const char *model = json_string_value(json_object_get(root, "model_sha256"));
    const char *graph = json_string_value(json_object_get(root, "graph_sha256"));
    const char *weights = json_string_value(json_object_get(root, "weights_sha256"));
    aegis_status status = AEGIS_OK;
    if (model == NULL || graph == NULL || weights == NULL) {
        status = aegis_cache_damaged(folder, "its " AEGIS_CACHE_SEAL " cannot be read", err);
    } else if (strcmp(model, compiled->hash) != 0) {
        status = aegis_cache_damaged(folder, "it was made from another model", err);
    } else {
        snprintf(compiled->graph_hash, sizeof compiled->graph_hash, "%s", graph);
        snprintf(compiled->weights_hash, sizeof compiled->weights_hash, "%s", weights);
        compiled->at_load = json_is_true(json_object_get(root, "at_load"));
        compiled->graph_bytes = (uint64_t)json_integer_value(json_object_get(root, "graph_bytes"));
        compiled->weights_bytes =
            (uint64_t)json_integer_value(json_object_get(root, "weights_bytes"));
    }
    json_decref(root);
    return status;
}

/* All but the name. */
static bool
read_weight(const aegis_onnx_external *from, uint64_t weights_bytes, aegis_ort_weight *ret_weight)
{
    if (from->dim_count > AEGIS_MAX_RANK || strcmp(from->location, AEGIS_CACHE_WEIGHTS) != 0 ||
        from->offset % ALIGNMENT != 0 || from->offset > weights_bytes ||
        from->length > weights_bytes - from->offset) {
        return false;
    }
    *ret_weight = (aegis_ort_weight){.onnx_type = from->onnx_type,
                                     .rank = from->dim_count,
                                     .offset = from->offset,
                                     .length = from->length};
    if (from->dim_count > 0) {
        memcpy(ret_weight->dims, from->dims, from->dim_count * sizeof from->dims[0]);
    }
    return true;
}

static aegis_status read_weights(const char *folder,
                                 const aegis_onnx_graph *graph,
                                 aegis_ort_compiled *compiled,
                                 aegis_error *err)
{
    aegis_onnx_external *externals = NULL;
    size_t count = 0;
    bool ambiguous = false;
    aegis_status status = aegis_onnx_graph_externals(graph, &externals, &count, &ambiguous, err);
    if (status != AEGIS_OK) {
        return status;
    }
    compiled->weights =
        aegis_allocate_zeroed(&compiled->allocator, count + 1, sizeof *compiled->weights);
    compiled->weight_count = compiled->weights == NULL ? 0 : count;
    if (compiled->weights == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for weights");
    }
    for (size_t i = 0; status == AEGIS_OK && i < count; i++) {
        if (!read_weight(&externals[i], compiled->weights_bytes, &compiled->weights[i])) {
            status = aegis_cache_damaged(folder, "an initialiser lies outside of its weights", err);
            break;
        }
        compiled->weights[i].name = aegis_copy_text(&compiled->allocator, externals[i].name);
        if (compiled->weights[i].name == NULL) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                     "no memory for weights");
        }
    }
    aegis_deallocate(&compiled->allocator, externals, count + 1, sizeof *externals);
    return status;
}

static aegis_status
read_outputs(const aegis_onnx_graph *graph, aegis_ort_compiled *compiled, aegis_error *err)
{
    aegis_surface_declaration *declared = NULL;
    size_t count = 0;
    aegis_status status = aegis_onnx_graph_declarations(graph, false, &declared, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    compiled->outputs =
        aegis_allocate_zeroed(&compiled->allocator, count + 1, sizeof *compiled->outputs);
    compiled->output_count = compiled->outputs == NULL ? 0 : count;
    bool whole = compiled->outputs != NULL;
    for (size_t i = 0; whole && i < count; i++) {
        compiled->outputs[i].name = aegis_copy_text(&compiled->allocator, declared[i].name);
        compiled->outputs[i].element = declared[i].element;
        compiled->outputs[i].rank = declared[i].rank;
        memcpy(compiled->outputs[i].shape, declared[i].shape, sizeof compiled->outputs[i].shape);
        whole = compiled->outputs[i].name != NULL;
    }
    aegis_deallocate(&compiled->allocator, declared, count + 1, sizeof *declared);
    return whole ? AEGIS_OK
                 : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory for outputs");
}

aegis_status aegis_cache_open(const char *folder, aegis_ort_compiled *compiled, aegis_error *err)
{
    char found[AEGIS_SHA256_HEX_BYTES];
    aegis_onnx_graph *graph = NULL;
    char *bytes = NULL;
    size_t size = 0;
    snprintf(compiled->folder, sizeof compiled->folder, "%s", folder);
    join(compiled->graph_path, sizeof compiled->graph_path, folder, AEGIS_CACHE_GRAPH);
    join(compiled->weights_path, sizeof compiled->weights_path, folder, AEGIS_CACHE_WEIGHTS);
    aegis_status status = read_seal(folder, compiled, err);
    if (status == AEGIS_OK && size_of(compiled->weights_path) != compiled->weights_bytes) {
        status = aegis_cache_damaged(folder, AEGIS_CACHE_WEIGHTS " has another size", err);
    }
    if (status == AEGIS_OK) {
        status = aegis_file_read(compiled->graph_path, LARGEST_GRAPH, &compiled->allocator, &bytes,
                                 &size, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_bytes(bytes, size, found, err);
    }
    if (status == AEGIS_OK && strcmp(found, compiled->graph_hash) != 0) {
        status = aegis_cache_damaged(folder, AEGIS_CACHE_GRAPH " has another hash", err);
    }
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_parse(bytes, size, compiled->graph_path, &compiled->allocator,
                                        &graph, err);
    }
    aegis_file_free(&compiled->allocator, bytes, size);
    if (status == AEGIS_OK && !compiled->at_load) {
        status = read_weights(folder, graph, compiled, err);
    }
    if (status == AEGIS_OK) {
        status = read_outputs(graph, compiled, err);
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}
