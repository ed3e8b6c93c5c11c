/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/packed.h"

#include <inttypes.h>
#include <string.h>

#define COMPONENT "backend.packed"

const aegis_tape_allocation *
aegis_ort_packed_block(const aegis_tape *loading, uint64_t size_bytes, size_t nth)
{
    for (size_t i = 0; i < loading->allocation_count; i++) {
        const aegis_tape_allocation *one = &loading->allocations[i];
        if (one->size_bytes == size_bytes && one->died < 0 && nth-- == 0) {
            return one;
        }
    }
    return NULL;
}

bool aegis_ort_packed_is_told(const aegis_tape *loading, uint64_t size_bytes)
{
    if (size_bytes < AEGIS_ORT_PACKED_LEAST_BYTES) {
        return false;
    }
    for (size_t i = 0; i < loading->allocation_count; i++) {
        const aegis_tape_allocation *one = &loading->allocations[i];
        if (one->size_bytes == size_bytes && (one->died >= 0 || one->at == NULL)) {
            return false;
        }
    }
    return true;
}

aegis_status aegis_ort_packed_identify(const void *bytes,
                                       uint64_t size_bytes,
                                       uint8_t ret_content[AEGIS_CONTENT_BYTES],
                                       aegis_error *err)
{
    char hash[AEGIS_SHA256_HEX_BYTES];
    aegis_status status = aegis_sha256_bytes(bytes, size_bytes, hash, err);
    if (status == AEGIS_OK) {
        (void)aegis_sha256_parse(hash, ret_content);
    }
    return status;
}

static aegis_status
take_one(aegis_ort_residents *residents, const aegis_ort_place *place, aegis_error *err)
{
    uint8_t content[AEGIS_CONTENT_BYTES];
    aegis_status status =
        aegis_ort_packed_identify(place->address, place->size_bytes, content, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (!aegis_ort_residents_hold(residents, place->address, content)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                               "packed %" PRIu64
                               " bytes that differ from what other models read at "
                               "that place: it packs in another order than in its trial; write "
                               "prepack = false for it",
                               place->size_bytes);
    }
    return AEGIS_OK;
}

aegis_status aegis_ort_packed_take(aegis_ort_residents *residents,
                                   const aegis_ort_place *places,
                                   size_t count,
                                   void **ret_taken,
                                   aegis_error *err)
{
    aegis_status status = aegis_ort_residents_reserve(residents, count, err);
    memset((void *)ret_taken, 0, count * sizeof *ret_taken);
    for (size_t i = 0; status == AEGIS_OK && i < count; i++) {
        if (places[i].shared) {
            status = take_one(residents, &places[i], err);
            ret_taken[i] = status == AEGIS_OK ? places[i].address : NULL;
        }
    }
    if (status != AEGIS_OK) {
        aegis_ort_weights_give(residents, ret_taken, count);
        memset((void *)ret_taken, 0, count * sizeof *ret_taken);
    }
    return status;
}

/* A block of the trial session with that content; NULL: there is none. */
static const void *find_origin(const aegis_ort_place *places,
                               size_t count,
                               uint64_t size_bytes,
                               const uint8_t wanted[AEGIS_CONTENT_BYTES])
{
    uint8_t content[AEGIS_CONTENT_BYTES];
    for (size_t i = 0; i < count; i++) {
        const aegis_ort_place *one = &places[i];
        if (one->origin != NULL && one->size_bytes == size_bytes &&
            aegis_ort_packed_identify(one->origin, size_bytes, content, NULL) == AEGIS_OK &&
            memcmp(content, wanted, sizeof content) == 0) {
            return one->origin;
        }
    }
    return NULL;
}

aegis_status aegis_ort_packed_restore(const aegis_ort_residents *residents,
                                      const aegis_ort_place *places,
                                      size_t count,
                                      aegis_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const aegis_ort_place *place = &places[i];
        const uint8_t *content =
            place->shared ? aegis_ort_residents_content(residents, place->address) : NULL;
        if (content == NULL) {
            continue;
        }
        const void *origin = find_origin(places, count, place->size_bytes, content);
        if (origin == NULL) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                                   "%" PRIu64 " bytes of packed copies that other models read were "
                                   "overwritten and could not be put back",
                                   place->size_bytes);
        }
        memcpy(place->address, origin, place->size_bytes);
    }
    return AEGIS_OK;
}
