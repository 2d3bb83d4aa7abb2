// SPDX-License-Identifier: Apache-2.0
/*
 * kernel.h - the kernel's part of a mount, without a kernel: requests go to the server through a socket, and
 * what comes back is held against the protocol.
 *
 * It does what the kernel does with an answer: it knows the nodeids and the open files, registers backing files,
 * opens them for clients, and counts a mapping as a use of the file. It keeps to what the kernel keeps to whoever
 * its clients are: the number of a request is fresh, and a file is released once, when no request uses it any
 * more. Everything else in a request may be anything. There is one kernel at a time.
 */
#ifndef PYRMAPFS_KERNEL_H
#define PYRMAPFS_KERNEL_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Ends the program with a line that says what does not hold. */
#define KERNEL_EXPECT(holds)                                                                                 \
    do {                                                                                                     \
        if (!(holds))                                                                                        \
            kernel_fail(__FILE__, __LINE__, #holds);                                                         \
    } while (0)
_Noreturn void kernel_fail(const char *file, int line, const char *what);

enum {
    KERNEL_HANDLES = 32,
    KERNEL_NODES = 64,
    KERNEL_PENDING = 96,
    KERNEL_MAPPINGS = 8,
    KERNEL_MESSAGE_MAX = 1 << 16, /* of a request, and of the answer to a READ */
};

struct kernel_caller {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

/* Begins; the caller gives the descriptor to the server, which closes it. */
int kernel_begin(void);
/* Ends: no client has anything mapped any more. */
void kernel_end(void);

/*
 * Sends a request; returns its number, or 0 if the kernel would not send it now (see above). `cut` bytes of it are
 * left away at the end, but no part of the header.
 */
uint64_t kernel_send(uint32_t opcode, uint64_t nodeid, const struct kernel_caller *caller, const void *body,
                     size_t size, size_t cut);
/* The kernel marks requests so that it sends again. */
uint64_t kernel_send_again(uint32_t opcode, uint64_t nodeid, const struct kernel_caller *caller,
                           const void *body, size_t size, size_t cut);
/* Takes all answers that have come. */
void kernel_receive(void);

/* The last answer: to which request, 0 or -errno, and what it carries. */
struct kernel_answer {
    uint64_t unique;
    int error;
    size_t size;
    _Alignas(8) char bytes[KERNEL_MESSAGE_MAX + 4096];
};
const struct kernel_answer *kernel_answer(void);
/* How many requests have no answer yet, and their numbers. */
unsigned kernel_pending(void);
uint64_t kernel_pending_at(unsigned i);
/* How many INTERRUPTs it has sent. */
unsigned kernel_interrupts(void);

/* The nodeids that it was told, the latest first; 0 beyond the last. The root is not among them. */
uint64_t kernel_node(unsigned i);
/* Open files. */
struct kernel_handle {
    uint64_t fh, nodeid;
    uint32_t flags;  /* of open(2) */
    uint32_t answer; /* FOPEN_ */
    int32_t backing_id;
    int fd; /* the backing file as opened for the client; -1 without passthrough */
};
unsigned kernel_handles(void);
const struct kernel_handle *kernel_handle(unsigned i);

/* A client keeps a mapping of the i-th open file, which outlives it; a client lets go of the oldest, if there is one. */
void kernel_map(unsigned i);
/* The same for a file that a symlink names. */
void kernel_map_path(const char *path);
bool kernel_unmap(void);
/* A client stores through a mapping, or writes past the daemon where the answer to OPEN allows that. */
void kernel_store(unsigned i, uint64_t offset, const void *bytes, size_t size);

/* The server's ioctls on the device. */
int kernel_ioctl(unsigned long request, void *argument);
/* How many backing files are registered. */
unsigned kernel_backings(void);

#endif
