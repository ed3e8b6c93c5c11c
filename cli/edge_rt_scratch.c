/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of made-up weights that nobody asked to keep: hundreds of MB, which go however the
 * program ends. */
#include "edge_rt.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A signal handler reaches nothing else than a variable of the program. */
static struct scratch {
    char weights[PATH_MAX], config[PATH_MAX], folder[PATH_MAX]; /* "": there is none */
} scratch;

void edge_scratch_remove(void)
{
    if (scratch.folder[0] != '\0') {
        unlink(scratch.weights);
        unlink(scratch.config);
        rmdir(scratch.folder);
        scratch.folder[0] = '\0';
    }
}

void edge_scratch_end(int number)
{
    edge_scratch_remove();
    signal(number, SIG_DFL);
    raise(number); /* pending until the handler returns */
}

const char *edge_scratch_create(const char *below)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = edge_scratch_end}, before;
    sigset_t old;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaddset(&action.sa_mask, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &action.sa_mask, &old);
    char folder[PATH_MAX - 32];
    snprintf(folder, sizeof folder, "%s/edge-rt-XXXXXX", below);
    if (mkdtemp(folder) != NULL) {
        snprintf(scratch.weights, sizeof scratch.weights, "%s/model.safetensors", folder);
        snprintf(scratch.config, sizeof scratch.config, "%s/config.json", folder);
        snprintf(scratch.folder, sizeof scratch.folder, "%s", folder);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        /* What nohup or a shell's background ignores stays ignored. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(numbers[i], &action, NULL);
        }
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return scratch.folder[0] != '\0' ? scratch.folder : NULL;
}
