/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_PAGING_H
#define AEGIS_BACKEND_ORT_PAGING_H

/*
 * A model whose weights are read in before a run that does not find them there. Weights and packed
 * copies form one image: what the session reads, at fixed distances from its base. The session is
 * made once, over the image in its region; from then on the same bytes are brought back to the same
 * addresses. In trial mode the region is the model's own and is read anew before every run, which
 * is the worst that can happen once the model is placed: so the profile bounds it.
 */

#include "backend/onnxruntime/weights.h"
#include "backend/page_file.h"

#define AEGIS_ORT_NOT_PAGED UINT64_MAX

/* A block that stays from loading, and where it lies in the image. */
typedef struct aegis_ort_kept {
    uint64_t at, size_bytes;
} aegis_ort_kept;

typedef struct aegis_ort_paging {
    bool wanted;
    uint64_t size_bytes;  /* of the image, whole pages; known once the model is recorded */
    uint64_t chunk_bytes; /* of its first part; what stays from loading follows, in whole pages */
    uint64_t *chunk_at;   /* per chunk: where it lies in the image, or NOT_PAGED */
    size_t chunk_count;
    aegis_ort_kept *kept; /* what stays from loading, largest first */
    size_t kept_count, kept_room;
    aegis_page_file file;
    unsigned char *region; /* where the image lies when it is there; NULL: no session over it yet */
    const void **resident; /* whose image lies in the region; NULL: nobody's for sure */
    const void *owner;     /* what *resident is when it is ours */
    void *trial;           /* pages of the trial region */
    uint64_t last_bytes;   /* read before the last run */
} aegis_ort_paging;

void aegis_ort_paging_init(aegis_ort_paging *paging, bool wanted, const void *owner);
void aegis_ort_paging_finish(aegis_ort_paging *paging, const aegis_allocator *allocator);

/* Lays the image out: chunks that runs read, equal ones once, then what stays from loading. */
aegis_status aegis_ort_paging_lay_out(aegis_ort_paging *paging,
                                      const aegis_ort_compiled *compiled,
                                      const bool *unread,
                                      const aegis_tape *loading,
                                      const aegis_allocator *allocator,
                                      aegis_error *err);
/* The image's chunks into `region`, checked; NULL in `ret_chunks` for those that are not in it. */
aegis_status aegis_ort_paging_fill(aegis_ort_paging *paging,
                                   const aegis_ort_compiled *compiled,
                                   unsigned char *region,
                                   void **ret_chunks,
                                   aegis_error *err);
/* Places of what stays from loading in `region`: `kept_count` of them. */
void aegis_ort_paging_places(const aegis_ort_paging *paging,
                             unsigned char *region,
                             aegis_ort_place *ret_places);
/* After the session was made over `region`: its file is found or written, and is what later runs
 * are read from. */
aegis_status aegis_ort_paging_keep(aegis_ort_paging *paging,
                                   const aegis_ort_compiled *compiled,
                                   unsigned char *region,
                                   const void **resident,
                                   const aegis_allocator *allocator,
                                   aegis_error *err);
/* Before a run: nothing when the image is there. What aegis_page_file_read returns. */
aegis_status aegis_ort_paging_in(aegis_ort_paging *paging,
                                 bool (*ended)(void *argument),
                                 void *argument,
                                 aegis_error *err);

#endif
