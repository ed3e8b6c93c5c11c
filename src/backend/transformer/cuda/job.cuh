/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_JOB_CUH
#define AEGIS_TRANSFORMER_CUDA_JOB_CUH

/* Where a step begins and what it leaves behind, whatever form its kernel has. */

#include "backend/transformer/cuda/primitives.cuh"

__device__ __forceinline__ void
leave_cursor(const aegis_decode_step &p, int64_t at, int64_t token)
{
    p.next_cursor[0] = at;
    p.next_cursor[1] = token;
    if (p.next_position != nullptr) {
        *p.next_position = at;
    }
}

/* ---- the begin ---- */

__device__ __forceinline__ void
refuse(const aegis_decode_step &p, uint32_t kind, int64_t at, int64_t token)
{
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        p.fault->position = at;
        p.fault->token = token;
        p.fault->kind = kind;
        *p.token = -1;
    }
}

/* Where the job stands; false when there is nothing to compute. All threads answer alike. */
__device__ __forceinline__ bool
find_position(const aegis_decode_step &p, uint32_t *ret_position, uint32_t *ret_token)
{
    int64_t at = p.cursor[0], token = p.cursor[1];
    if (p.measured != 0) {
        at = p.context - 1;
        token = 0;
    }
    if (at < 0 || token < 0) {
        refuse(p, AEGIS_DECODE_BAD_CURSOR, at, token);
        return false;
    }
    if (at >= p.context) {
        if (p.head != 0 && blockIdx.x == 0 && threadIdx.x == 0) {
            *p.token = -1;
            leave_cursor(p, at, token);
        }
        return false;
    }
    token = at < p.prompt_count ? p.prompt[at] : token;
    if (token < 0 || token >= p.vocabulary) {
        refuse(p, AEGIS_DECODE_BAD_TOKEN, at, token);
        return false;
    }
    *ret_position = (uint32_t)at;
    *ret_token = (uint32_t)token;
    return true;
}

/* ---- the end ---- */

__device__ __forceinline__ bool is_end(const aegis_decode_step &p, uint32_t token)
{
    bool is = false;
    for (uint32_t e = 0; e < p.end_count; e++) {
        is |= p.ends[e] == token;
    }
    return is;
}

/* The token behind the position, and where the next job begins. */
__device__ __forceinline__ void
finish_job(const aegis_decode_step &p, uint32_t position, uint32_t chosen)
{
    const uint32_t next = position + 1;
    const bool given = next < p.prompt_count;
    const int64_t token = given ? p.prompt[next] : (int64_t)chosen;
    *p.token = token;
    if (p.measured != 0) { /* such jobs belong to no sequence */
        return;
    }
    const bool ends = next == p.context || (!given && is_end(p, chosen));
    leave_cursor(p,
                 !ends                ? next
                 : p.stop_at_end != 0 ? p.context
                                      : 0,
                 ends && p.stop_at_end == 0 ? 0 : token);
}

/* The block that is done last ends the step. `best`: of the block's logits. */
__device__ __forceinline__ void end_step(const aegis_decode_step &p,
                                         uint32_t epoch,
                                         uint32_t position,
                                         uint32_t warp,
                                         uint32_t lane,
                                         packet best)
{
    if (warp != 0) {
        return;
    }
    uint32_t ticket = 0;
    if (lane == 0) {
        if (p.head != 0) {
            p.best[blockIdx.x] = best;
        }
        __threadfence();
        ticket = atomicAdd(&p.control->ticket, 1u);
        __threadfence();
    }
    if (__shfl_sync(ALL_LANES, ticket, 0) != gridDim.x - 1) {
        return;
    }
    for (uint32_t b = lane; p.head != 0 && b < gridDim.x; b += 32) {
        best = larger(best, __ldcg((const packet *)p.best + b));
    }
    best = largest_of_warp(best);
    if (lane == 0) {
        p.control->ticket = 0;
        p.control->epoch = epoch + p.layers + 1;
        if (p.head != 0) {
            finish_job(p, position, best != 0 ? 0xffffffffu - (uint32_t)best : 0);
        }
    }
}

#endif
