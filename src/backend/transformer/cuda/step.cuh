/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_STEP_CUH
#define AEGIS_TRANSFORMER_CUDA_STEP_CUH

/*
 * A step as one kernel. A token through a small model is a chain of some sixty products that each
 * need the whole result of the one before: launched one by one, launches and cold pipelines would
 * take several times as long as the bytes. So all blocks stay, and three things happen at once:
 *
 *  - Each warp reads its weights ahead into shared memory, `depth` units at any time, also across
 *    the borders of products and layers: weights depend on nothing. A lane copies exactly the 16
 *    bytes that it multiplies itself, so nobody waits for anybody.
 *  - Results travel as packets of a value and an epoch in one 8-byte word. Who needs a value polls
 *    its packet: no barrier, no fence, one trip through L2. Packets of a layer lie in one of two
 *    halves in turns. Each block computes at least one tile of AEGIS_DECODE_UP in each layer, so a
 *    block that writes into a half has seen a result of every other block that came after that
 *    block's last read of the half's former contents.
 *  - Every block keeps the whole residual stream in registers and normalises it itself.
 *
 * Sums: a row's units are summed by `parts` warps, each over rising units with two partial sums per
 * lane; then lanes, then parts. All orders are fixed: equal inputs give equal bits, wherever the
 * weights came from.
 *
 * All blocks must run at once: a cooperative launch sees to that. A wait that lasts unreasonably
 * long traps.
 */
#include "backend/transformer/cuda/attention.cuh"
#include "backend/transformer/cuda/job.cuh"
#include "backend/transformer/cuda/reader.cuh"

/* What a block keeps in shared memory beside weights and inputs. */
template <int WARPS> struct step_memory {
    aegis_decode_share shares[AEGIS_DECODE_LAYER_PRODUCTS];
    aegis_decode_item items[AEGIS_DECODE_LAYER_PRODUCTS][WARPS];
    lane_units units[WARPS];
    float partial[2][WARPS][AEGIS_DECODE_ROUND_TILES * AEGIS_DECODE_TILE_ROWS];
    packet bests[WARPS];
    float2 statistics[WARPS];
    float cosines[AEGIS_DECODE_MAX_HEAD_WIDTH / 2], sines[AEGIS_DECODE_MAX_HEAD_WIDTH / 2];
};

