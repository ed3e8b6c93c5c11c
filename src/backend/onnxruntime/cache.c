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

typedef struct packing {
    aegis_onnx_graph *graph;
    const aegis_onnx_external *externals;
    size_t count;
    const unsigned char *data; /* of the optimised model */
    uint64_t data_size;
    int out;
    const char *out_path;
    uint64_t offset;
    json_t *chunks; /* filled */
    aegis_sha256 hash;
} packing;

/* Initialisers of at least this many bytes are chunks of their own. Below, what sharing could save
 * is less than a page and its place in the plan costs more than it gains. */
#define SMALLEST_CHUNK 4096u

/* Copies one range to the end of `out` and of the chunk, and points the graph there. */
static aegis_status copy_range(packing *p, size_t index, aegis_error *err)
{
    static const unsigned char zeros[ALIGNMENT];
    const aegis_onnx_external *one = &p->externals[index];
    if (one->offset > p->data_size || one->length > p->data_size - one->offset) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_BUILD,
                               "initialiser '%s' lies outside of the compiled data", one->name);
    }
    uint64_t padding = aegis_align_up(one->length, ALIGNMENT) - one->length;
    aegis_status status =
        aegis_onnx_graph_move_external(p->graph, index, AEGIS_CACHE_WEIGHTS, p->offset, err);
    if (status == AEGIS_OK) {
        status = aegis_sha256_add(&p->hash, p->data + one->offset, one->length, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_add(&p->hash, zeros, padding, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (!write_fully(p->out, p->data + one->offset, one->length) ||
        !write_fully(p->out, zeros, padding)) {
        return io_error("write", p->out_path, err);
    }
    p->offset += one->length + padding;
    return AEGIS_OK;
}

/* A chunk of one initialiser, or (`only` is SIZE_MAX) of all small ones. */
static aegis_status write_chunk(packing *p, size_t only, aegis_error *err)
{
    char hash[AEGIS_SHA256_HEX_BYTES];
    uint64_t start = p->offset;
    aegis_status status = aegis_sha256_start(&p->hash, err);
    for (size_t i = 0; status == AEGIS_OK && i < p->count; i++) {
        bool small = p->externals[i].length < SMALLEST_CHUNK;
        if (only == SIZE_MAX ? small : i == only) {
            status = copy_range(p, i, err);
        }
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_finish(&p->hash, hash, err);
    }
    aegis_sha256_end(&p->hash);
    if (status != AEGIS_OK || p->offset == start) {
        return status;
    }
    json_t *chunk =
        json_pack("{s:I, s:s}", "bytes", (json_int_t)(p->offset - start), "sha256", hash);
    return json_array_append_new(p->chunks, chunk) == 0
               ? AEGIS_OK
               : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory to pack weights");
}

static aegis_status copy_ranges(packing *p, aegis_error *err)
{
    aegis_status status = write_chunk(p, SIZE_MAX, err);
    for (size_t i = 0; status == AEGIS_OK && i < p->count; i++) {
        if (p->externals[i].length >= SMALLEST_CHUNK) {
            status = write_chunk(p, i, err);
        }
    }
    if (status != AEGIS_OK) {
        return status;
    }
    return fsync(p->out) == 0 ? AEGIS_OK : io_error("sync", p->out_path, err);
}

static aegis_status pack_weights(const char *folder,
                                 aegis_onnx_graph *graph,
                                 const aegis_onnx_external *externals,
                                 size_t count,
                                 json_t *chunks,
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
        packing p = {.graph = graph,
                     .externals = externals,
                     .count = count,
                     .data = data,
                     .data_size = (uint64_t)info.st_size,
                     .out = out,
                     .out_path = to,
                     .chunks = chunks};
        status = copy_ranges(&p, err);
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
                              json_t **ret_chunks,
                              aegis_error *err)
{
    char path[1400];
    json_t *chunks = json_array();
    aegis_onnx_graph *graph = NULL;
    aegis_onnx_external *externals = NULL;
    size_t count = 0, size = 0;
    bool ambiguous = false;
    void *bytes = NULL;
    join(path, sizeof path, folder, "optimised.onnx");
    aegis_status status = chunks != NULL
                              ? parse_file(path, allocator, &graph, err)
                              : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                                "no memory to pack weights");
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_externals(graph, &externals, &count, &ambiguous, err);
    }
    if (status == AEGIS_OK && !ambiguous) {
        status = pack_weights(folder, graph, externals, count, chunks, err);
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
        *ret_chunks = chunks;
    } else {
        json_decref(chunks);
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

aegis_status aegis_cache_seal(
    const char *folder, const char *model_hash, bool at_load, json_t *chunks, aegis_error *err)
{
    char graph[1400], weights[1400], seal[1400], graph_hash[AEGIS_SHA256_HEX_BYTES];
    join(graph, sizeof graph, folder, AEGIS_CACHE_GRAPH);
    join(weights, sizeof weights, folder, AEGIS_CACHE_WEIGHTS);
    join(seal, sizeof seal, folder, AEGIS_CACHE_SEAL);
    aegis_status status = aegis_sha256_file(graph, graph_hash, err);
    if (status != AEGIS_OK) {
        return status;
    }
    json_t *root = json_pack("{s:i, s:s, s:b, s:I, s:s, s:I, s:O}", "schema_version", 2,
                             "model_sha256", model_hash, "at_load", at_load, "graph_bytes",
                             (json_int_t)size_of(graph), "graph_sha256", graph_hash,
                             "weights_bytes", (json_int_t)size_of(weights), "weights", chunks);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    status = text == NULL ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                            "no memory to seal a compiled model")
                          : aegis_file_write_atomic(seal, text, strlen(text), err);
    free(text);
    json_decref(root);
    return status;
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

/* Adds the bytes of chunks that differ from all before them. */
static void count_different(aegis_ort_compiled *compiled)
{
    for (size_t i = 0; i < compiled->chunk_count; i++) {
        const aegis_ort_chunk *one = &compiled->chunks[i];
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) {
            seen = memcmp(compiled->chunks[k].content, one->content, sizeof one->content) == 0;
        }
        compiled->different_bytes += seen ? 0 : one->length;
    }
}

static aegis_status
read_chunks(const char *folder, json_t *list, aegis_ort_compiled *compiled, aegis_error *err)
{
    size_t count = json_array_size(list);
    uint64_t offset = 0;
    bool whole = json_is_array(list);
    compiled->chunks =
        aegis_allocate_zeroed(&compiled->allocator, count + 1, sizeof *compiled->chunks);
    compiled->chunk_count = compiled->chunks == NULL ? 0 : count;
    if (compiled->chunks == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for weights");
    }
    for (size_t i = 0; whole && i < count; i++) {
        json_t *entry = json_array_get(list, i);
        json_int_t bytes = json_integer_value(json_object_get(entry, "bytes"));
        const char *hash = json_string_value(json_object_get(entry, "sha256"));
        aegis_ort_chunk *one = &compiled->chunks[i];
        whole = hash != NULL && aegis_sha256_parse(hash, one->content) && bytes > 0 &&
                bytes % ALIGNMENT == 0 && (uint64_t)bytes <= compiled->weights_bytes - offset;
        if (whole) {
            snprintf(one->hash, sizeof one->hash, "%s", hash);
            one->offset = offset;
            one->length = (uint64_t)bytes;
            offset += one->length;
        }
    }
    if (!whole || offset != compiled->weights_bytes) {
        return aegis_cache_damaged(folder, "its " AEGIS_CACHE_SEAL " does not cover its weights",
                                   err);
    }
    count_different(compiled);
    return AEGIS_OK;
}

static aegis_status read_seal(const char *folder, aegis_ort_compiled *compiled, aegis_error *err)
{
    char path[1400];
    join(path, sizeof path, folder, AEGIS_CACHE_SEAL);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    const char *model = json_string_value(json_object_get(root, "model_sha256"));
    const char *graph = json_string_value(json_object_get(root, "graph_sha256"));
    json_int_t weights_bytes = json_integer_value(json_object_get(root, "weights_bytes"));
    aegis_status status = AEGIS_OK;
    if (model == NULL || graph == NULL || weights_bytes < 0) {
        status = aegis_cache_damaged(folder, "its " AEGIS_CACHE_SEAL " cannot be read", err);
    } else if (strcmp(model, compiled->hash) != 0) {
        status = aegis_cache_damaged(folder, "it was made from another model", err);
    } else {
        snprintf(compiled->graph_hash, sizeof compiled->graph_hash, "%s", graph);
        compiled->at_load = json_is_true(json_object_get(root, "at_load"));
        compiled->graph_bytes = (uint64_t)json_integer_value(json_object_get(root, "graph_bytes"));
        compiled->weights_bytes = (uint64_t)weights_bytes;
        status = read_chunks(folder, json_object_get(root, "weights"), compiled, err);
    }
    json_decref(root);
    return status;
}

/* The chunk that holds a range, or chunk_count. They ascend. */
static size_t find_chunk(const aegis_ort_compiled *compiled, uint64_t offset, uint64_t length)
{
    size_t low = 0, high = compiled->chunk_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const aegis_ort_chunk *one = &compiled->chunks[middle];
        if (one->offset + one->length <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < compiled->chunk_count) {
        const aegis_ort_chunk *one = &compiled->chunks[low];
        if (offset < one->offset || length > one->length - (offset - one->offset)) {
            return compiled->chunk_count;
        }
    }
    return low;
}

/* All but the name. */
static bool read_weight(const aegis_onnx_external *from,
                        const aegis_ort_compiled *compiled,
                        aegis_ort_weight *ret_weight)
{
    size_t chunk = find_chunk(compiled, from->offset, from->length);
    if (from->dim_count > AEGIS_MAX_RANK || strcmp(from->location, AEGIS_CACHE_WEIGHTS) != 0 ||
        from->offset % ALIGNMENT != 0 || chunk == compiled->chunk_count) {
        return false;
    }
    *ret_weight = (aegis_ort_weight){.onnx_type = from->onnx_type,
                                     .rank = from->dim_count,
                                     .offset = from->offset,
                                     .length = from->length,
                                     .chunk = (uint32_t)chunk};
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
        if (!read_weight(&externals[i], compiled, &compiled->weights[i])) {
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
    compiled->control_flow = status == AEGIS_OK && aegis_onnx_graph_has_control_flow(graph);
    if (status == AEGIS_OK && !compiled->at_load) {
        status = read_weights(folder, graph, compiled, err);
    }
    if (status == AEGIS_OK) {
        status = read_outputs(graph, compiled, err);
    }
    aegis_onnx_graph_destroy(graph);
    return status;
}
