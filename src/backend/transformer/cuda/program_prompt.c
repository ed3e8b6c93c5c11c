/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of a prompt: a model's arguments for prompt.cu. */
#include "backend/transformer/cuda/program_internal.h"

aegis_status aegis_program_plan_prompt(const aegis_program *program,
                                       uint32_t rows,
                                       aegis_prompt_plan *ret_plan,
                                       aegis_error *err)
{
    aegis_prompt_plan_make(&program->step, program->type, rows, aegis_prompt_workspace_bytes(),
                           ret_plan);
    return aegis_prompt_prepare(&program->step, program->type, err);
}

void aegis_program_where(const aegis_program *program, uint32_t *ret_where)
{
    aegis_decode_where(&program->layout, ret_where);
}

aegis_status aegis_program_begin_prompt(const aegis_program *program,
                                        const aegis_prompt_plan *plan,
                                        const aegis_program_memory *memory,
                                        const aegis_prompt_memory *block,
                                        const aegis_program_job *job,
                                        struct CUstream_st *stream,
                                        aegis_error *err)
{
    aegis_decode_step step;
    aegis_program_set_step(program, memory, job, &step);
    return aegis_prompt_begin(plan, &step, program->type, block, stream, err);
}

aegis_status aegis_program_launch_prompt(const aegis_program *program,
                                         const aegis_prompt_plan *plan,
                                         const aegis_program_memory *memory,
                                         const aegis_prompt_memory *block,
                                         const aegis_program_job *job,
                                         uint32_t from,
                                         uint32_t to,
                                         aegis_cublas *cublas,
                                         const aegis_prompt_lane *lane,
                                         aegis_error *err)
{
    aegis_decode_step step;
    aegis_program_job layers = *job;
    layers.crossing_out = AEGIS_PROGRAM_PROMPT_CROSSING;
    aegis_program_set_step(program, memory, &layers, &step);
    return aegis_prompt_layers(plan, &step, program->type, block, from, to, cublas, lane, err);
}
