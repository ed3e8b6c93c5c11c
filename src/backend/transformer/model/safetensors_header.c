/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/key_set.h"
#include "backend/transformer/model/safetensors_internal.h"
#include "base/base.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPONENT "transformer.safetensors"
#define CURE "fetch or convert the file again"
#define LENGTH_BYTES 8

/* Element types of the format whose elements are whole bytes. */
static const struct {
    char name[AEGIS_SAFETENSORS_DTYPE_BYTES];
    aegis_dtype dtype;
    uint64_t bytes;
} dtypes[] = {
    {"F32", AEGIS_DTYPE_F32, 4},       {"F16", AEGIS_DTYPE_F16, 2},
    {"BF16", AEGIS_DTYPE_BF16, 2},     {"I8", AEGIS_DTYPE_I8, 1},
    {"BOOL", AEGIS_DTYPE_OTHER, 1},    {"U8", AEGIS_DTYPE_OTHER, 1},
    {"F8_E4M3", AEGIS_DTYPE_OTHER, 1}, {"F8_E5M2", AEGIS_DTYPE_OTHER, 1},
    {"F8_E8M0", AEGIS_DTYPE_OTHER, 1}, {"I16", AEGIS_DTYPE_OTHER, 2},
    {"U16", AEGIS_DTYPE_OTHER, 2},     {"I32", AEGIS_DTYPE_OTHER, 4},
    {"U32", AEGIS_DTYPE_OTHER, 4},     {"F64", AEGIS_DTYPE_OTHER, 8},
    {"I64", AEGIS_DTYPE_OTHER, 8},     {"U64", AEGIS_DTYPE_OTHER, 8},
    {"C64", AEGIS_DTYPE_OTHER, 8},
};

/* What an entry has said so far. */
typedef struct entry {
    aegis_tensor_source source;
    uint64_t element_bytes;
    uint64_t begin, end; /* behind the header */
    bool has_dtype, has_shape, has_offsets;
} entry;

static aegis_status read_dtype(aegis_json_pull *pull, entry *tensor, aegis_error *err)
{
    aegis_status status = aegis_json_pull_string(pull, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(dtypes); i++) {
        if (strcmp(pull->text, dtypes[i].name) == 0) {
            memcpy(tensor->source.dtype_name, dtypes[i].name, sizeof dtypes[i].name);
            tensor->source.dtype = dtypes[i].dtype;
            tensor->element_bytes = dtypes[i].bytes;
            return AEGIS_OK;
        }
    }
    return aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                "tensor \"%.120s\": dtype \"%.16s\" is not supported; convert the "
                                "model to F32, F16 or BF16",
                                tensor->source.name, pull->text);
}

static aegis_status read_shape(aegis_json_pull *pull, entry *tensor, aegis_error *err)
{
    bool more;
    aegis_status status = aegis_json_pull_array(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_item(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        uint64_t extent;
        status = aegis_json_pull_unsigned(pull, &extent, err);
        if (status == AEGIS_OK && tensor->source.rank == AEGIS_SAFETENSORS_MAX_RANK) {
            status = aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                          "tensor \"%.120s\" has more than %d dimensions",
                                          tensor->source.name, AEGIS_SAFETENSORS_MAX_RANK);
        }
        if (status == AEGIS_OK) {
            tensor->source.shape[tensor->source.rank++] = extent;
        }
    }
    return status;
}

static aegis_status read_offsets(aegis_json_pull *pull, entry *tensor, aegis_error *err)
{
    uint64_t offsets[2];
    bool more = true;
    aegis_status status = aegis_json_pull_array(pull, err);
    for (int i = 0; i < 2 && status == AEGIS_OK; i++) {
        status = aegis_json_pull_item(pull, &more, err);
        if (status == AEGIS_OK && !more) {
            status = aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                          "tensor \"%.120s\": data_offsets are two numbers, begin "
                                          "and end",
                                          tensor->source.name);
        }
        if (status == AEGIS_OK) {
            status = aegis_json_pull_unsigned(pull, &offsets[i], err);
        }
    }
    if (status == AEGIS_OK) {
        status = aegis_json_pull_item(pull, &more, err);
    }
    if (status == AEGIS_OK && (more || offsets[0] > offsets[1])) {
        status = aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                      more ? "tensor \"%.120s\": data_offsets has more than two "
                                             "numbers"
                                           : "tensor \"%.120s\": data_offsets end before they "
                                             "begin; " CURE,
                                      tensor->source.name);
    }
    if (status == AEGIS_OK) {
        tensor->begin = offsets[0];
        tensor->end = offsets[1];
    }
    return status;
}

/* Marks a member as seen; it may come once. */
static aegis_status once(aegis_json_pull *pull, const char *tensor, bool *seen, aegis_error *err)
{
    if (*seen) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "tensor \"%.120s\": the key \"%.20s\" comes twice", tensor,
                                    pull->text);
    }
    *seen = true;
    return AEGIS_OK;
}

