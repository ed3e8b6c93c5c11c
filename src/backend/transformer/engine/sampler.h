/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_SAMPLER_H
#define AEGIS_TRANSFORMER_SAMPLER_H

/* From logits to a token. */

#include <stdint.h>

typedef struct aegis_candidate {
    float logit;
    uint32_t token;
} aegis_candidate;

typedef struct aegis_sampling {
    double temperature; /* 0: greedy */
    uint32_t top_k;     /* 0: all */
    double top_p;       /* 0 or 1: all */
    uint64_t random;    /* state */
} aegis_sampling;

/* The token with the largest logit, the smallest such token. NaN is smaller than anything. */
uint32_t aegis_sample_greedy(const float *logits, uint32_t count);

/*
 * Draws from softmax(logits / temperature), cut to the top_k most likely tokens, and of these to
 * the fewest that together have the share top_p (Holtzman et al. 2020). Moves the random state on
 * by one draw. `room` holds `count` candidates; not used for greedy.
 */
uint32_t
aegis_sample(const float *logits, uint32_t count, aegis_sampling *sampling, aegis_candidate *room);

/*
 * Prompt lookup (Saxena 2023): finds the last earlier place of the longest n-gram, of 3 tokens down
 * to 1, that ends the text, and copies up to `most` tokens that followed it. Returns how many.
 */
uint32_t
aegis_lookup_draft(const uint32_t *tokens, uint32_t count, uint32_t most, uint32_t *ret_draft);

#endif
