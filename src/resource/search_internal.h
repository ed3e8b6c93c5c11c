/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_SEARCH_INTERNAL_H
#define AEGIS_RESOURCE_SEARCH_INTERNAL_H

/* The search's data, shared by search_setup.c (which builds it) and search.c (which searches). */

#include "search.h"

#define AEGIS_SEARCH_NONE UINT32_MAX

/* One level of the search: a window of buffers and the candidates tried in it so far. A key is
 * (offset, rank): placements of one window follow increasing keys, so that every set of offsets is
 * reached by exactly one sequence. */
typedef struct frame {
    uint32_t first, end;  /* the window: buffers [first, end) of the sorted order */
    uint32_t placed;      /* AEGIS_SEARCH_NONE: nothing at this level now */
    uint32_t jump;        /* the frame to go back to when all candidates failed; or NONE */
    uint32_t pending;     /* windows still to solve after this one: list head or NONE */
    uint32_t window_top;  /* size of the list storage when the frame was made */
    uint32_t section_end; /* the window's sections end here */
    uint64_t ceiling;     /* candidates at or above it are dominated */
    uint64_t tried_offset;
    uint32_t tried_rank;
    size_t raise_top, low_top, rank_top; /* trails when the placement was made */
} frame;

/* Open buffers that touch no open buffer outside: solved on their own. */
typedef struct window {
    uint32_t first, end;
    uint32_t split;  /* frame whose placement cut it off */
    uint32_t next;   /* pending list */
    uint64_t offset; /* key of that placement: later ones have greater keys */
    uint32_t rank;
} window;

typedef struct saved {
    uint32_t index;
    uint64_t value;
} saved;

/* What placements changed, to take it back; grows as needed. */
typedef struct trail {
    saved *entries;
    size_t top, room;
} trail;

typedef struct ranked {
    uint64_t key[3];
    uint32_t index;
} ranked;

struct aegis_search {
    aegis_allocator allocator;
    size_t block_bytes; /* this struct and all arrays but the growing trails are one block */
    const aegis_plan_buffer *buffers;
    uint32_t count, sections;
    uint64_t pairs, incidences;
    uint64_t capacity;
    bool starved; /* host memory for a trail ran out */

    /* Of buffers. Sections [from, to) are the maximal sets of buffers live together. */
    uint64_t *size, *align_mask;
    uint64_t *low;        /* lowest offset above everything placed; final for what is placed */
    uint64_t *least_near; /* smallest size among the overlapping ones */
    uint32_t *from, *to;
    uint32_t *seat_begin, *seat; /* where in `member` a buffer is, for each of its sections */
    uint32_t *rank;              /* from 1: ties of offset are tried in this order */
    uint16_t *scale;             /* three a buffer: the disturbance of its keys, 1024 is none */
    bool *fixed;                 /* its only offset is `start` */
    uint64_t *start;             /* first value of `low` */
    uint32_t *next, *previous;   /* open buffers; `count` is the list's head */
    bool *placed;
    uint32_t *near_begin, *near; /* overlapping buffers */

    /* Of sections. */
    uint32_t *member_begin, *member; /* the open ones of a section come first */
    uint32_t *open_end;              /* where they end */
    uint64_t *section_total;         /* all sizes */
    uint64_t *section_sum;           /* open sizes */
    uint64_t *section_low;           /* smallest `low` of an open buffer */

    frame *frames;
    uint32_t depth; /* the frame that is worked on */
    window *windows;
    uint32_t window_top;
    saved *raises; /* what placements changed, to take them back */
    size_t raise_top;
    trail lows, ranks;    /* of `section_low` and `rank` */
    const char *criteria; /* of the order that runs */
    bool reranks;         /* windows that fall apart are ordered anew */

    uint32_t *cursor; /* scratch */
    ranked *ranking;
    saved *heads;
};

#endif
