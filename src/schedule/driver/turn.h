/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_TURN_H
#define AEGIS_SCHEDULE_TURN_H

/* Whose turn it is to touch the core and all that stands around it: one thread's at a time. Lanes
 * only try, and never wait; the orchestration thread, and no other, waits for a lane's turn to end.
 * Taking the turn happens after all that was done in the one before. */

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct aegis_turn {
    _Atomic uint32_t word; /* 0: nobody's; 1: taken; 2: taken, and perhaps waited for */
} aegis_turn;

static inline bool aegis_turn_try(aegis_turn *turn)
{
    uint32_t nobodys = 0;
    return atomic_compare_exchange_strong(&turn->word, &nobodys, 1);
}

/* The orchestration thread. */
static inline void aegis_turn_take(aegis_turn *turn)
{
    if (!aegis_turn_try(turn)) {
        while (atomic_exchange(&turn->word, 2) != 0) {
            syscall(SYS_futex, &turn->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
        }
    }
}

static inline void aegis_turn_give(aegis_turn *turn)
{
    if (atomic_exchange(&turn->word, 0) == 2) {
        syscall(SYS_futex, &turn->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

#endif
