/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/block.h"
#include "backend/tape.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#define COMPONENT "backend.player"
#define ALIGNMENT 64u

aegis_status aegis_reserve_init(aegis_reserve *reserve, uint64_t size_bytes, aegis_error *err)
{
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY, errno,
                                      "cannot map %" PRIu64 " bytes of emergency reserve: %s",
                                      size_bytes, strerror(errno));
    }
    reserve->base = base;
    reserve->size_bytes = size_bytes;
    atomic_init(&reserve->state, 0);
    atomic_init(&reserve->breaches, 0);
    return AEGIS_OK;
}

void aegis_reserve_finish(aegis_reserve *reserve)
{
    if (reserve->base != NULL) {
        munmap(reserve->base, reserve->size_bytes);
        reserve->base = NULL;
    }
}

static bool holds(const unsigned char *base, uint64_t size_bytes, const void *pointer)
{
    uintptr_t at = (uintptr_t)pointer, low = (uintptr_t)base;
    return base != NULL && at >= low && at - low < size_bytes;
}

/* The system's memory, when even the reserve has ended. */
static void *breach(aegis_player *player, uint64_t size_bytes)
{
    player->breached = true;
    atomic_fetch_add(&player->reserve->breaches, 1);
    void *block = player->more != NULL ? player->more(player->more_self, size_bytes)
                                       : aegis_block_alloc(size_bytes, 0, player);
    return block != NULL ? block : player->reserve->base;
}

#define USER (UINT64_C(1) << 48)

static void *from_reserve(aegis_player *player, uint64_t size_bytes)
{
    aegis_reserve *reserve = player->reserve;
    uint64_t join = player->reserve_used ? 0 : USER;
    uint64_t units = size_bytes / ALIGNMENT + 1, limit = reserve->size_bytes / ALIGNMENT;
    uint64_t old = atomic_load(&reserve->state), taken;
    bool fits;
    do {
        taken = old & (USER - 1);
        fits = units <= limit - taken;
    } while (!atomic_compare_exchange_weak(&reserve->state, &old, old + join + (fits ? units : 0)));
    player->reserve_used = true;
    return fits ? reserve->base + taken * ALIGNMENT : breach(player, size_bytes);
}

/* The last one out frees all of it. */
static void leave_reserve(aegis_reserve *reserve)
{
    uint64_t old = atomic_load(&reserve->state), after;
    do {
        after = old - USER < USER ? 0 : old - USER;
    } while (!atomic_compare_exchange_weak(&reserve->state, &old, after));
}

static void *from_spill(aegis_player *player, uint64_t size_bytes)
{
    uint64_t rounded = aegis_align_up(size_bytes == 0 ? 1 : size_bytes, ALIGNMENT);
    player->spill.bytes += rounded;
    if (rounded < size_bytes || rounded > player->spill_bytes - player->spill_used) {
        return from_reserve(player, size_bytes == 0 ? 1 : size_bytes);
    }
    void *pointer = player->spill_base + player->spill_used;
    player->spill_used += rounded;
    return pointer;
}

bool aegis_player_holds(const aegis_player *player, const void *pointer)
{
    return pointer == NULL || pointer == player->empty ||
           holds(player->planned_base, player->planned_bytes, pointer) ||
           holds(player->spill_base, player->spill_bytes, pointer) ||
           holds(player->reserve->base, player->reserve->size_bytes, pointer);
}

void aegis_player_start(aegis_player *player)
{
    player->state = AEGIS_PLAYER_FOLLOWING;
    player->cursor = player->next = 0;
    player->spill_used = 0;
    player->reserve_used = player->breached = false;
    player->spill = (aegis_model_spill){.first_index = -1};
}

static void depart(aegis_player *player, uint64_t expected, uint64_t asked)
{
    player->state = AEGIS_PLAYER_DEPARTED;
    if (player->spill.first_index < 0) {
        player->spill.first_index = (int64_t)player->next;
        player->spill.expected_bytes = expected;
        player->spill.asked_bytes = asked;
        if (player->on_departure != NULL) {
            player->on_departure(player->argument);
        }
    }
}

void *aegis_player_alloc(aegis_player *player, uint64_t size_bytes)
{
    const aegis_tape *tape = player->tape;
    if (player->inject_index >= 0 && (uint64_t)player->inject_index == player->next) {
        size_bytes += player->inject_bytes;
    }
    if (player->state == AEGIS_PLAYER_FOLLOWING && player->cursor < tape->event_count) {
        int64_t expected = tape->events[player->cursor];
        if (expected >= 0 && tape->allocations[expected].size_bytes == size_bytes) {
            player->cursor++;
            player->next++;
            return size_bytes == 0 ? player->empty : player->addresses[expected];
        }
    }
    uint64_t wanted =
        player->next < tape->allocation_count ? tape->allocations[player->next].size_bytes : 0;
    depart(player, wanted, size_bytes);
    player->next++;
    return from_spill(player, size_bytes);
}

void aegis_player_free(aegis_player *player, void *pointer)
{
    const aegis_tape *tape = player->tape;
    if (player->state == AEGIS_PLAYER_FOLLOWING) {
        int64_t expected = player->cursor < tape->event_count ? tape->events[player->cursor] : 0;
        if (expected < 0) {
            int64_t which = -1 - expected;
            void *address =
                tape->allocations[which].size_bytes == 0 ? player->empty : player->addresses[which];
            if (address == pointer) {
                player->cursor++;
                return;
            }
        }
        /* A run that ends early releases what it holds, in an order of its own. Whether that is so
         * is known when the run has ended. */
        player->state = AEGIS_PLAYER_UNWINDING;
    }
    if (aegis_player_holds(player, pointer)) {
        return;
    }
    if (player->less != NULL) {
        player->less(player->more_self, pointer);
    } else {
        aegis_block_free(pointer);
    }
}

aegis_status aegis_player_end(aegis_player *player, bool completed, aegis_error *err)
{
    aegis_player_state state = player->state;
    player->state = AEGIS_PLAYER_IDLE;
    if (player->reserve_used) {
        leave_reserve(player->reserve);
    }
    const aegis_model_spill *spill = &player->spill;
    if (player->reserve_used) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
            "allocation %" PRId64 " asked for %" PRIu64 " bytes where %" PRIu64
            " were recorded, and %" PRIu64 " bytes in all went past the spill of %" PRIu64
            " bytes%s: the inputs change the model's allocations; record it with such inputs",
            spill->first_index, spill->asked_bytes, spill->expected_bytes, spill->bytes,
            player->spill_bytes, player->breached ? " and past the emergency reserve" : "");
    }
    if (state == AEGIS_PLAYER_DEPARTED) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEPARTURE,
            "allocation %" PRId64 " asked for %" PRIu64 " bytes where %" PRIu64
            " were recorded; %" PRIu64 " bytes were spilled and the result discarded: the inputs "
            "change the model's allocations; record it with such inputs",
            spill->first_index, spill->asked_bytes, spill->expected_bytes, spill->bytes);
    }
    if (completed &&
        (state == AEGIS_PLAYER_UNWINDING || player->cursor != player->tape->event_count)) {
        if (player->spill.first_index < 0) {
            player->spill.first_index = (int64_t)player->next;
        }
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEPARTURE,
                               "the run left its recording at event %zu of %zu (after allocation "
                               "%zu); the result is discarded",
                               player->cursor, player->tape->event_count, player->next);
    }
    return AEGIS_OK;
}
