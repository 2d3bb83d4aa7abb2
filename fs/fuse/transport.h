// SPDX-License-Identifier: Apache-2.0
/*
 * transport.h - what libfuse before 3.17 does not know of the kernel's protocol: passthrough.
 *
 * Requests and replies pass through here on their way between /dev/fuse and libfuse. The reply to INIT asks
 * for what libfuse cannot name, and the reply to OPEN carries the backing id.
 */
#ifndef PYRMAPFS_TRANSPORT_H
#define PYRMAPFS_TRANSPORT_H

#define FUSE_USE_VERSION 312

#include "conf.h"
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
 * Takes over the session's descriptor, which must be mounted. wanted: CONF_OFF never asks for passthrough.
 * Returns 0 or -errno.
 */
int transport_init(struct transport **out, struct fuse_session *session, enum conf_tristate wanted,
                   enum transport_stacking stacking);
void transport_deinit(struct transport *transport);

/* Serves the requests that there are. */
enum transport_event {
    TRANSPORT_IDLE,        /* all of them, or enough for once */
    TRANSPORT_INITIALISED, /* INIT alone, which is the first: now backing files can be registered */
    TRANSPORT_UNMOUNTED,   /* there will be no more */
};
enum transport_event transport_serve(struct transport *transport);

/*
 * Shows each request to `hold`, as the kernel wrote it, before it is served; true: it is not served now. NULL:
 * to nobody.
 */
void transport_hold(struct transport *transport, bool (*hold)(void *context, const void *bytes, size_t size),
                    void *context);
/* Serves a request that was held, or answers it with -errno. */
void transport_replay(struct transport *transport, void *bytes, size_t size);
void transport_refuse(struct transport *transport, uint64_t unique, int result);

/* Whether the kernel of this INIT request has passthrough and we want it; for who answers INIT. */
bool transport_is_offered(const struct transport *transport);

/* Whether the kernel agreed to passthrough; meaningful once INIT was answered. */
bool transport_negotiated(const struct transport *transport);

/* Registers a descriptor (O_RDONLY suffices). Returns its backing id, above 0, or -errno. */
int transport_backing_open(struct transport *transport, int fd);
void transport_backing_close(struct transport *transport, int32_t backing_id);

/*
 * fuse_reply_open of a passthrough file: mapped, and unless fi->direct_io read and written, without the
 * daemon. Returns as fuse_reply_open does: -ENOENT if the opener is gone.
 */
int transport_reply_open(struct transport *transport, fuse_req_t request, const struct fuse_file_info *fi,
                         int32_t backing_id);

#endif
