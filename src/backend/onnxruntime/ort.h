/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_H
#define AEGIS_BACKEND_ORT_H

/*
 * ONNX Runtime in this process: the library, its one environment, and the router.
 *
 * ONNX Runtime keeps one environment and one allocator registry a process, whoever asks. So there
 * is one process-wide router, reference-counted: the one declared exception to "no global state".
 * All sessions take their tensors from its allocator, which hands each request to the context that
 * the calling thread has entered.
 */

#include "backend/onnxruntime/heap.h"
#include "backend/tape.h"

#include <onnxruntime_c_api.h>

typedef struct aegis_ort {
    const OrtApi *api;
    const char *version; /* static, the library's */
    OrtEnv *env;
    OrtMemoryInfo *memory;        /* plain host memory */
    OrtMemoryInfo *device_memory; /* of a CUDA device; NULL while nobody uses one */
    OrtMemoryInfo *pinned_memory;
} aegis_ort;

/* Loads the library at the first call and adds a reference. RUNTIME_NOT_AVAILABLE lists what was
 * tried. `library` may be NULL. */
aegis_status aegis_ort_acquire(const char *library,
                               const char *consumer,
                               const aegis_ort **ret_ort,
                               aegis_error *err);
void aegis_ort_release(void);
/* Requests for memory of a CUDA device, and for pinned memory, come here too, until as many calls
 * of leave. RUNTIME_NOT_AVAILABLE when the library has no CUDA provider. */
aegis_status aegis_ort_use_cuda(const char *consumer, aegis_error *err);
void aegis_ort_leave_cuda(void);
/* Requests from threads without a context since the process began. */
uint64_t aegis_ort_strays(void);

/* Releases `native` and makes an error of it: "what: ONNX Runtime's text". */
aegis_status aegis_ort_error(const aegis_ort *ort,
                             OrtStatus *native,
                             aegis_place place,
                             aegis_status status,
                             const char *what,
                             aegis_error *err);

/* ---- where requests go ---- */

typedef enum aegis_ort_mode {
    AEGIS_ORT_BLOCKS = 0, /* served by the system; recorded when there is a tape */
    AEGIS_ORT_LOADING,    /* what stays gets a planned place of its size */
    AEGIS_ORT_PLAYING     /* every request as recorded, at planned addresses */
} aegis_ort_mode;

/* Where one block that stays from loading will live. */
typedef struct aegis_ort_place {
    void *address;
    uint64_t size_bytes;
    bool used;
    bool shared;        /* other models may have the same bytes there */
    const void *origin; /* of a shared one: the trial session's block; NULL: there is none */
} aegis_ort_place;

/* One model's view; used by one thread at a time, but for `strays`. */
typedef struct aegis_ort_context {
    aegis_ort_mode mode;
    aegis_tape *tape; /* BLOCKS: records into it, may be NULL */
    bool clears;      /* with a tape: blocks are zeroed and the tape says where they are */
    /* LOADING: planned places of what stays, largest first, those of one size in the order of the
     * recording. The runtime walks tables of small initialisers in an order that differs from
     * session to session, so places are found by size and not by position. */
    struct aegis_ort_place *places;
    size_t place_count;
    bool departed; /* something was asked for that has no place */
    uint64_t asked_bytes;
    /* BLOCKS and LOADING: bytes served by the system */
    uint64_t live_bytes, peak_bytes;
    uint64_t cap_bytes; /* 0: none; passing it calls on_cap once */
    bool capped;
    void (*on_cap)(void *argument);
    void *argument;
    bool crossed; /* a run released what loading had taken */
    /* Of a model on a CUDA device, for which requests above are those on the device: where blocks
     * are, and what serves its requests on the CPU. NULL: the model is on the host. */
    aegis_ort_heap *heap, *host, *pinned;
    uint64_t unserved; /* requests on the CPU that `host` or `pinned` could not serve */
    aegis_player player;
    _Atomic uint64_t strays; /* requests by the session's own pool threads */
    unsigned char empty[128];
} aegis_ort_context;

void aegis_ort_context_init(aegis_ort_context *context, aegis_reserve *reserve);
/* Until leave, requests of the calling thread go to `context`. */
void aegis_ort_enter(aegis_ort_context *context);
void aegis_ort_leave(void);

/* The runtime's log of the calling thread goes to `taker` until it is NULL. */
typedef struct aegis_ort_log_taker {
    void (*line)(void *self, const char *message);
    void *self;
} aegis_ort_log_taker;
void aegis_ort_listen(const aegis_ort_log_taker *taker);

/* Pool threads that ONNX Runtime makes for the session count their requests against `context`. */
OrtStatus *
aegis_ort_own_threads(const aegis_ort *ort, OrtSessionOptions *options, aegis_ort_context *context);

#endif
