/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_TRANSFORMER_H
#define AEGISRT_TRANSFORMER_H

/**
 * @file transformer.h Transformer inference under a hard memory budget.
 *
 * An engine passes through three states, and each is a type of its own, so that using it too early
 * does not compile:
 *
 *   aegis_transformer_idle     a checked configuration
 *   aegis_transformer_planned  model and tokenizer are read and checked, the budget is divided
 *   aegis_transformer_ready    resident weights are in memory, threads wait for work
 *
 * A transition takes the engine (sets the caller's pointer to NULL) and returns it in the next
 * state; when it fails the engine stays as it was, the caller's. The budget covers the whole
 * process: weights, keys and values, buffers, tokenizer, libraries and what the process held
 * before.
 *
 * Greedy output is the same, bit for bit, with every budget, strategy, number of threads and batch,
 * and with prompt lookup, as long as `products` is "own". One engine is used by one thread at a
 * time.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>
#include <aegisrt/ext/partition_ops.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_transformer_idle aegis_transformer_idle;
typedef struct aegis_transformer_planned aegis_transformer_planned;
typedef struct aegis_transformer_ready aegis_transformer_ready;

/** Zeroes mean the defaults. Strings are copied. */
typedef struct aegis_transformer_config {
    const char *model;     /**< folder in Hugging Face's layout; required */
    uint64_t budget_bytes; /**< of the whole process; 0: what the control group, or else the
                              machine, has left */
    const char *strategy;  /**< name of a strategy; NULL: "auto" */
    const aegis_partition_strategy *own_strategy; /**< instead of a name; borrowed for good */
    uint32_t threads;                             /**< that compute; 0: usable cores, at most 64 */
    uint32_t
        context_tokens;    /**< prompt and output of one sequence; 0: 1024, or what the model can */
    bool clip_context;     /**< a context beyond what the model can becomes what it can */
    uint32_t sequences;    /**< of a batch at most; 0: 1; at most 64 */
    uint32_t draft_tokens; /**< that prompt lookup may guess a pass; 0: no lookup; at most 31 */
    uint32_t prefill_rows; /**< tokens of a pass at most; 0: 32; at most 1024 */
    bool half_cache;       /**< keys and values as f16: half the bytes, other roundings */
    bool no_tokenizer;     /**< generate from tokens to tokens; tokenizer.json is not read */
    const char *instructions; /**< "avx512", "avx2", "neon" or "scalar"; NULL: the best */
    /** Who makes products of eight rows and more (prompts, batches): "own", the default, keeps the
     * promise of equal bits above; "blas" is OpenBLAS for f32, f16 and bf16: near it, and its bits
     * depend on the machine, on how many rows go together, and on budget and strategy. */
    const char *products;
    const char *system_root; /**< of proc and sys; NULL: "/" */
} aegis_transformer_config;

/**
 * Checks the configuration, reads nothing. INVALID_ARGUMENT (no model), CONFIG (a number out of
 * range, an unknown strategy or way of products), UNSUPPORTED (instructions that this machine has
 * not), RUNTIME_NOT_AVAILABLE (no BLAS in this build or on this machine), NO_MEMORY.
 */
aegis_status aegis_transformer_create(const aegis_transformer_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_transformer_idle **ret_engine,
                                      aegis_error *err);
/** NULL is fine. */
void aegis_transformer_idle_destroy(aegis_transformer_idle *engine);

/**
 * Reads configuration, tokenizer and headers of the weights, checks them and divides the budget; no
 * weights are read, but `auto` measures disk and memory when not everything fits. NOT_FOUND (model
 * or one of its files), PARSE, CONFIG, UNSUPPORTED, IO, PERMISSION, NO_MEMORY; BUDGET_EXCEEDED says
 * how much is needed at least.
 */
aegis_status aegis_transformer_load(aegis_transformer_idle **engine,
                                    aegis_transformer_planned **ret_engine,
                                    aegis_error *err);
/** NULL is fine. */
void aegis_transformer_planned_destroy(aegis_transformer_planned *engine);

/** Where the budget came from. */
typedef enum aegis_budget_source {
    AEGIS_BUDGET_GIVEN = 0,
    AEGIS_BUDGET_CONTROL_GROUP,
    AEGIS_BUDGET_MACHINE
} aegis_budget_source;
/** "given", "control group", "machine". Static. */
const char *aegis_budget_source_name(aegis_budget_source source);

/** How the budget is used, in bytes. */
typedef struct aegis_transformer_memory {
    aegis_budget_source source;
    uint64_t budget;
    uint64_t process; /**< resident before anything below: program, libraries, tokenizer */
    uint64_t pinned;  /**< resident weights */
    uint64_t vectors; /**< norms, biases, scales */
    uint64_t buffers; /**< that weights pass through */
    uint64_t cache;   /**< keys and values */
    uint64_t work;    /**< activations, logits */
    uint64_t threads; /**< stacks */
    uint64_t reserve; /**< page tables and small allocations */
    uint64_t planned; /**< the sum from `process` on */
    uint64_t least;   /**< smallest budget that would do for this configuration */
    uint64_t loaded;  /**< when ready: the most that the process held while weights were loaded, as
                         the kernel counts it; 0 before and where /proc does not say */
} aegis_transformer_memory;

