/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/source.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.source"
#define LARGEST_FILE (UINT64_C(1) << 32)

bool aegis_shape_elements(const int64_t *shape, int rank, uint64_t *ret_elements)
{
    uint64_t elements = 1;
    bool zero = false;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0) {
            return false;
        }
        zero = zero || shape[i] == 0;
        if (shape[i] != 0 && __builtin_mul_overflow(elements, (uint64_t)shape[i], &elements)) {
            return false;
        }
    }
    *ret_elements = zero ? 0 : elements;
    return true;
}

const char *aegis_shape_text(const int64_t *shape, int rank, char *buffer, size_t size)
{
    size_t used = 0;
    buffer[0] = '\0';
    for (int i = 0; i <= rank && used < size; i++) {
        int wrote =
            i == rank ? snprintf(buffer + used, size - used, "%s]", rank == 0 ? "[" : "")
            : shape[i] >= 0
                ? snprintf(buffer + used, size - used, "%s%" PRId64, i == 0 ? "[" : ", ", shape[i])
                : snprintf(buffer + used, size - used, "%s?", i == 0 ? "[" : ", ");
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return buffer;
}

/* IEEE binary16, rounded to nearest even; the exponent's range is checked by the caller. */
static uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {
        return (uint16_t)(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0));
    }
    if (magnitude < 0x38800000u) { /* below the smallest normal half: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(fabsf(value) * 16777216.0f));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    uint32_t half = (rounded - 0x38000000u) >> 13;
    return (uint16_t)(sign | (half > 0x7c00u ? 0x7c00u : half));
}

static uint16_t bfloat_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static bool is_float(aegis_element element)
{
    return element == AEGIS_ELEMENT_F32 || element == AEGIS_ELEMENT_F16 ||
           element == AEGIS_ELEMENT_BF16 || element == AEGIS_ELEMENT_F64;
}

static void store_float(aegis_element element, void *data, uint64_t index, double value)
{
    uint16_t small;
    float single = (float)value;
    if (element == AEGIS_ELEMENT_F64) {
        memcpy((double *)data + index, &value, sizeof value);
    } else if (element == AEGIS_ELEMENT_F32) {
        memcpy((float *)data + index, &single, sizeof single);
    } else {
        small = element == AEGIS_ELEMENT_F16 ? half_of(single) : bfloat_of(single);
        memcpy((uint16_t *)data + index, &small, sizeof small);
    }
}

/* The low bytes of a two's complement number; this project's machines are little-endian. */
static void store_integer(aegis_element element, void *data, uint64_t index, int64_t value)
{
    size_t width = aegis_element_bytes(element);
    memcpy((unsigned char *)data + index * width, &value, width);
}

/* Range of an integer element, the upper end clipped to int64. */
static void integer_range(aegis_element element, int64_t *ret_low, int64_t *ret_high)
{
    size_t bits = 8 * aegis_element_bytes(element);
    bool is_signed = element == AEGIS_ELEMENT_I8 || element == AEGIS_ELEMENT_I16 ||
                     element == AEGIS_ELEMENT_I32 || element == AEGIS_ELEMENT_I64;
    if (element == AEGIS_ELEMENT_BOOL) {
        *ret_low = 0;
        *ret_high = 1;
    } else if (is_signed) {
        *ret_high = INT64_MAX >> (64 - bits);
        *ret_low = -*ret_high - 1;
    } else {
        *ret_low = 0;
        *ret_high = bits == 64 ? INT64_MAX : (int64_t)((UINT64_C(1) << bits) - 1);
    }
}

static aegis_status fill_constant(const aegis_source *source,
                                  const aegis_tensor_info *info,
                                  uint64_t elements,
                                  void *data,
                                  aegis_error *err)
{
    int64_t low, high;
    if (is_float(info->element)) {
        for (uint64_t i = 0; i < elements; i++) {
            store_float(info->element, data, i, source->constant);
        }
        return AEGIS_OK;
    }
    integer_range(info->element, &low, &high);
    /* 2^63 is the first double above INT64_MAX. */
    if (!(source->constant >= (double)low && source->constant <= (double)high) ||
        source->constant >= 9223372036854775808.0 || source->constant != floor(source->constant)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "input '%s' is %s: the constant %g is no value of it", info->name,
                               aegis_element_name(info->element), source->constant);
    }
    for (uint64_t i = 0; i < elements; i++) {
        store_integer(info->element, data, i, (int64_t)source->constant);
    }
    return AEGIS_OK;
}

