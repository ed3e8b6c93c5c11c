/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a block's launches. */
#include "backend/transformer/cuda/prompt.cuh"

extern "C" {
#include "device/cuda/cuda_error.h"
}

#define HERE AEGIS_HERE("transformer.cuda")
#define PRODUCTS AEGIS_DECODE_LAYER_PRODUCTS
/* What NVIDIA recommends for cuBLAS on Hopper and on what came before. */
#define WORKSPACE_BYTES ((uint64_t)32 << 20)
#define WORKSPACE_BYTES_BEFORE_9 ((uint64_t)4 << 20)

extern "C" uint64_t aegis_prompt_workspace_bytes(void)
{
    int device = 0, major = 0;
    if (cudaGetDevice(&device) == cudaSuccess) {
        (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    }
    return major >= 9 ? WORKSPACE_BYTES : WORKSPACE_BYTES_BEFORE_9;
}

/* ---- the compiled forms ---- */

namespace
{

typedef void (*attention_kernel)(attention_arguments);

attention_kernel attention_of(const aegis_decode_step *step, uint32_t type)
{
    static const attention_kernel kernels[2][3] = {
        {prompt_attention<1, 1, 64, 4>, prompt_attention<1, 2, 64, 2>,
         prompt_attention<1, 4, 32, 1>},
        {prompt_attention<2, 1, 64, 4>, prompt_attention<2, 2, 64, 2>,
         prompt_attention<2, 4, 32, 1>}};
    const uint32_t width = step->head_width;
    return kernels[type != AEGIS_DECODE_F32][(width > 64) + (width > 128)];
}

uint32_t attention_bytes(const aegis_decode_step *step)
{
    return tile_floats(step->head_width) * (uint32_t)sizeof(float);
}

/* ---- launching ---- */

/* Units of a layer that are unpacked together. */
struct piece {
    uint32_t layer, first, last;
};

struct block_run {
    const aegis_prompt_plan *plan;
    const aegis_decode_step *step;
    uint32_t type;
    const aegis_prompt_memory *memory;
    aegis_cublas *cublas;
    const aegis_prompt_lane *lane;
    uint32_t layer;
    uint32_t slot; /* the scratch of `present`; `next` is unpacked into the other */
    piece present, next;
};

float *floats_at(const block_run *run, uint64_t offset)
{
    return reinterpret_cast<float *>(run->memory->block + offset);
}

const aegis_prompt_state *state_of(const block_run *run)
{
    return reinterpret_cast<const aegis_prompt_state *>(run->memory->block + run->plan->state);
}

aegis_status launched(const char *kernel, aegis_error *err)
{
    return aegis_cuda_check(cudaGetLastError(), kernel, HERE, err);
}

const float *vectors_of(const block_run *run, uint32_t layer)
{
    return run->step->vectors + (size_t)layer * run->step->at.stride;
}

const float *bias_of(const block_run *run, uint32_t product)
{
    return run->step->biases != 0 ? vectors_of(run, run->layer) + run->step->at.biases[product]
                                  : nullptr;
}

/* ---- weights ---- */

piece piece_from(const block_run *run, uint32_t layer, uint32_t first)
{
    return {layer, first, aegis_prompt_piece_end(run->plan, run->step, first)};
}

float *scratch_of(const block_run *run, uint32_t slot)
{
    return floats_at(run, run->plan->weights) +
           (size_t)slot * run->plan->scratch * aegis_prompt_unit_floats(run->type);
}

aegis_status unpack(const block_run *run, const piece &what, uint32_t slot, aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    unpack_arguments a = {};
    a.layer = (const uint8_t *)step->layer_weights +
              (size_t)(what.layer - step->first) * step->layer_bytes;
    a.where = run->memory->where;
    a.to = scratch_of(run, slot);
    a.first = what.first;
    a.last = what.last;
    for (uint32_t p = 0; p < PRODUCTS; p++) {
        a.before[p] = run->plan->before[p];
        a.units[p] = step->units[p];
    }
    const uint32_t blocks = (what.last - what.first + UNITS_OF_BLOCK - 1) / UNITS_OF_BLOCK;
    cudaStream_t stream = run->lane->unpacking;
    switch (run->type) {
    case AEGIS_DECODE_F32:
        prompt_unpack<AEGIS_DECODE_F32><<<blocks, ROW_THREADS, 0, stream>>>(a);
        break;
    case AEGIS_DECODE_F16:
        prompt_unpack<AEGIS_DECODE_F16><<<blocks, ROW_THREADS, 0, stream>>>(a);
        break;
    default:
        prompt_unpack<AEGIS_DECODE_BF16><<<blocks, ROW_THREADS, 0, stream>>>(a);
    }
    return launched("unpacking weights", err);
}

/* The stream goes on once everything is done that was put into `behind` so far. */
aegis_status follow(cudaStream_t stream, cudaStream_t behind, cudaEvent_t event, aegis_error *err)
{
    aegis_status status =
        aegis_cuda_check(cudaEventRecord(event, behind), "cudaEventRecord", HERE, err);
    return status == AEGIS_OK ? aegis_cuda_check(cudaStreamWaitEvent(stream, event, 0),
                                                 "cudaStreamWaitEvent", HERE, err)
                              : status;
}

/* The next piece, into the slot that is not `present`'s, once what was there is multiplied. */
aegis_status begin_next(block_run *run, const piece &next, aegis_error *err)
{
    const aegis_prompt_lane *lane = run->lane;
    const uint32_t slot = 1 - run->slot;
    run->next = next;
    aegis_status status = follow(lane->unpacking, lane->stream, lane->multiplied, err);
    if (status == AEGIS_OK) {
        status = unpack(run, next, slot, err);
    }
    return status == AEGIS_OK
               ? aegis_cuda_check(cudaEventRecord(lane->unpacked[slot], lane->unpacking),
                                  "cudaEventRecord", HERE, err)
               : status;
}

/* `next` becomes `present`, and the one behind it is begun. */
aegis_status advance(block_run *run, aegis_error *err)
{
    const bool ends = run->next.last == run->plan->units;
    const uint32_t layer = run->next.layer + (ends ? 1 : 0);
    run->present = run->next;
    run->slot = 1 - run->slot;
    aegis_status status = AEGIS_OK;
    if (layer < run->step->last) {
        status = begin_next(run, piece_from(run, layer, ends ? 0 : run->next.last), err);
    }
    return status == AEGIS_OK
               ? aegis_cuda_check(
                     cudaStreamWaitEvent(run->lane->stream, run->lane->unpacked[run->slot], 0),
                     "cudaStreamWaitEvent", HERE, err)
               : status;
}

/* All of a product, in as many parts as its weights are unpacked in. */
aegis_status multiply(block_run *run, uint32_t product, aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    const aegis_prompt_plan *plan = run->plan;
    const uint32_t tiles = aegis_prompt_tiles(step, product), units = step->units[product];
    const uint64_t floats = aegis_prompt_unit_floats(run->type);
    aegis_cublas_product call = {};
    call.rows = plan->parts * plan->rows;
    call.inputs = call.x_stride = aegis_prompt_inputs(step, product);
    call.w_stride = units * (uint32_t)(floats / AEGIS_DECODE_TILE_ROWS);
    call.y_stride = step->rows[product];
    call.x = floats_at(run, plan->inputs);
    call.tf32 = run->type != AEGIS_DECODE_F32;
    aegis_status status = AEGIS_OK;
    for (uint32_t tile = 0, some = 0; tile < tiles && status == AEGIS_OK; tile += some) {
        const uint32_t unit = run->plan->before[product] + tile * units;
        const uint32_t row = tile * AEGIS_DECODE_TILE_ROWS;
        if (run->present.layer != run->layer || unit >= run->present.last) {
            status = advance(run, err);
        }
        some = (run->present.last - unit) / units;
        some = some < tiles - tile ? some : tiles - tile;
        const uint32_t left = step->rows[product] - row, wanted = some * AEGIS_DECODE_TILE_ROWS;
        call.outputs = wanted < left ? wanted : left;
        call.w = scratch_of(run, run->slot) + (unit - run->present.first) * floats;
        call.y = floats_at(run, plan->outputs) + row;
        status = status == AEGIS_OK ? aegis_cublas_multiply(run->cublas, &call, err) : status;
    }
    return status;
}

/* ---- the rest ---- */

/* The stream `from`, with the product's outputs if it has any, to residual `to`; then its norm. */
aegis_status normalise(block_run *run,
                       uint32_t from,
                       uint32_t to,
                       bool add,
                       const float *bias,
                       const float *norm,
                       float *crossing,
                       aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    const aegis_prompt_plan *plan = run->plan;
    norm_arguments a = {};
    a.state = state_of(run);
    a.from = floats_at(run, plan->residual[from]);
    a.to = floats_at(run, plan->residual[to]);
    a.outputs = add ? floats_at(run, plan->outputs) : nullptr;
    a.bias = bias;
    a.norm = norm;
    a.inputs = floats_at(run, plan->inputs);
    a.crossing = crossing;
    a.rows = plan->rows;
    a.width = step->width;
    a.llama = step->llama;
    a.epsilon = step->epsilon;
    a.width_inverse = step->width_inverse;
    const uint32_t bytes = step->width * (uint32_t)sizeof(float);
    if (plan->parts == 1) {
        prompt_norm<1><<<plan->rows, ROW_THREADS, bytes, run->lane->stream>>>(a);
    } else {
        prompt_norm<2><<<plan->rows, ROW_THREADS, bytes, run->lane->stream>>>(a);
    }
    return launched("a norm", err);
}

float *cache_of(const block_run *run)
{
    const aegis_decode_step *step = run->step;
    return step->cache + (size_t)2 * run->layer * step->kv_heads * step->context * step->head_width;
}

aegis_status divide_qkv(block_run *run, aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    const aegis_prompt_plan *plan = run->plan;
    qkv_arguments a = {};
    a.state = state_of(run);
    a.outputs = floats_at(run, plan->outputs);
    a.bias = bias_of(run, AEGIS_DECODE_QKV);
    a.frequencies = step->llama != 0 ? step->frequencies : nullptr;
    a.queries = floats_at(run, plan->queries);
    a.cache = cache_of(run);
    a.rows = plan->rows;
    a.heads = step->heads;
    a.kv_heads = step->kv_heads;
    a.head_width = step->head_width;
    a.context = step->context;
    if (plan->parts == 1) {
        prompt_qkv<1><<<plan->rows, ROW_THREADS, 0, run->lane->stream>>>(a);
    } else {
        prompt_qkv<2><<<plan->rows, ROW_THREADS, 0, run->lane->stream>>>(a);
    }
    return launched("queries, keys and values", err);
}

aegis_status attend(block_run *run, aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    const aegis_prompt_plan *plan = run->plan;
    attention_arguments a = {};
    a.state = state_of(run);
    a.queries = floats_at(run, plan->queries);
    a.keys = cache_of(run);
    a.values = a.keys + (size_t)step->kv_heads * step->context * step->head_width;
    a.inputs = floats_at(run, plan->inputs);
    a.rows = plan->rows;
    a.heads = step->heads;
    a.kv_heads = step->kv_heads;
    a.head_width = step->head_width;
    a.context = step->context;
    a.factor = step->score_factor;
    const dim3 grid(step->heads, (plan->rows + TILE_QUERIES - 1) / TILE_QUERIES);
    const uint32_t threads = TILE_THREADS * tile_groups(step->head_width);
    attention_of(step, run->type)<<<grid, threads, attention_bytes(step), run->lane->stream>>>(a);
    return launched("attention", err);
}

aegis_status activate(block_run *run, aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    const aegis_prompt_plan *plan = run->plan;
    activation_arguments a = {};
    a.outputs = floats_at(run, plan->outputs);
    a.bias = bias_of(run, AEGIS_DECODE_UP);
    a.inputs = floats_at(run, plan->inputs);
    a.rows = plan->rows;
    a.feed_forward = step->feed_forward;
    a.llama = step->llama;
    a.gelu_erf = step->gelu_erf;
    const dim3 grid((step->feed_forward + ROW_THREADS - 1) / ROW_THREADS, plan->rows);
    if (plan->parts == 1) {
        prompt_activation<1><<<grid, ROW_THREADS, 0, run->lane->stream>>>(a);
    } else {
        prompt_activation<2><<<grid, ROW_THREADS, 0, run->lane->stream>>>(a);
    }
    return launched("an activation", err);
}

/* What a norm takes of `layer`'s end: the next one's inputs, the crossing of the last. */
aegis_status end_layer(block_run *run, uint32_t at, aegis_error *err)
{
    const aegis_decode_step *step = run->step;
    const uint32_t next = run->layer + 1;
    const float *bias = bias_of(run, AEGIS_DECODE_DOWN);
    return normalise(run, at, at, true, bias,
                     next < step->last ? vectors_of(run, next) + step->at.attention_norm : nullptr,
                     next == step->layers ? step->crossing_out : nullptr, err);
}

/* From residual `from`, to `to`. */
aegis_status run_layer(block_run *run, uint32_t from, uint32_t to, aegis_error *err)
{
    aegis_status status = multiply(run, AEGIS_DECODE_QKV, err);
    if (status == AEGIS_OK) {
        status = divide_qkv(run, err);
    }
    if (status == AEGIS_OK) {
        status = attend(run, err);
    }
    if (status == AEGIS_OK) {
        status = multiply(run, AEGIS_DECODE_OUTPUT, err);
    }
    if (status == AEGIS_OK) {
        status =
            normalise(run, from, to, true, bias_of(run, AEGIS_DECODE_OUTPUT),
                      vectors_of(run, run->layer) + run->step->at.feed_forward_norm, nullptr, err);
    }
    if (status == AEGIS_OK) {
        status = multiply(run, AEGIS_DECODE_UP, err);
    }
    if (status == AEGIS_OK) {
        status = activate(run, err);
    }
    if (status == AEGIS_OK) {
        status = multiply(run, AEGIS_DECODE_DOWN, err);
    }
    return status == AEGIS_OK ? end_layer(run, to, err) : status;
}

} // namespace

extern "C" aegis_status
aegis_prompt_prepare(const aegis_decode_step *step, uint32_t type, aegis_error *err)
{
    return aegis_cuda_check(cudaFuncSetAttribute((const void *)attention_of(step, type),
                                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                 (int)attention_bytes(step)),
                            "cudaFuncSetAttribute", HERE, err);
}

extern "C" const int64_t *aegis_prompt_cursor(const aegis_prompt_plan *plan,
                                              const aegis_prompt_memory *memory)
{
    return reinterpret_cast<const aegis_prompt_state *>(memory->block + plan->state)->cursor;
}

extern "C" aegis_status aegis_prompt_begin(const aegis_prompt_plan *plan,
                                           const aegis_decode_step *step,
                                           uint32_t type,
                                           const aegis_prompt_memory *memory,
                                           struct CUstream_st *stream,
                                           aegis_error *err)
{
    begin_arguments a = {};
    a.state = reinterpret_cast<aegis_prompt_state *>(memory->block + plan->state);
    a.residual = reinterpret_cast<float *>(memory->block + plan->residual[0]);
    a.rows = plan->rows;
    switch (type) {
    case AEGIS_DECODE_F32:
        prompt_begin<AEGIS_DECODE_F32><<<plan->rows, ROW_THREADS, 0, stream>>>(*step, a);
        break;
    case AEGIS_DECODE_F16:
        prompt_begin<AEGIS_DECODE_F16><<<plan->rows, ROW_THREADS, 0, stream>>>(*step, a);
        break;
    default:
        prompt_begin<AEGIS_DECODE_BF16><<<plan->rows, ROW_THREADS, 0, stream>>>(*step, a);
    }
    return launched("the begin of a block", err);
}

extern "C" aegis_status aegis_prompt_layers(const aegis_prompt_plan *plan,
                                            const aegis_decode_step *step,
                                            uint32_t type,
                                            const aegis_prompt_memory *memory,
                                            uint32_t from,
                                            uint32_t to,
                                            aegis_cublas *cublas,
                                            const aegis_prompt_lane *lane,
                                            aegis_error *err)
{
    block_run run = {};
    run.plan = plan;
    run.step = step;
    run.type = type;
    run.memory = memory;
    run.cublas = cublas;
    run.lane = lane;
    if (step->first == step->last) {
        return AEGIS_OK;
    }
    run.layer = step->first;
    run.present.layer = UINT32_MAX;
    aegis_status status = aegis_cublas_use(cublas, lane->stream, memory->block + plan->workspace,
                                           plan->bytes - plan->workspace, err);
    if (status == AEGIS_OK) {
        status = begin_next(&run, piece_from(&run, step->first, 0), err);
    }
    if (status == AEGIS_OK) {
        status = normalise(&run, from, from, false, nullptr,
                           vectors_of(&run, run.layer) + step->at.attention_norm, nullptr, err);
    }
    for (; run.layer < step->last && status == AEGIS_OK; run.layer++) {
        status = run_layer(&run, run.layer == step->first ? from : to, to, err);
    }
    if (status != AEGIS_OK) { /* what is being unpacked ends before the lane goes on */
        (void)follow(lane->stream, lane->unpacking, lane->multiplied, nullptr);
    }
    return status;
}