/** A model and its plan. Strings are static or the engine's. */
typedef struct aegis_transformer_info {
    const char *architecture; /**< "gpt2", "llama" */
    const char *strategy;     /**< of the plan; what `auto` chose */
    const char *instructions, *products;
    uint32_t layers; /**< blocks */
    uint32_t width, heads, kv_heads, feed_forward, vocabulary, positions;
    uint32_t context_tokens, sequences, threads;
    uint64_t parameters;
    uint64_t weight_bytes;         /**< in the files, tied tables once */
    uint64_t streamed_bytes;       /**< weights that a token reads from disk */
    uint32_t groups;               /**< that are read for a token; 1 when all are resident */
    double disk_rate, memory_rate; /**< bytes a second, when measured; else 0 */
    double estimated_token_s;      /**< by these rates; else 0 */
    aegis_transformer_memory memory;
} aegis_transformer_info;

void aegis_transformer_planned_info(const aegis_transformer_planned *engine,
                                    aegis_transformer_info *ret_info);

/** One layer of the model. */
typedef struct aegis_transformer_layer {
    const char *kind; /**< "embedding", "block", "final_norm", "head" */
    uint32_t block;
    bool tied;      /**< its table is the embedding's */
    uint64_t bytes; /**< 0 for a tied head's table, which the embedding counts */
    uint32_t tensors;
    const char *dtype; /**< of its largest tensor */
} aegis_transformer_layer;

uint32_t aegis_transformer_planned_layers(const aegis_transformer_planned *engine);
/** `index` below aegis_transformer_planned_layers. */
void aegis_transformer_planned_layer(const aegis_transformer_planned *engine,
                                     uint32_t index,
                                     aegis_transformer_layer *ret_layer);

/** The engine's own plan; borrowed. */
const aegis_partition *aegis_transformer_planned_partition(const aegis_transformer_planned *engine);
/** The units behind its pieces; borrowed. */
const aegis_partition_unit *aegis_transformer_planned_units(const aegis_transformer_planned *engine,
                                                            uint32_t *ret_count);
/**
 * Plans the same model with another strategy and budget of the whole process, without changing the
 * engine. Free with aegis_partition_free. NOT_FOUND (no built-in strategy of this name),
 * BUDGET_EXCEEDED (says how much is needed), NO_MEMORY.
 */
aegis_status aegis_transformer_planned_try(const aegis_transformer_planned *engine,
                                           const char *strategy,
                                           uint64_t budget_bytes,
                                           aegis_partition **ret_partition,
                                           aegis_error *err);

/**
 * Measures what the cost model of `auto` wants: direct reads of the model's own files, and sweeps
 * over memory larger than the caches as far as the budget has room. Takes about a fifth of a
 * second. IO, NO_MEMORY.
 */
aegis_status aegis_transformer_planned_measure(aegis_transformer_planned *engine, aegis_error *err);

/**
 * Reads the resident weights and starts the threads; then asks the kernel what the process holds.
 * IO, NO_MEMORY, BUDGET_EXCEEDED (the process held more than the budget, or will with keys, values
 * and activations: something beside the engine took memory since it was planned). After a failure
 * the engine is still planned and can be prepared again.
 */
aegis_status aegis_transformer_prepare(aegis_transformer_planned **engine,
                                       aegis_transformer_ready **ret_engine,
                                       aegis_error *err);
/** NULL is fine. */
void aegis_transformer_ready_destroy(aegis_transformer_ready *engine);
void aegis_transformer_ready_info(const aegis_transformer_ready *engine,
                                  aegis_transformer_info *ret_info);
/** Whether weights are read past the page cache; else its pages are given back after each read. */
bool aegis_transformer_ready_direct(const aegis_transformer_ready *engine);

/** One text to be continued. */
typedef struct aegis_generation_request {
    const char *prompt; /**< UTF-8; NULL: `tokens` */
    size_t prompt_size;
    const uint32_t *tokens; /**< used when `prompt` is NULL */
    size_t token_count;
    uint32_t max_tokens; /**< 0: 64 */
    double temperature;  /**< 0: the most likely token, always */
    uint32_t top_k;      /**< 0: all */
    double top_p;        /**< 0 or 1: all */
    uint64_t seed;       /**< of sampling; equal seeds give equal texts */
    bool lookup;   /**< drafts from the text so far, when the configuration has draft_tokens; greedy
                   requests only, others pass it over */
    bool past_end; /**< goes on behind an end-of-text token */
} aegis_generation_request;

