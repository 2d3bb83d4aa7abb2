// SPDX-License-Identifier: Apache-2.0
#include "fuse/session.h"

#include "base/deadline.h"
#include <errno.h>

enum { HEADS = 1, HANDLES = 1 << 21, KNOWN = 1 << 20 };

int session_open(struct session *session)
{
    struct session_head *head;
    int result = keep_open(&session->heads, "kept-session", sizeof(struct session_head), HEADS);

    if (result == 0)
        result = keep_open(&session->handles, "kept-handles", sizeof(struct session_handle), HANDLES);
    if (result == 0)
        result = keep_open(&session->known, "kept-known", sizeof(struct session_known_request), KNOWN);
    if (result == 0)
        result = kept_open(&session->arena);
    if (result == 0 && keep_take(&session->heads) == KEEP_NONE)
        result = -ENOMEM;
    if (result < 0)
        return result;
    head = keep_fresh(&session->heads, 0);
    head->mounted_ms = deadline_now_ms();
    clock_gettime(CLOCK_REALTIME, &head->mounted);
    head->layout = session_layout;
    return 0;
}

int session_attach(struct session *session, const int fds[SESSION_TABLES])
{
    int result = keep_attach(&session->heads, fds[0], sizeof(struct session_head), HEADS);

    if (result == 0)
        result = keep_attach(&session->handles, fds[1], sizeof(struct session_handle), HANDLES);
    if (result == 0)
        result = keep_attach(&session->known, fds[2], sizeof(struct session_known_request), KNOWN);
    if (result == 0)
        result = kept_attach(&session->arena, fds + 3);
    if (result == 0 && (!session_head(session) || session_head(session)->layout != session_layout))
        result = -EINVAL;
    return result;
}

void session_tables(const struct session *session, int fds[SESSION_TABLES])
{
    fds[0] = session->heads.fd;
    fds[1] = session->handles.fd;
    fds[2] = session->known.fd;
    kept_tables(&session->arena, fds + 3);
}

struct session_head *session_head(const struct session *session)
{
    return keep_at(&session->heads, 0);
}

void session_visit(const struct session *session, void (*visit)(void *context, int fd), void *context)
{
    int tables[SESSION_TABLES];

    session_tables(session, tables);
    for (int i = 0; i < SESSION_TABLES; i++)
        visit(context, tables[i]);
    kept_visit(&session->arena, visit, context);
}
