/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTER_EXCHANGE_CUH
#define AEGIS_TRANSFORMER_CUDA_CLUSTER_EXCHANGE_CUH

/* What the kernel in clusters is made of: its shared memory, the instructions that step.cuh has no
 * use for, and what blocks of a cluster send each other. */

#include "backend/transformer/cuda/clusters.h"
#include "backend/transformer/cuda/job.cuh"

#define CLUSTER_THREADS (AEGIS_CLUSTER_WARPS * 32)
#define CLUSTER_MOST_AHEAD 20 /* products, or rows of the head, that a warp reads ahead */

/* What blocks of a cluster send each other. */
enum {
    CHANNEL_STREAM = 0,
    CHANNEL_QKV,
    CHANNEL_ATTENTION,
    CHANNEL_DOWN,
    CHANNELS
};

template <int R> struct cluster_memory {
    static constexpr int part = 32 * R;
    uint64_t full[AEGIS_CLUSTER_WARPS * CLUSTER_MOST_AHEAD], channels[CHANNELS];
    /* written by the cluster */
    float stream[AEGIS_CLUSTER_BLOCKS * part];
    float qkv[3 * AEGIS_CLUSTER_HEAD_WIDTH];
    float attended[AEGIS_CLUSTER_BLOCKS][AEGIS_CLUSTER_HEAD_WIDTH];
    float2 ends[AEGIS_CLUSTER_BLOCKS]; /* largest score, sum of weights */
    float down[AEGIS_CLUSTER_BLOCKS][part];
    /* by this block */
    float gathered[2][4][part];
    float own[AEGIS_CLUSTER_WARPS][AEGIS_CLUSTER_HEAD_WIDTH];
    float2 own_ends[AEGIS_CLUSTER_WARPS];
    float hidden[4 * AEGIS_CLUSTER_WARPS];
    packet bests[AEGIS_CLUSTER_WARPS];
};

/* ---- instructions ---- */

__device__ __forceinline__ uint32_t shared_address(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}

__device__ __forceinline__ uint32_t rank_in_cluster()
{
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ __forceinline__ uint32_t address_at(uint32_t address, uint32_t rank)
{
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

__device__ __forceinline__ void send(uint32_t to, float value, uint32_t barrier)
{
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
        "r"(__float_as_uint(value)), "r"(barrier)
        : "memory");
}

__device__ __forceinline__ void send_two(uint32_t to, float a, float b, uint32_t barrier)
{
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(
            to),
        "r"(__float_as_uint(a)), "r"(__float_as_uint(b)), "r"(barrier)
        : "memory");
}

__device__ __forceinline__ void barrier_init(uint64_t *barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                 : "memory");
}

__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ bool barrier_is_past(uint32_t barrier, uint32_t parity)
{
    uint32_t past;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(past)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return past != 0;
}

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    uint32_t polls = 0;
    while (!barrier_is_past(barrier, parity)) {
        count_poll(polls);
    }
}

__device__ __forceinline__ uint4 load_shared(uint32_t at)
{
    uint4 got;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                 : "r"(at)
                 : "memory");
    return got;
}

/* Of this launch's own writing or a former one's: not through the read-only path. */
__device__ __forceinline__ float4 load_cached(const float *at)
{
    float4 got;
    asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(got.x), "=f"(got.y), "=f"(got.z), "=f"(got.w)
                 : "l"(at)
                 : "memory");
    return got;
}

__device__ __forceinline__ void synchronise_cluster()
{
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

/* ---- what a cluster exchanges ---- */

/* A thread's place among the clusters, and the channels of its block. */
template <int R> class cluster_block
{
  protected:
    static constexpr uint32_t part = 32 * R; /* of the stream */
    static constexpr uint32_t HEAD = AEGIS_CLUSTER_HEAD_WIDTH;

    const aegis_decode_step &p;
    cluster_memory<R> &shared;
    const uint32_t thread, warp, lane, rank, cluster;
    uint32_t phases; /* of channels, a bit each */

    __device__ __forceinline__ cluster_block(const aegis_decode_step &parameters,
                                             cluster_memory<R> &memory)
        : p(parameters), shared(memory), thread(threadIdx.x), warp(threadIdx.x / 32),
          lane(threadIdx.x % 32), rank(rank_in_cluster()),
          cluster(blockIdx.x / AEGIS_CLUSTER_BLOCKS), phases(0)
    {
    }

    static __device__ __forceinline__ constexpr uint32_t bytes_of(uint32_t channel)
    {
        return channel == CHANNEL_STREAM ? sizeof(cluster_memory<R>::stream)
               : channel == CHANNEL_QKV  ? sizeof(cluster_memory<R>::qkv)
               : channel == CHANNEL_ATTENTION
                   ? sizeof(cluster_memory<R>::attended) + sizeof(cluster_memory<R>::ends)
                   : sizeof(cluster_memory<R>::down);
    }

    __device__ __forceinline__ void receive(uint32_t channel)
    {
        const uint32_t barrier = shared_address(&shared.channels[channel]);
        barrier_wait(barrier, phases >> channel & 1);
        phases ^= 1u << channel;
        if (thread == 0) { /* nothing of the next comes before all have read this */
            barrier_expect(barrier, bytes_of(channel));
        }
    }

    __device__ __forceinline__ void
    give(uint32_t channel, const float *to, float value, uint32_t rank_there)
    {
        send(address_at(shared_address(to), rank_there), value,
             address_at(shared_address(&shared.channels[channel]), rank_there));
    }

    __device__ __forceinline__ void give_all(uint32_t channel, const float *to, float value)
    {
#pragma unroll
        for (uint32_t r = 0; r < AEGIS_CLUSTER_BLOCKS; r++) {
            give(channel, to, value, r);
        }
    }

  public:
    /* By one thread, before the cluster meets. */
    static __device__ __forceinline__ void init(cluster_memory<R> &memory)
    {
        for (uint32_t c = 0; c < CHANNELS; c++) {
            barrier_init(&memory.channels[c], 1);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        for (uint32_t c = 0; c < CHANNELS; c++) {
            barrier_expect(shared_address(&memory.channels[c]), bytes_of(c));
        }
    }
};

#endif
