/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_EDGE_RT_H
#define AEGISRT_CLI_EDGE_RT_H

/* The commands of `edge-rt` and what they share. */

#include "json.h"

#include <aegisrt/transformer.h>

int edge_rt_command_run(int argc, char **argv);
int edge_rt_command_benchmark(int argc, char **argv);
int edge_rt_command_inspect(int argc, char **argv);
int edge_rt_command_status(int argc, char **argv);

#define EDGE_MAX_PROMPTS 64
#define EDGE_MAX_SWEEP 16

/* What the command line says about model and generation. Text is borrowed from argv. */
typedef struct edge_options {
    const char *config_file;
    const char *synthetic; /* SHAPE[:DTYPE] */
    const char *prompts[EDGE_MAX_PROMPTS];
    uint32_t prompt_count;
    aegis_transformer_config config;
    aegis_generation_request request;
    bool has_half_cache, has_temperature;
    uint64_t sweep[EDGE_MAX_SWEEP]; /* budgets */
    uint32_t sweep_count;
    const char *strategies[EDGE_MAX_SWEEP];
    uint32_t strategy_count;
    char *strategy_text; /* what `strategies` point into */
    uint64_t repeat;
    const char *svg;
    const char *logits;
    const char *root;
    bool ignore_eos;
    aegis_transformer_preset preset; /* what config_file said */
} edge_options;

/* Takes an option by its name; the numbers of options differ between commands. */
int edge_take(edge_options *options, const char *name, const char *argument);
/* Puts the preset under what was given and makes the synthetic model. An exit code or
 * CLI_CONTINUE. */
int edge_settle(edge_options *options, const cli_common *common);
void edge_options_finish(edge_options *options);
/* Loads; on failure says why and where models come from, and returns the exit code. */
int edge_load(edge_options *options,
              const cli_common *common,
              aegis_transformer_planned **ret_engine);

/* edge_rt_scratch.c: one folder below `below` for made-up weights, which signals that end the
 * program remove. Its path, or NULL. */
const char *edge_scratch_create(const char *below);
void edge_scratch_remove(void);
/* Of a signal handler: ends the program by that signal, without the folder. */
void edge_scratch_end(int number);

/* "128 MiB" and the like. */
#define EDGE_DEFAULT_PROMPT "The ship entered the port of"

#endif