static aegis_status read_member(aegis_json_pull *pull, entry *tensor, aegis_error *err)
{
    aegis_status status;
    if (strcmp(pull->text, "dtype") == 0) {
        status = once(pull, tensor->source.name, &tensor->has_dtype, err);
        return status == AEGIS_OK ? read_dtype(pull, tensor, err) : status;
    }
    if (strcmp(pull->text, "shape") == 0) {
        status = once(pull, tensor->source.name, &tensor->has_shape, err);
        return status == AEGIS_OK ? read_shape(pull, tensor, err) : status;
    }
    if (strcmp(pull->text, "data_offsets") == 0) {
        status = once(pull, tensor->source.name, &tensor->has_offsets, err);
        return status == AEGIS_OK ? read_offsets(pull, tensor, err) : status;
    }
    return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                "tensor \"%.120s\": unknown key \"%.80s\"; there are dtype, shape "
                                "and data_offsets",
                                tensor->source.name, pull->text);
}

/* product(shape) * element size = end - begin, exactly. */
static aegis_status check_size(const aegis_json_pull *pull, entry *tensor, aegis_error *err)
{
    uint64_t bytes = tensor->element_bytes;
    bool overflow = false;
    for (uint32_t i = 0; i < tensor->source.rank; i++) {
        overflow = __builtin_mul_overflow(bytes, tensor->source.shape[i], &bytes) || overflow;
    }
    if (overflow) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "tensor \"%.120s\": its shape has more than 2^64 bytes; " CURE,
                                    tensor->source.name);
    }
    if (bytes != tensor->end - tensor->begin) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "tensor \"%.120s\": data_offsets give %" PRIu64
                                    " bytes, its shape as %s needs %" PRIu64 "; " CURE,
                                    tensor->source.name, tensor->end - tensor->begin,
                                    tensor->source.dtype_name, bytes);
    }
    tensor->source.bytes = bytes;
    return AEGIS_OK;
}

static aegis_status read_entry(aegis_json_pull *pull, entry *tensor, aegis_error *err)
{
    bool more;
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_member(pull, tensor, err);
    }
    if (status == AEGIS_OK && !(tensor->has_dtype && tensor->has_shape && tensor->has_offsets)) {
        status = aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "tensor \"%.120s\" has no %s",
                                      tensor->source.name,
                                      !tensor->has_dtype   ? "dtype"
                                      : !tensor->has_shape ? "shape"
                                                           : "data_offsets");
    }
    return status == AEGIS_OK ? check_size(pull, tensor, err) : status;
}

/* "__metadata__": texts by text. */
static aegis_status
read_metadata(aegis_json_pull *pull, const aegis_allocator *allocator, aegis_error *err)
{
    bool more;
    aegis_key_set keys;
    aegis_key_set_init(&keys, allocator);
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = aegis_key_set_add(&keys, pull, err);
        if (status == AEGIS_OK) {
            status = aegis_json_pull_string(pull, err);
        }
    }
    aegis_key_set_finish(&keys);
    return status;
}

static aegis_status
add_tensor(aegis_tensor_list *list, const aegis_tensor_source *source, aegis_error *err)
{
    if (list->count == AEGIS_SAFETENSORS_MAX_TENSORS) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "the model has more than %u tensors", AEGIS_SAFETENSORS_MAX_TENSORS);
    }
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        aegis_tensor_source *items =
            aegis_allocate_zeroed(&list->allocator, capacity, sizeof *items);
        if (items == NULL) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory for the descriptors of %u tensors", capacity);
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * sizeof *items);
        }
        aegis_deallocate(&list->allocator, list->items, list->capacity, sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *source;
    return AEGIS_OK;
}

static uint32_t alignment_of(uint64_t offset)
{
    uint64_t bit = offset & (~offset + 1);
    return bit == 0 || bit > 4096 ? 4096 : (uint32_t)bit;
}

/* One member of the header. */
static aegis_status
read_top(aegis_safetensors *tensors, uint32_t index, aegis_json_pull *pull, aegis_error *err)
{
    const aegis_safetensors_file *file = &tensors->files[index];
    entry tensor = {.source.file = index};
    if (strlen(pull->text) != pull->text_size || pull->text_size == 0) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "a tensor's name is empty or holds a NUL");
    }
    tensor.source.name = aegis_bump_text(&tensors->bump, pull->text, pull->text_size);
    if (tensor.source.name == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err, "no memory for a name");
    }
    aegis_status status = read_entry(pull, &tensor, err);
    uint64_t data_bytes = file->size_bytes - file->data_offset;
    if (status == AEGIS_OK && tensor.end > data_bytes) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "tensor \"%.120s\" ends at byte %" PRIu64
                                    " of the data, which has %" PRIu64
                                    ": the file is truncated; " CURE,
                                    tensor.source.name, tensor.end, data_bytes);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    tensor.source.offset = file->data_offset + tensor.begin;
    tensor.source.alignment = alignment_of(tensor.source.offset);
    return add_tensor(&tensors->list, &tensor.source, err);
}

