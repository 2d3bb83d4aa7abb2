// SPDX-License-Identifier: Apache-2.0
/*
 * loop.h - the one event loop: epoll over descriptors, each with a function.
 */
#ifndef PYRMAPFS_LOOP_H
#define PYRMAPFS_LOOP_H

struct loop;

/* Embedded in the caller's structure; stays valid until loop_remove. */
struct loop_source {
    int fd;
    void (*ready)(struct loop_source *source);
};

int loop_init(struct loop **out);
void loop_deinit(struct loop *loop);

/* Watches source->fd for input. Return 0 or -errno. */
int loop_add(struct loop *loop, struct loop_source *source);
void loop_remove(struct loop *loop, struct loop_source *source);

/*
 * Calls ready functions until loop_stop, which may come first. Returns the status given there, or -errno. It
 * can run again.
 */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop, int status);

#endif
