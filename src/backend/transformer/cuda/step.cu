/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled forms of the step's kernel, and launching them. */
#include "backend/transformer/cuda/cluster_kernel.h"
#include "backend/transformer/cuda/step.cuh"

extern "C" {
#include "device/cuda/cuda_error.h"
}

#include <math.h>

namespace
{

template <int TYPE, int WARPS, int DEPTH, int PASSES>
__global__ void __launch_bounds__(WARPS * 32, 1)
    decode_step(const __grid_constant__ aegis_decode_step p)
{
    extern __shared__ __align__(128) unsigned char memory[];
    constexpr size_t ring = (size_t)WARPS * DEPTH * AEGIS_DECODE_UNIT_BYTES;
    constexpr size_t own = (sizeof(step_memory<WARPS>) + 127) / 128 * 128;
    step<TYPE, WARPS, DEPTH, PASSES> block(
        p, memory, *reinterpret_cast<step_memory<WARPS> *>(memory + ring),
        reinterpret_cast<float *>(memory + ring + own),
        reinterpret_cast<float *>(memory + ring + own) + attention_floats(p.head_width));
    block.run();
}

typedef void (*kernel)(aegis_decode_step);

struct compiled {
    aegis_decode_form form;
    uint32_t passes[3];
    kernel kernels[3][3]; /* by passes, by type */
};

#define KERNELS(warps, depth, passes)                     \
    {decode_step<AEGIS_DECODE_F32, warps, depth, passes>, \
     decode_step<AEGIS_DECODE_F16, warps, depth, passes>, \
     decode_step<AEGIS_DECODE_BF16, warps, depth, passes>}
#define FORM(warps, depth, most)                                                            \
    {                                                                                       \
        {warps, depth, false}, {1, 2, most},                                                \
        {                                                                                   \
            KERNELS(warps, depth, 1), KERNELS(warps, depth, 2), KERNELS(warps, depth, most) \
        }                                                                                   \
    }

/* Of 12 warps: more leave too few registers, and matrices of 768 columns are 24 units wide. */
#define FORM_WARPS 12

/* Behind the form in clusters, number 0. The second is for devices with less shared memory. */
const compiled FORMS[] = {FORM(FORM_WARPS, 24, 6), FORM(FORM_WARPS, 10, 6)};

const compiled *compiled_at(uint32_t form)
{
    return &FORMS[form - 1];
}

kernel kernel_of(const aegis_decode_step *step, uint32_t type, uint32_t form)
{
    const compiled *one = compiled_at(form);
    uint32_t i = 0;
    while (i < 2 && step->width > 2 * 32 * one->form.warps * one->passes[i]) {
        i++;
    }
    return one->kernels[i][type];
}

#define HERE AEGIS_HERE("transformer.cuda")

} // namespace

extern "C" aegis_decode_form aegis_decode_form_at(uint32_t index)
{
    const aegis_decode_form clusters = {AEGIS_CLUSTER_WARPS, 0, true}, none = {0, 0, false};
    return index == 0                              ? clusters
           : index <= sizeof FORMS / sizeof *FORMS ? compiled_at(index)->form
                                                   : none;
}

/* Inputs of a product. */
static uint32_t floats_of_inputs(const aegis_decode_step *step)
{
    uint32_t most = 0;
    for (uint32_t product = 0; product < AEGIS_DECODE_PRODUCTS; product++) {
        const uint32_t inputs = step->units[product] * AEGIS_DECODE_UNIT_ROW_BYTES / 2;
        most = inputs > most ? inputs : most; /* elements of two bytes: never too little */
    }
    return most;
}

extern "C" uint32_t aegis_decode_shared_bytes(const aegis_decode_step *step,
                                              const aegis_decode_form *form)
{
    return (uint32_t)(form->warps * form->depth * AEGIS_DECODE_UNIT_BYTES +
                      (sizeof(step_memory<FORM_WARPS>) + 127) / 128 * 128) +
           (attention_floats(step->head_width) + floats_of_inputs(step)) * 4;
}

extern "C" void aegis_decode_set_attention(aegis_decode_step *step, uint32_t warps)
{
    const uint32_t width = step->head_width, most = warps * 32 / (width / 4);
    step->score_factor = 1.0f / sqrtf((float)width);
    step->attention_chunk = KEY_FLOATS / width < MOST_CHUNK ? KEY_FLOATS / width : MOST_CHUNK;
    step->attention_groups = most < SUM_GROUPS ? most : SUM_GROUPS;
}

extern "C" aegis_status aegis_decode_prepare(
    aegis_decode_step *step, uint32_t type, uint32_t form, uint32_t *ret_blocks, aegis_error *err)
{
    if (form == 0) {
        return aegis_clusters_prepare(step, type, ret_blocks, err);
    }
    const compiled *one = compiled_at(form);
    const uint32_t shared = aegis_decode_shared_bytes(step, &one->form);
    int device = 0, most = 0, cooperative = 0, processors = 0, each = 0;
    aegis_status status = aegis_cuda_check(cudaGetDevice(&device), "cudaGetDevice", HERE, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(
            cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
            "cudaDeviceGetAttribute", HERE, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(
            cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device),
            "cudaDeviceGetAttribute", HERE, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(
            cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
            "cudaDeviceGetAttribute", HERE, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (shared > (uint32_t)most || cooperative == 0) {
        *ret_blocks = 0;
        return AEGIS_OK;
    }
    const void *function = (const void *)kernel_of(step, type, form);
    status = aegis_cuda_check(
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
        "cudaFuncSetAttribute", HERE, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                                      &each, function, (int)one->form.warps * 32, shared),
                                  "cudaOccupancyMaxActiveBlocksPerMultiprocessor", HERE, err);
    }
    if (status == AEGIS_OK) {
        *ret_blocks = each > 0 ? (uint32_t)processors : 0; /* one a multiprocessor */
    }
    return status;
}

extern "C" aegis_status aegis_decode_launch(const aegis_decode_step *step,
                                            uint32_t type,
                                            uint32_t form,
                                            struct CUstream_st *stream,
                                            aegis_error *err)
{
    if (form == 0) {
        return aegis_clusters_launch(step, type, stream, err);
    }
    const compiled *one = compiled_at(form);
    void *arguments[] = {(void *)step};
    return aegis_cuda_check(
        cudaLaunchCooperativeKernel((const void *)kernel_of(step, type, form), dim3(step->blocks),
                                    dim3(one->form.warps * 32), arguments,
                                    aegis_decode_shared_bytes(step, &one->form), stream),
        "cudaLaunchCooperativeKernel", HERE, err);
}
