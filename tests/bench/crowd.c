// SPDX-License-Identifier: Apache-2.0
/*
 * crowd.c - one client that has a file open many times, or waits for it in as many threads.
 *
 *     crowd hold PATH COUNT     opens it, says so, and waits to be killed
 *     crowd wait PATH COUNT     opens it in COUNT threads, closes it again, and ends
 */
#include "client.h"
#include <pthread.h>
#include <sys/resource.h>

enum { STACK = 64 << 10 };

static const char *path;

/* The slot may be removed meanwhile. */
static void *wait_for_it(void *nothing)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close_fd(fd);
    else if (errno != ECANCELED)
        fail(path);
    return nothing;
}

static void hold(long count)
{
    for (long i = 0; i < count; i++) {
        if (open(path, O_RDONLY | O_CLOEXEC) < 0)
            fail(path);
    }
    puts("open");
    fflush(stdout);
    pause();
}

static void wait_in_threads(long count)
{
    pthread_t *threads = calloc((size_t)count, sizeof(*threads));
    pthread_attr_t attributes;

    if (!threads)
        fail("calloc");
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (long i = 0; i < count; i++) {
        errno = pthread_create(&threads[i], &attributes, wait_for_it, NULL);
        if (errno)
            fail("pthread_create");
    }
    for (long i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

int main(int count, char **words)
{
    struct rlimit limit;

    if (count != 4 || (strcmp(words[1], "hold") != 0 && strcmp(words[1], "wait") != 0)) {
        fprintf(stderr, "usage: crowd hold|wait PATH COUNT\n");
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    path = words[2];
    if (strcmp(words[1], "hold") == 0)
        hold(positive(words[3]));
    else
        wait_in_threads(positive(words[3]));
    return 0;
}
