/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_TAPE_H
#define AEGIS_BACKEND_TAPE_H

/* Allocation sequences of a runtime: recorded once (tape), then handed planned addresses and
 * checked event by event in constant time (player). Nothing here knows a particular runtime. */

#include "base/base.h"

#include <aegisrt/backend.h>

#include <stdatomic.h>

/* ---- the recording ---- */

typedef struct aegis_tape_allocation {
    uint64_t size_bytes; /* as asked; may be 0 */
    int64_t born, died;  /* event indices; died is -1 while it lives */
    const void *at;      /* where it lies while it lives, if whoever records has said so */
} aegis_tape_allocation;

/* Event e >= 0: allocation e; e < 0: the end of allocation -1 - e. */
typedef struct aegis_tape {
    aegis_allocator allocator;
    aegis_tape_allocation *allocations;
    size_t allocation_count, allocation_capacity;
    int64_t *events;
    size_t event_count, event_capacity;
    uint64_t live_bytes, peak_bytes;
    bool out_of_memory; /* the recording is incomplete */
} aegis_tape;

void aegis_tape_init(aegis_tape *tape, const aegis_allocator *allocator);
void aegis_tape_finish(aegis_tape *tape);
void aegis_tape_clear(aegis_tape *tape);
/* Index of the new allocation. */
size_t aegis_tape_alloc(aegis_tape *tape, uint64_t size_bytes);
void aegis_tape_free(aegis_tape *tape, size_t allocation);
/* Allocations that never ended. */
size_t aegis_tape_survivors(const aegis_tape *tape);
/* OK, or DEPARTURE that names the first event at which the two differ. */
aegis_status
aegis_tape_compare(const aegis_tape *first, const aegis_tape *second, aegis_error *err);
/* Writes a lifetime for each allocation that has a size; events become [born, died). Returns how
 * many. */
size_t aegis_tape_lifetimes(const aegis_tape *tape,
                            aegis_memory_class memory_class,
                            uint32_t segment,
                            aegis_tensor_lifetime *ret_lifetimes);

/* ---- bytes for what was not planned ---- */

/* A last resort shared by all models of a backend: mapped, not touched, never returned to zero
 * while somebody uses it. Any thread. */
typedef struct aegis_reserve {
    unsigned char *base;
    uint64_t size_bytes;
    _Atomic uint64_t state;    /* users in the upper 16 bits, units of 64 bytes taken below */
    _Atomic uint64_t breaches; /* requests past the end, served by the system */
} aegis_reserve;

aegis_status aegis_reserve_init(aegis_reserve *reserve, uint64_t size_bytes, aegis_error *err);
void aegis_reserve_finish(aegis_reserve *reserve);

/* ---- the playback ---- */

typedef enum aegis_player_state {
    AEGIS_PLAYER_IDLE = 0,
    AEGIS_PLAYER_FOLLOWING, /* every event so far was as recorded */
    AEGIS_PLAYER_UNWINDING, /* frees came early: a run that is being ended gives its memory back so
                             */
    AEGIS_PLAYER_DEPARTED
} aegis_player_state;

/* One run at a time, on one thread. Fields up to `on_departure` are set by the owner. */
typedef struct aegis_player {
    const aegis_tape *tape;
    void *const *addresses;            /* one per allocation of the tape */
    void *empty;                       /* what a request of zero bytes gets */
    const unsigned char *planned_base; /* holds all addresses */
    uint64_t planned_bytes;
    unsigned char *spill_base;
    uint64_t spill_bytes;
    aegis_reserve *reserve;
    /* Memory past spill and reserve that is none of the system's (device memory); NULL: it is. */
    void *(*more)(void *self, uint64_t size_bytes);
    void (*less)(void *self, void *pointer);
    void *more_self;
    void (*on_departure)(void *argument); /* called once, from inside the request */
    void *argument;
    int64_t inject_index; /* tests: the allocation that asks for more; -1: none */
    uint64_t inject_bytes;

    aegis_player_state state;
    size_t cursor, next;
    uint64_t spill_used;
    bool reserve_used, breached;
    aegis_model_spill spill;
} aegis_player;

void aegis_player_start(aegis_player *player);
/* Never NULL. */
void *aegis_player_alloc(aegis_player *player, uint64_t size_bytes);
void aegis_player_free(aegis_player *player, void *pointer);
/* True for bytes that need no release: planned, spilled, of the reserve, or empty. */
bool aegis_player_holds(const aegis_player *player, const void *pointer);
/* Judges the run. `completed`: the runtime says that it ran to the end. OK when the sequence was
 * the recorded one, or a prefix of it that did not complete. */
aegis_status aegis_player_end(aegis_player *player, bool completed, aegis_error *err);

#endif
