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
    head->is_there = 1;
    return 0;
}

struct session_head *session_head(const struct session *session)
{
    return keep_at(&session->heads, 0);
}

void session_visit(const struct session *session, void (*visit)(void *context, int fd), void *context)
{
    int tables[KEPT_TABLES];

    visit(context, session->heads.fd);
    visit(context, session->handles.fd);
    visit(context, session->known.fd);
    kept_tables(&session->arena, tables);
    for (int i = 0; i < KEPT_TABLES; i++)
        visit(context, tables[i]);
    kept_visit(&session->arena, visit, context);
}
