// SPDX-License-Identifier: Apache-2.0
/* A program that looks as if it could go on with a running mount, but whose server dies when it makes the open files its own. */
#include "fuse/reopen.h"

int reopen_all(struct request_ops *ops)
{
    (void)ops;
    __builtin_trap(); /* the sandbox allows it no signals */
}

bool reopen_answer(struct request_ops *ops, fuse_req_t request, struct fuse_file_info *fi)
{
    (void)ops;
    (void)request;
    (void)fi;
    return false;
}

void reopen_settle(struct request_ops *ops)
{
    (void)ops;
}

void reopen_backings(struct request_ops *ops)
{
    (void)ops;
}

void reopen_wake_polls(struct request_ops *ops)
{
    (void)ops;
}