static aegis_status fill_random(const aegis_source *source,
                                const aegis_tensor_info *info,
                                uint64_t elements,
                                uint64_t seed,
                                void *data,
                                aegis_error *err)
{
    uint64_t state = seed;
    for (const char *letter = info->name; *letter != '\0'; letter++) {
        state = (state ^ (unsigned char)*letter) * UINT64_C(0x100000001b3);
    }
    if (is_float(info->element)) {
        for (uint64_t i = 0; i < elements; i++) {
            /* 24 bits are exact in every float but the halves, which round down to keep below 1. */
            uint64_t bits = info->element == AEGIS_ELEMENT_F16    ? 10
                            : info->element == AEGIS_ELEMENT_BF16 ? 7
                                                                  : 24;
            double unit = (double)(aegis_random_next(&state) >> (64 - bits)) / (double)(1u << bits);
            store_float(info->element, data, i, unit);
        }
        return AEGIS_OK;
    }
    int64_t low, high;
    integer_range(info->element, &low, &high);
    if (source->low > source->high || source->low < low || source->high > high) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "input '%s' is %s: random values from %" PRId64 " to %" PRId64
                               " do not fit; use %" PRId64 " <= low <= high <= %" PRId64,
                               info->name, aegis_element_name(info->element), source->low,
                               source->high, low, high);
    }
    uint64_t span = (uint64_t)source->high - (uint64_t)source->low; /* span + 1 values */
    for (uint64_t i = 0; i < elements; i++) {
        uint64_t draw = aegis_random_next(&state);
        uint64_t offset =
            span == UINT64_MAX ? draw : (uint64_t)(((aegis_u128)draw * (span + 1)) >> 64);
        store_integer(info->element, data, i, (int64_t)((uint64_t)source->low + offset));
    }
    return AEGIS_OK;
}

static aegis_status fill_file(const aegis_source *source,
                              const aegis_tensor_info *info,
                              const aegis_allocator *allocator,
                              void *data,
                              aegis_error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    aegis_npy npy;
    if (source->path == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "the source of input '%s' is a file without a path", info->name);
    }
    aegis_status status =
        aegis_file_read(source->path, LARGEST_FILE, allocator, &bytes, &size, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "source of input '%s'", info->name);
        return status;
    }
    status = aegis_npy_parse(bytes, size, source->path, &npy, err);
    if (status == AEGIS_OK) {
        bool same = npy.element == info->element && npy.rank == info->rank;
        for (int i = 0; same && i < npy.rank; i++) {
            same = npy.shape[i] == info->shape[i];
        }
        if (same) {
            memcpy(data, npy.data, npy.data_bytes);
        } else {
            char file_shape[160], wanted[160];
            status = aegis_error_set(
                err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                "%s holds %s %s, input '%s' is %s %s", source->path,
                aegis_element_name(npy.element),
                aegis_shape_text(npy.shape, npy.rank, file_shape, sizeof file_shape), info->name,
                aegis_element_name(info->element),
                aegis_shape_text(info->shape, info->rank, wanted, sizeof wanted));
        }
    }
    aegis_file_free(allocator, bytes, size);
    return status;
}

aegis_status aegis_source_fill(const aegis_source *source,
                               const aegis_tensor_info *info,
                               uint64_t seed,
                               const aegis_allocator *allocator,
                               void *data,
                               aegis_error *err)
{
    uint64_t elements = info->size_bytes / aegis_element_bytes(info->element);
    switch (source->kind) {
    case AEGIS_SOURCE_ZEROS:
    case AEGIS_SOURCE_EXTERNAL:
        memset(data, 0, info->size_bytes);
        return AEGIS_OK;
    case AEGIS_SOURCE_RANDOM:
        return fill_random(source, info, elements, seed, data, err);
    case AEGIS_SOURCE_CONSTANT:
        return fill_constant(source, info, elements, data, err);
    case AEGIS_SOURCE_FILE:
        return fill_file(source, info, allocator, data, err);
    }
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                           "the source of input '%s' has the unknown kind %d", info->name,
                           (int)source->kind);
}