/* PASSES: pairs of the residual stream that a thread keeps. */
template <int TYPE, int WARPS, int DEPTH, int PASSES> class step
{
    static constexpr uint32_t threads = WARPS * 32;
    static constexpr uint32_t unit_columns = AEGIS_DECODE_UNIT_ROW_BYTES / element<TYPE>::bytes;

    const aegis_decode_step &p;
    const uint32_t thread, warp, lane;
    step_memory<WARPS> &shared;
    float *x; /* inputs of a product */
    weight_reader<TYPE, WARPS, DEPTH> weights;
    attention<WARPS> heads;
    uint32_t half; /* of `partial` */
    uint32_t epoch, position;
    float2 residual[PASSES];
    float4 scale[PASSES]; /* of the next norm */
    float pivot;

  public:
    __device__ __forceinline__ step(const aegis_decode_step &parameters,
                                    unsigned char *ring,
                                    step_memory<WARPS> &memory,
                                    float *attention_memory,
                                    float *inputs)
        : p(parameters), thread(threadIdx.x), warp(threadIdx.x / 32), lane(threadIdx.x % 32),
          shared(memory), x(inputs), weights(parameters, ring, memory.units),
          heads(parameters, attention_memory, memory.cosines, memory.sines), half(0), pivot(0)
    {
    }

    /* ---- products ---- */

    __device__ __forceinline__ aegis_decode_share share_of(uint32_t product) const
    {
        return p.shares[product * p.blocks + blockIdx.x];
    }

    /* Loads and divisions that every layer would repeat. */
    __device__ __forceinline__ void make_plans()
    {
        if (lane < AEGIS_DECODE_LAYER_PRODUCTS) {
            shared.items[lane][warp] = aegis_decode_item_of(p.units[lane], warp, WARPS);
            if (warp == 0) {
                shared.shares[lane] = share_of(lane);
            }
        }
        __syncthreads();
    }

    /* Of a row, over its four lanes. */
    __device__ __forceinline__ float sum_of_row(float value)
    {
        value += __shfl_xor_sync(ALL_LANES, value, 1);
        return value + __shfl_xor_sync(ALL_LANES, value, 2);
    }

    /* Row `thread` of a round, once all warps have their part of it. */
    __device__ __forceinline__ float sum_of_parts() const
    {
        float sums[4] = {0, 0, 0, 0};
#pragma unroll
        for (uint32_t w = 0; w < WARPS; w++) {
            sums[w % 4] += shared.partial[half][w][thread];
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    /* What becomes of a row's sum, and to whom it goes. Of llama's up the even row is the gate. */
    __device__ __forceinline__ void
    finish(uint32_t product, uint32_t row, float value, uint64_t *packets, uint32_t wanted)
    {
        uint32_t to = row;
        bool own = row < p.rows[product];
        if (product == AEGIS_DECODE_UP) {
            if (p.llama != 0) {
                const float up = __shfl_xor_sync(ALL_LANES, value, 1);
                value = silu(value) * up;
                own = own && row % 2 == 0;
                to = row / 2;
            } else {
                value = p.gelu_erf != 0 ? gelu_erf(value) : gelu_tanh(value);
            }
        }
        if (own) {
            publish(packets + p.packets.results[product] + to, value, wanted);
        }
    }

    /* This block's rows of W x + bias, published by the first warp. */
    __device__ __forceinline__ void
    multiply(uint32_t product, const float *bias, uint64_t *packets, uint32_t wanted)
    {
        const aegis_decode_share share = shared.shares[product];
        const aegis_decode_item item = shared.items[product][warp];
        const float *inputs = x + item.first_unit * unit_columns;
#pragma unroll 1
        for (uint32_t round = 0; round * AEGIS_DECODE_ROUND_TILES < share.count; round++) {
            const uint32_t tiles = aegis_decode_round_tiles(share.count, round);
            const uint32_t row =
                (share.first + round * AEGIS_DECODE_ROUND_TILES) * AEGIS_DECODE_TILE_ROWS + thread;
            const bool mine = thread < tiles * AEGIS_DECODE_TILE_ROWS;
            const float added = bias != nullptr && mine ? load_one(bias + row) : 0.0f;
            float sums[AEGIS_DECODE_ROUND_TILES];
            weights.multiply(tiles, item.units, inputs, sums);
#pragma unroll
            for (uint32_t t = 0; t < AEGIS_DECODE_ROUND_TILES; t++) {
                if (t < tiles) {
                    const float sum = sum_of_row(sums[t]);
                    if (lane % 4 == 0) {
                        shared.partial[half][warp][t * AEGIS_DECODE_TILE_ROWS + lane / 4] = sum;
                    }
                }
            }
            __syncthreads();
            if (warp == 0) {
                const float value = mine ? sum_of_parts() + added : 0.0f;
                finish(product, mine ? row : UINT32_MAX, value, packets, wanted);
            }
            half ^= 1;
        }
    }

    /* ---- inputs of products ---- */

    __device__ __forceinline__ bool has_pair(uint32_t pass) const
    {
        return 2 * (pass * threads + thread) < p.width;
    }

    __device__ __forceinline__ uint32_t pair_of(uint32_t pass) const
    {
        return pass * threads + thread;
    }

    /* Zeros behind the last input of a product, where its last unit goes on. Then all see x. */
    __device__ __forceinline__ void complete(uint32_t columns, uint32_t product)
    {
        const uint32_t at = columns + thread;
        if (at < p.units[product] * unit_columns) { /* less than one unit */
            x[at] = 0;
        }
        __syncthreads();
    }

    __device__ __forceinline__ void add_delta(const uint64_t *packets, uint32_t wanted)
    {
        two got[PASSES];
        uint32_t polls = 0;
        bool good;
        do {
            good = true;
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                if (has_pair(i)) {
                    got[i] = look(packets + 2 * pair_of(i));
                }
            }
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                good &= !has_pair(i) || is_of(got[i], wanted);
            }
            count_poll(polls);
        } while (!good);
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                const float2 delta = values_of(got[i]);
                residual[i].x += delta.x;
                residual[i].y += delta.y;
            }
        }
    }

    /*
     * x = norm(residual), after the packets have been added if there are any. Mean and variance
     * from one pass over values less the mean of the norm before, which is near. `next_norm` is
     * loaded for the next call.
     */
    __device__ __forceinline__ void
    normalise(const float *next_norm, const uint64_t *packets, uint32_t wanted, uint32_t product)
    {
        if (packets != nullptr) {
            add_delta(packets, wanted);
        }
        float sum = 0, squares = 0;
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                const float a = residual[i].x - pivot, b = residual[i].y - pivot;
                sum += a + b;
                squares = fmaf(a, a, fmaf(b, b, squares));
            }
        }
        sum = sum_of_warp(sum);
        squares = sum_of_warp(squares);
        if (lane == 0) {
            shared.statistics[warp] = make_float2(sum, squares);
        }
        __syncthreads();
        const float2 of = lane < WARPS ? shared.statistics[lane] : make_float2(0, 0);
        sum = sum_of_warp(of.x) * p.width_inverse;
        squares = sum_of_warp(of.y) * p.width_inverse;
        float mean = 0;
        if (p.llama == 0) {
            mean = pivot + sum;
            squares -= sum * sum;
            pivot = mean;
        }
        const float factor = rsqrtf(squares + p.epsilon);
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                reinterpret_cast<float2 *>(x)[pair_of(i)] =
                    make_float2(fmaf((residual[i].x - mean) * factor, scale[i].x, scale[i].z),
                                fmaf((residual[i].y - mean) * factor, scale[i].y, scale[i].w));
            }
        }
        complete(p.width, product);
        load_scale(next_norm);
    }

    /* Long before it is needed: memory is busy with weights. */
    __device__ __forceinline__ void load_scale(const float *norm)
    {
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                scale[i] = load_four(norm + 4 * pair_of(i));
            }
        }
    }

    /* x = the values of the activation. */
    __device__ __forceinline__ void gather_up(const uint64_t *packets, uint32_t wanted)
    {
        constexpr uint32_t together = 3; /* feed-forwards of four widths: all of it */
        /* It is much that all blocks read: looked at before it is there, it would keep L2 busy. */
        if (2 * (thread - lane) < p.feed_forward) {
            (void)await_two(packets + 2 * (thread - lane), wanted);
        }
#pragma unroll 1
        for (uint32_t begin = thread; 2 * begin < p.feed_forward; begin += together * threads) {
            two got[together];
            uint32_t polls = 0;
            bool good;
            do {
                good = true;
#pragma unroll
                for (uint32_t i = 0; i < together; i++) {
                    if (2 * (begin + i * threads) < p.feed_forward) {
                        got[i] = look(packets + 2 * (begin + i * threads));
                    }
                }
#pragma unroll
                for (uint32_t i = 0; i < together; i++) {
                    good &= 2 * (begin + i * threads) >= p.feed_forward || is_of(got[i], wanted);
                }
                count_poll(polls);
            } while (!good);
#pragma unroll
            for (uint32_t i = 0; i < together; i++) {
                if (2 * (begin + i * threads) < p.feed_forward) {
                    reinterpret_cast<float2 *>(x)[begin + i * threads] = values_of(got[i]);
                }
            }
        }
    }

    /* ---- blocks of the model ---- */

    __device__ __forceinline__ const float *norm_of(uint32_t layer) const
    {
        return layer < p.layers ? p.vectors + (size_t)layer * p.at.stride + p.at.attention_norm
                                : p.final_norm;
    }

    /* One loop over the four products: the code of a layer has to stay in the instruction cache. */
    __device__ __forceinline__ void run_layer(uint32_t layer, uint32_t first_packet)
    {
        uint64_t *packets = p.exchange + (size_t)(layer % 2) * p.packets.stride;
        const uint64_t *former = p.exchange + (size_t)((layer + 1) % 2) * p.packets.stride;
        const float *vectors = p.vectors + (size_t)layer * p.at.stride;
        const uint32_t wanted = epoch + layer + 1;
#pragma unroll 1
        for (uint32_t product = 0; product < AEGIS_DECODE_LAYER_PRODUCTS; product++) {
            if (product == AEGIS_DECODE_QKV || product == AEGIS_DECODE_UP) {
                const bool up = product == AEGIS_DECODE_UP;
                const uint64_t *deltas = up ? packets + p.packets.results[AEGIS_DECODE_OUTPUT]
                                         : layer > p.first
                                             ? former + p.packets.results[AEGIS_DECODE_DOWN]
                                             : nullptr;
                if (!up) {
                    heads.read_ahead(layer);
                }
                normalise(up ? norm_of(layer + 1) : vectors + p.at.feed_forward_norm, deltas,
                          up ? wanted : wanted - 1, product);
            } else if (product == AEGIS_DECODE_OUTPUT) {
                heads.run(layer, packets, wanted,
                          shared.shares[AEGIS_DECODE_QKV].count *
                              shared.items[AEGIS_DECODE_QKV][warp].units);
                heads.gather(packets, first_packet, x, wanted);
                complete(p.heads * p.head_width, product);
            } else {
                gather_up(packets + p.packets.results[AEGIS_DECODE_UP], wanted);
                complete(p.feed_forward, product);
            }
            multiply(product, p.biases != 0 ? vectors + p.at.biases[product] : nullptr, packets,
                     wanted);
        }
    }

    __device__ __forceinline__ const uint64_t *last_packets() const
    {
        return p.last > p.first ? p.exchange + (size_t)((p.last - 1) % 2) * p.packets.stride +
                                      p.packets.results[AEGIS_DECODE_DOWN]
                                : nullptr;
    }

    __device__ __forceinline__ void leave_crossing()
    {
        if (last_packets() != nullptr) {
            add_delta(last_packets(), epoch + p.last);
        }
        if (blockIdx.x == 0) {
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                if (has_pair(i)) {
                    reinterpret_cast<float2 *>(p.crossing_out)[pair_of(i)] = residual[i];
                }
            }
            if (thread == 0) {
                p.crossing_out[p.width] = pivot;
            }
        }
    }

    /* Logits, and the best of this block's. */
    __device__ __forceinline__ packet run_head()
    {
        normalise(p.final_norm, last_packets(), epoch + p.last, AEGIS_DECODE_HEAD);
        const aegis_decode_share share = share_of(AEGIS_DECODE_HEAD);
        const uint32_t count = aegis_decode_head_tiles(share.count, warp, WARPS);
        packet best = 0;
#pragma unroll 1
        for (uint32_t round = 0; round * AEGIS_DECODE_ROUND_TILES < count; round++) {
            const uint32_t tiles = aegis_decode_round_tiles(count, round);
            const uint32_t first = share.first + warp + round * AEGIS_DECODE_ROUND_TILES * WARPS;
            float sums[AEGIS_DECODE_ROUND_TILES];
            weights.multiply(tiles, p.units[AEGIS_DECODE_HEAD], x, sums);
#pragma unroll
            for (uint32_t t = 0; t < AEGIS_DECODE_ROUND_TILES; t++) {
                const float value = sum_of_row(sums[t]);
                const uint32_t row = (first + t * WARPS) * AEGIS_DECODE_TILE_ROWS + lane / 4;
                if (t < tiles && lane % 4 == 0 && row < p.vocabulary) {
                    p.logits[row] = value;
                    best = larger(best, rank(value, row));
                }
            }
        }
        best = largest_of_warp(best);
        if (lane == 0) {
            shared.bests[warp] = best;
        }
        __syncthreads();
        return largest_of_warp(lane < WARPS ? shared.bests[lane] : 0);
    }

    /* ---- the begin ---- */

    /* Two elements of the token's row of the head's tiles. */
    __device__ __forceinline__ float2 pair_in_head(uint32_t token, uint32_t column) const
    {
        const aegis_decode_head_tile tile = p.head_tiles[token / AEGIS_DECODE_TILE_ROWS];
        const size_t unit = tile.first + (size_t)(column / unit_columns) * tile.stride;
        const uint8_t *row = (const uint8_t *)p.head_weights + unit * AEGIS_DECODE_UNIT_BYTES +
                             token % AEGIS_DECODE_TILE_ROWS * AEGIS_DECODE_UNIT_ROW_BYTES;
        return load_pair<TYPE>(row, column % unit_columns);
    }

    __device__ __forceinline__ void begin_residual(uint32_t token)
    {
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            residual[i] = make_float2(0, 0);
            if (!has_pair(i)) {
                continue;
            }
            const uint32_t column = 2 * pair_of(i);
            if (p.first > 0) {
                residual[i] = reinterpret_cast<const float2 *>(p.crossing_in)[pair_of(i)];
                continue;
            }
            const size_t row = (size_t)token * p.width, place = (size_t)position * p.width;
            residual[i] = p.tokens != nullptr
                              ? load_pair<TYPE>(
                                    (const uint8_t *)p.tokens + row * element<TYPE>::bytes, column)
                              : pair_in_head(token, column);
            if (p.positions != nullptr) {
                const float2 more = load_pair<TYPE>(
                    (const uint8_t *)p.positions + place * element<TYPE>::bytes, column);
                residual[i].x += more.x;
                residual[i].y += more.y;
            }
        }
        if (p.first > 0) {
            pivot = p.crossing_in[p.width];
        }
    }

    __device__ __forceinline__ void set_angles()
    {
        for (uint32_t i = thread; p.llama != 0 && i < p.head_width / 2; i += threads) {
            const float angle = (float)position * p.frequencies[i];
            sincosf(angle, &shared.sines[i], &shared.cosines[i]);
        }
    }

    __device__ __forceinline__ void run()
    {
        uint32_t token = 0;
        make_plans();
        epoch = *(volatile uint32_t *)&p.control->epoch;
        if (!find_position(p, &position, &token)) {
            await<0>();
            return;
        }
        load_scale(norm_of(p.first));
        begin_residual(token);
        set_angles();
        heads.begin(position);
        const uint32_t first_packet = heads.first_packet();
#pragma unroll 1
        for (uint32_t layer = p.first; layer < p.last; layer++) {
            run_layer(layer, first_packet);
        }
        packet best = 0;
        if (p.head != 0) {
            best = run_head();
        } else {
            leave_crossing();
        }
        await<0>();
        end_step(p, epoch, position, warp, lane, best);
    }
};

#endif