static aegis_status
read_json(aegis_safetensors *tensors, uint32_t index, aegis_json_pull *pull, aegis_error *err)
{
    bool more, has_metadata = false;
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        if (strcmp(pull->text, "__metadata__") == 0) {
            status = once(pull, "__metadata__", &has_metadata, err);
            if (status == AEGIS_OK) {
                status = read_metadata(pull, &tensors->allocator, err);
            }
        } else {
            status = read_top(tensors, index, pull, err);
        }
    }
    return status == AEGIS_OK ? aegis_json_pull_end(pull, err) : status;
}

static int by_offset(const void *a, const void *b)
{
    const aegis_tensor_source *left = a, *right = b;
    if (left->offset != right->offset) {
        return left->offset < right->offset ? -1 : 1;
    }
    return left->bytes < right->bytes ? -1 : left->bytes > right->bytes;
}

/* The tensors of one file cover its data: no overlap, no hole, nothing behind. */
static aegis_status check_cover(const aegis_safetensors_file *file,
                                aegis_tensor_source *items,
                                uint32_t count,
                                aegis_error *err)
{
    uint64_t covered = file->data_offset;
    const char *before = "the header";
    if (items != NULL && count > 0) {
        qsort(items, count, sizeof *items, by_offset);
    }
    for (uint32_t i = 0; items != NULL && i < count; i++) {
        if (items[i].offset < covered) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                   "%s: tensor \"%.80s\" overlaps \"%.80s\" (it begins at byte "
                                   "%" PRIu64 ", the other ends at %" PRIu64 "); " CURE,
                                   file->path, items[i].name, before, items[i].offset, covered);
        }
        if (items[i].offset > covered) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                   "%s: a hole of %" PRIu64 " bytes lies between %.80s and tensor "
                                   "\"%.80s\"; " CURE,
                                   file->path, items[i].offset - covered, before, items[i].name);
        }
        covered = items[i].offset + items[i].bytes;
        before = items[i].name;
    }
    if (covered != file->size_bytes) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s: %" PRIu64 " bytes behind %.80s belong to no tensor; " CURE,
                               file->path, file->size_bytes - covered, before);
    }
    return AEGIS_OK;
}

static aegis_status read_length(const aegis_safetensors_file *file, uint64_t *ret, aegis_error *err)
{
    unsigned char bytes[LENGTH_BYTES];
    uint64_t length = 0;
    ssize_t got;
    if (file->size_bytes < LENGTH_BYTES) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s has %" PRIu64
                               " bytes, too few for the length of a header: it is not a "
                               "SafeTensors file or truncated; " CURE,
                               file->path, file->size_bytes);
    }
    do {
        got = pread(file->fd, bytes, LENGTH_BYTES, 0);
    } while (got < 0 && errno == EINTR);
    if (got != LENGTH_BYTES) {
        int code = got < 0 ? errno : 0;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, code,
                                      "cannot read %s: %s", file->path,
                                      got < 0 ? strerror(code) : "it became shorter");
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    if (length > AEGIS_SAFETENSORS_HEADER_LIMIT || length > file->size_bytes - LENGTH_BYTES) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
            "%s: its header claims %" PRIu64 " bytes; the file has %" PRIu64
            " and the limit is %" PRIu64 ": it is not a SafeTensors file or truncated; " CURE,
            file->path, length, file->size_bytes, AEGIS_SAFETENSORS_HEADER_LIMIT);
    }
    *ret = length;
    return AEGIS_OK;
}

aegis_status
aegis_safetensors_read_header(aegis_safetensors *tensors, uint32_t index, aegis_error *err)
{
    aegis_safetensors_file *file = &tensors->files[index];
    uint32_t first = tensors->list.count;
    uint64_t length = 0;
    aegis_json_pull pull;
    aegis_status status = read_length(file, &length, err);
    if (status != AEGIS_OK) {
        return status;
    }
    file->data_offset = LENGTH_BYTES + length;
    status = aegis_json_pull_init_file(&pull, file->fd, LENGTH_BYTES, length, file->path,
                                       &tensors->allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = read_json(tensors, index, &pull, err);
    aegis_json_pull_finish(&pull);
    if (status != AEGIS_OK) {
        return status;
    }
    return check_cover(file, tensors->list.items == NULL ? NULL : &tensors->list.items[first],
                       tensors->list.count - first, err);
}
