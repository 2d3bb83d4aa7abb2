// SPDX-License-Identifier: Apache-2.0
/*
 * transport.h - between /dev/fuse and libfuse: passthrough, which libfuse before 3.17 does not know, and
 * sessions that go on with another server, which no libfuse knows.
 *
 * Requests and replies pass through here. We add flags that libfuse does not know to the reply to INIT, and the
 * backing id to the reply to OPEN. We keep the INIT request: a server that takes the session over gives it to
 * its libfuse again, and keeps the reply to itself. Then it has the kernel send again all requests that have no
 * answer (FUSE_NOTIFY_RESEND, Linux 6.9), and serves them in the order in which they had come at first.
 */
#ifndef PYRMAPFS_TRANSPORT_H
#define PYRMAPFS_TRANSPORT_H

#define FUSE_USE_VERSION 312

#include "conf.h"
#include "fuse/journal.h"
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <sys/ioctl.h>

struct transport;

/* The ioctls of passthrough on /dev/fuse, for headers before Linux 6.9. */
struct transport_backing {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define TRANSPORT_BACKING_OPEN  _IOW(229, 1, struct transport_backing)
#define TRANSPORT_BACKING_CLOSE _IOW(229, 2, uint32_t)

enum transport_stacking {
    TRANSPORT_STACK_PLAIN = 1,   /* backing files lie on an ordinary filesystem */
    TRANSPORT_STACK_OVERLAY = 2, /* ... on an overlay, which counts as a layer itself */
};

/*
 * Takes over the session's descriptor; the session must be mounted. With `wanted` CONF_OFF we never ask the
 * kernel for passthrough. Returns 0 or -errno.
 */
int transport_init(struct transport **out, struct fuse_session *session, struct journal *journal,
                   enum conf_tristate wanted, enum transport_stacking stacking);
void transport_deinit(struct transport *transport);

/* Makes libfuse go on where the last server's was. Call it instead of waiting for TRANSPORT_INITIALISED. */
int transport_take_over(struct transport *transport);
/*
 * Then, when requests can be served: asks the kernel for all that have no answer. transport_serve serves them
 * before any other. Returns 0 or -errno.
 */
int transport_resend(struct transport *transport);
/* Whether some of these are still to be served; whether this is one of them, linear in their number. */
bool transport_has_resent(const struct transport *transport);
bool transport_awaits(const struct transport *transport, uint64_t unique);

/* Serves the requests that have come. */
enum transport_event {
    TRANSPORT_IDLE,        /* it served all, or as many as it serves at once */
    TRANSPORT_INITIALISED, /* it served INIT, the first: backing files can be registered from now on */
    TRANSPORT_UNMOUNTED,   /* no more requests will come */
};
enum transport_event transport_serve(struct transport *transport);

/* Whether the request that we serve is one of many that came in a row: more wait in line, most likely. */
bool transport_is_behind(const struct transport *transport);

/*
 * Calls `before` before each answer to a request goes to the kernel: what the client then knows must be kept.
 * What we tell the kernel without being asked is no answer.
 */
void transport_before_reply(struct transport *transport, void (*before)(void *context), void *context);

/*
 * Sets a function that sees each request before we serve it, as the kernel wrote it. If it returns true, we
 * do not serve the request now. NULL removes it.
 */
void transport_hold(struct transport *transport, bool (*hold)(void *context, const void *bytes, size_t size),
                    void *context);
/* The number of the request that we serve now, and of a POLL the key by which the kernel knows the file. */
uint64_t transport_unique(const struct transport *transport);
bool transport_is_resent(const struct transport *transport);
uint64_t transport_poll_key(const struct transport *transport);
/* Makes the kernel ask again for the events of the file that has this key. */
void transport_wake_poll(struct transport *transport, uint64_t key);

/* Serves a request that `hold` kept, or answers it with -errno. */
void transport_replay(struct transport *transport, void *bytes, size_t size);
void transport_refuse(struct transport *transport, uint64_t unique, int result);

/* Whether the kernel offers passthrough in its INIT request and we want it. Ask while you answer INIT. */
bool transport_is_offered(const struct transport *transport);

/* Whether the kernel agreed to passthrough. Ask after INIT was answered. */
bool transport_negotiated(const struct transport *transport);

/* Registers a descriptor (O_RDONLY suffices). Returns its backing id, above 0, or -errno. */
int transport_backing_open(struct transport *transport, int fd);
/*
 * Before one is closed, in this order: tell the next server that it goes, see to it that nobody knows it any more,
 * close it.
 */
void transport_backing_leave(struct transport *transport, int32_t backing_id);
void transport_backing_close(struct transport *transport, int32_t backing_id);
/*
 * In a takeover, before any other is made or closed: closes the registrations that the last server was about to close, or made just before it was
 * killed, so that nobody knows of them. `is_known` tells whether somebody does.
 */
void transport_backing_sweep(struct transport *transport, bool (*is_known)(void *context, int32_t backing_id),
                             void *context);

/*
 * As fuse_reply_open, for a passthrough file: the client maps it without the daemon, and reads and writes it
 * without the daemon unless fi->direct_io is set. Returns -ENOENT if the client is gone.
 */
int transport_reply_open(struct transport *transport, fuse_req_t request, const struct fuse_file_info *fi,
                         int32_t backing_id);

#endif
