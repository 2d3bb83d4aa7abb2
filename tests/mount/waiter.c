// SPDX-License-Identifier: Apache-2.0
/*
 * waiter COUNT PATH... - opens the paths for reading in COUNT threads at once, in turn, and prints the
 * outcomes as a JSON object: {"ok": 3, "EINTR": 1}. SIGUSR1 interrupts the opens of threads that it reaches.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ERRNO_MAX = 200, STACK_SIZE = 64 * 1024 };

struct waiter {
    pthread_t thread;
    const char *path;
    int error;
};

static void on_signal(int number)
{
    (void)number;
}

static void *wait_for(void *argument)
{
    struct waiter *waiter = argument;
    int fd = open(waiter->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        waiter->error = errno;
        return NULL;
    }
    waiter->error = 0;
    close(fd);
    return NULL;
}

static int count_outcomes(const struct waiter *waiters, size_t count)
{
    size_t outcomes[ERRNO_MAX] = {0};
    const char *separator = "";
    for (size_t i = 0; i < count; i++) {
        if (waiters[i].error >= ERRNO_MAX) {
            return EXIT_FAILURE;
        }
        outcomes[waiters[i].error]++;
    }
    putchar('{');
    for (int error = 0; error < ERRNO_MAX; error++) {
        if (outcomes[error] > 0) {
            printf("%s\"%s\": %zu", separator, error == 0 ? "ok" : strerrorname_np(error), outcomes[error]);
            separator = ", ";
        }
    }
    puts("}");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: waiter COUNT PATH...\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    pthread_attr_t attributes;
    size_t count = (size_t)strtoul(argv[1], NULL, 10);
    struct waiter *waiters = calloc(count, sizeof *waiters);
    if (waiters == NULL || sigaction(SIGUSR1, &action, NULL) != 0 || pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstacksize(&attributes, STACK_SIZE) != 0) {
        free(waiters);
        return EXIT_FAILURE;
    }
    /* The first one waits in the main thread, to which the kernel delivers a signal of the process. */
    for (size_t i = 0; i < count; i++) {
        waiters[i].path = argv[2 + (int)(i % (size_t)(argc - 2))];
        if (i > 0 && pthread_create(&waiters[i].thread, &attributes, wait_for, &waiters[i]) != 0) {
            perror("pthread_create");
            exit(EXIT_FAILURE);
        }
    }
    if (count > 0) {
        wait_for(&waiters[0]);
    }
    for (size_t i = 1; i < count; i++) {
        pthread_join(waiters[i].thread, NULL);
    }
    int status = count_outcomes(waiters, count);
    pthread_attr_destroy(&attributes);
    free(waiters);
    return status;
}