typedef enum aegis_generation_end {
    AEGIS_GENERATION_LENGTH = 0, /**< max_tokens */
    AEGIS_GENERATION_EOS,        /**< the model ended the text */
    AEGIS_GENERATION_CONTEXT,    /**< the context is full */
    AEGIS_GENERATION_STOPPED     /**< the callback wanted no more */
} aegis_generation_end;
/** "length", "eos", "context", "stopped". Static. */
const char *aegis_generation_end_name(aegis_generation_end end);

/** What came of one request. */
typedef struct aegis_generation {
    uint32_t *prompt_tokens, *tokens;
    size_t prompt_count, token_count;
    char *text; /**< of `tokens`, ended by NUL; NULL without a tokenizer */
    size_t text_size;
    aegis_generation_end end;
} aegis_generation;

/** How it went, over all requests of a call. */
typedef struct aegis_generation_figures {
    uint32_t prompt_tokens, tokens;
    uint32_t decoded_tokens; /**< tokens of decode_s: all but the first of each sequence */
    uint32_t passes;         /**< through the weights while decoding */
    uint32_t drafted, accepted;
    double prefill_s, decode_s;
    uint64_t prefill_disk_bytes, decode_disk_bytes;
    double load_s, stall_s; /**< while decoding: a read was in flight; computing waited for one */
    double overlap; /**< the longer of loading and computing over decode_s; 1 without loading */
    uint64_t held_bytes; /**< the most that the process held resident since its model was loaded;
                            past the budget when something beside the engine took memory. 0: not
                            known */
} aegis_generation_figures;

/** A token of sequence `sequence` with the text that it completes (`size` may be 0). False ends
 * this sequence. Called on the caller's thread. */
typedef bool (*aegis_generation_stream)(
    void *self, uint32_t sequence, uint32_t token, const char *text, size_t size);

/**
 * Continues `count` texts together (at most the configuration's sequences): one pass through the
 * weights gives each a token. `stream` may be NULL. Each of ret_generations is freed with
 * aegis_generation_finish. INVALID_ARGUMENT (too many requests, an empty prompt, a token outside
 * the vocabulary, a prompt that leaves no room in the context), UNSUPPORTED (a text without a
 * tokenizer), IO, NO_MEMORY. After a failure the engine can be used again.
 */
aegis_status aegis_transformer_generate(aegis_transformer_ready *engine,
                                        const aegis_generation_request *requests,
                                        uint32_t count,
                                        aegis_generation_stream stream,
                                        void *self,
                                        aegis_generation *ret_generations,
                                        aegis_generation_figures *ret_figures,
                                        aegis_error *err);
/** Frees what a generation holds. Of a zeroed one too. */
void aegis_generation_finish(const aegis_transformer_ready *engine, aegis_generation *one);

/**
 * Logits after `tokens` (1 to the context), `vocabulary` values. INVALID_ARGUMENT, IO.
 */
aegis_status aegis_transformer_evaluate(aegis_transformer_ready *engine,
                                        const uint32_t *tokens,
                                        size_t count,
                                        float *ret_logits,
                                        aegis_error *err);

/** What a preset file says; zeroes and NULL where it says nothing. */
typedef struct aegis_transformer_preset {
    aegis_transformer_config config;
    aegis_generation_request request; /**< without prompt */
    aegis_allocator allocator;
} aegis_transformer_preset;

/**
 * Reads a TOML preset: tables [model] path; [memory] budget, kv_cache ("f32", "f16"), context,
 * batch; [plan] strategy; [compute] threads, instructions, products, prefill_rows; [generate]
 * max_tokens, temperature, top_k, top_p, seed, draft_tokens. Numbers are checked by
 * aegis_transformer_create. NOT_FOUND, IO, PERMISSION, PARSE, CONFIG (with file:line:column, key
 * and cure), NO_MEMORY.
 */
aegis_status aegis_transformer_preset_load(const char *path,
                                           const aegis_allocator *allocator,
                                           aegis_transformer_preset *ret_preset,
                                           aegis_error *err);
/** Frees the strings. Of a zeroed one too. */
void aegis_transformer_preset_finish(aegis_transformer_preset *preset);

/** Name number `index` of the shapes for made-up models ("gpt2-small", ...); NULL behind the last.
 * "tiny" ones are small in everything, "shallow" ones have three blocks as wide as a real model's
 * and a small vocabulary. */
const char *aegis_transformer_shape_at(uint32_t index);
/**
 * Writes a model of random weights into `folder`, which is created: config.json and
 * model.safetensors, no tokenizer. It computes as a trained one of that shape does and says
 * nothing. `dtype`: "f32", "f16", "bf16" or "i8" (matrices; one scale an output). Equal seeds give
 * equal files. NOT_FOUND (no such shape), CONFIG (dtype), IO, NO_MEMORY.
 */
aegis_status aegis_transformer_synthesize(
    const char *folder, const char *name, const char *dtype, uint64_t seed, aegis_error *err);

/** Peak of this process's resident memory (VmHWM), 0 when it cannot be read. */
uint64_t aegis_process_peak_bytes(const char *system_root);

#ifdef __cplusplus
}
#endif
#endif
