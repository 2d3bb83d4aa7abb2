// SPDX-License-Identifier: Apache-2.0
/*
 * test_quota.c - the accounts of users and jobs: slots, bytes, open files and memory, and refusals when they are full.
 */
#include "slot/quota.h"

#include "arena/segment.h"
#include "suite.h"
#include <errno.h>
#include <stdio.h>

enum { ANN = 1000, BOB = 1001, EVE = 1002, SAME_BUCKET = 1000 + 64 };

static struct quota_payer of(uid_t uid)
{
    return (struct quota_payer){uid, ""};
}

static uint64_t bytes_of(struct quota *quota, uid_t uid)
{
    return quota_bytes(quota, of(uid), QUOTA_USER);
}

static int charge(struct quota *quota, struct segment *segment, uid_t uid, uint64_t bytes, uint64_t limit)
{
    const struct quota_limits limits = {{limit, 0}};

    return quota_charge(quota, segment, of(uid), bytes, &limits);
}

START_TEST(test_slots)
{
    struct quota *quota = quota_new();

    ck_assert_ptr_nonnull(quota);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(quota_add_slot(quota, of(ANN), 3), 0);
    ck_assert_int_eq(quota_add_slot(quota, of(ANN), 3), -EDQUOT);
    ck_assert_int_eq(quota_add_slot(quota, of(ANN), 2), -EDQUOT);
    ck_assert_int_eq(quota_add_slot(quota, of(SAME_BUCKET), 1), 0);
    ck_assert_int_eq(quota_add_slot(quota, of(BOB), 0), -EDQUOT);
    quota_drop_slot(quota, of(ANN));
    ck_assert_int_eq(quota_add_slot(quota, of(ANN), 3), 0);
    ck_assert_int_eq(quota_add_slot(quota, of(ANN), UINT32_MAX), 0);
    quota_drop_slot(quota, of(BOB)); /* he has no slot: stays at 0 */
    ck_assert_int_eq(quota_add_slot(quota, of(BOB), 1), 0);
    ck_assert_int_eq(quota_add_slot(quota, of(0), 1), 0); /* root has an account like others */
    ck_assert_int_eq(quota_add_slot(quota, of(0), 1), -EDQUOT);
    quota_free(quota);
    quota_free(NULL);
}
END_TEST

START_TEST(test_bytes)
{
    struct segment a = {0}, b = {0};
    struct quota *quota = quota_new();

    ck_assert_int_eq(charge(quota, &a, ANN, 60, 100), 0);
    ck_assert_uint_eq(a.charged, 60);
    ck_assert_uint_eq(a.charged_uid, ANN);
    ck_assert_int_eq(charge(quota, &b, ANN, 41, 100), -EDQUOT);
    ck_assert_uint_eq(b.charged, 0);
    ck_assert_int_eq(charge(quota, &b, ANN, 40, 100), 0);
    ck_assert_uint_eq(bytes_of(quota, ANN), 100);
    ck_assert_uint_eq(bytes_of(quota, BOB), 0);

    /* A user may always shrink, even if that is still over the limit. */
    ck_assert_int_eq(charge(quota, &a, ANN, 61, 100), -EDQUOT);
    ck_assert_uint_eq(a.charged, 60);
    ck_assert_int_eq(charge(quota, &a, ANN, 60, 10), 0);
    ck_assert_int_eq(charge(quota, &a, ANN, 59, 10), 0);
    ck_assert_int_eq(charge(quota, &a, ANN, 1000, 0), 0); /* no limit */
    ck_assert_uint_eq(bytes_of(quota, ANN), 1040);

    /* To another account, and back when that one is full. */
    ck_assert_int_eq(charge(quota, &a, BOB, 30, 29), -EDQUOT);
    ck_assert_uint_eq(a.charged, 1000);
    ck_assert_uint_eq(a.charged_uid, ANN);
    ck_assert_int_eq(charge(quota, &a, BOB, 30, 30), 0);
    ck_assert_uint_eq(bytes_of(quota, ANN), 40);
    ck_assert_uint_eq(bytes_of(quota, BOB), 30);
    quota_uncharge(quota, &a);
    quota_uncharge(quota, &a);
    ck_assert_uint_eq(a.charged, 0);
    ck_assert_uint_eq(bytes_of(quota, BOB), 0);
    ck_assert_int_eq(charge(quota, &b, ANN, INT64_MAX, 100), -EDQUOT);
    ck_assert_int_eq(charge(quota, &b, ANN, UINT64_MAX, 100), -EDQUOT);
    ck_assert_uint_eq(b.charged, 40);
    quota_free(quota);
}
END_TEST

/* Sums of sizes that a client makes up do not wrap around, with a limit or without. */
START_TEST(test_sums_do_not_wrap)
{
    struct segment a = {0}, b = {0}, c = {0};
    struct quota *quota = quota_new();

    ck_assert_int_eq(charge(quota, &a, ANN, UINT64_MAX / 2 - 10, 0), 0);
    ck_assert_int_eq(charge(quota, &b, ANN, UINT64_MAX / 2 - 10, 0), 0);
    ck_assert_int_eq(charge(quota, &c, ANN, 45, 0), -EDQUOT);
    ck_assert_int_eq(charge(quota, &c, ANN, 45, 10), -EDQUOT);
    ck_assert_uint_eq(c.charged, 0);
    ck_assert_uint_eq(bytes_of(quota, ANN), UINT64_MAX - 21);
    ck_assert_int_eq(charge(quota, &c, ANN, 21, 0), 0);
    ck_assert_int_eq(charge(quota, &c, ANN, 20, 0), 0);
    quota_uncharge(quota, &a);
    quota_uncharge(quota, &b);
    ck_assert_uint_eq(bytes_of(quota, ANN), 20);
    quota_free(quota);
}
END_TEST

START_TEST(test_many_users)
{
    enum { USERS = 1000 };
    struct segment *segments = calloc(USERS, sizeof(*segments));
    struct quota *quota = quota_new();

    for (unsigned i = 0; i < USERS; i++)
        ck_assert_int_eq(charge(quota, &segments[i], i, i + 1, i + 1), 0);
    for (unsigned i = 0; i < USERS; i++) {
        ck_assert_uint_eq(bytes_of(quota, i), i + 1);
        quota_uncharge(quota, &segments[i]);
    }
    quota_free(quota);
    free(segments);
}
END_TEST

/* What a slot has is on both accounts, and either can be full. */
START_TEST(test_jobs)
{
    const struct quota_payer ann = {ANN, "job_7"}, bob = {BOB, "job_7"}, other = {ANN, "job_8"};
    const struct quota_limits limits = {{100, 70}};
    struct segment a = {0}, b = {0};
    struct quota *quota = quota_new();

    ck_assert_int_eq(quota_charge(quota, &a, ann, 60, &limits), 0);
    ck_assert_int_eq(quota_charge(quota, &b, bob, 11, &limits), -EDQUOT);
    ck_assert_int_eq(quota_refused(quota), QUOTA_JOB);
    ck_assert_uint_eq(b.charged, 0);
    ck_assert_uint_eq(bytes_of(quota, BOB), 0);
    ck_assert_int_eq(quota_charge(quota, &b, bob, 10, &limits), 0);
    ck_assert_int_eq(quota_add_bytes(quota, bob, 1, &limits), -EDQUOT);
    ck_assert_int_eq(quota_add_bytes(quota, other, 41, &limits), -EDQUOT);
    ck_assert_int_eq(quota_refused(quota), QUOTA_USER);
    ck_assert_int_eq(quota_add_bytes(quota, other, 40, &limits), 0);
    ck_assert_uint_eq(quota_bytes(quota, ann, QUOTA_JOB), 70);
    ck_assert_uint_eq(quota_bytes(quota, other, QUOTA_JOB), 40);
    ck_assert_uint_eq(bytes_of(quota, ANN), 100);

    /* From one job to the other, where only that has no room; and from a job to none. */
    ck_assert_int_eq(quota_charge(quota, &a, other, 31, &limits), -EDQUOT);
    ck_assert_int_eq(quota_refused(quota), QUOTA_JOB);
    ck_assert_int_eq(quota_charge(quota, &a, other, 30, &limits), 0);
    ck_assert_uint_eq(quota_bytes(quota, ann, QUOTA_JOB), 10);
    ck_assert_uint_eq(quota_bytes(quota, other, QUOTA_JOB), 70);
    ck_assert_int_eq(quota_charge(quota, &a, of(ANN), 60, &limits), 0);
    ck_assert_uint_eq(quota_bytes(quota, other, QUOTA_JOB), 40);
    ck_assert_uint_eq(bytes_of(quota, ANN), 100);
    quota_drop_bytes(quota, other, 40);
    quota_uncharge(quota, &a);
    quota_uncharge(quota, &b);
    ck_assert_uint_eq(bytes_of(quota, ANN) + bytes_of(quota, BOB), 0);
    ck_assert_uint_eq(quota_bytes(quota, ann, QUOTA_JOB) + quota_bytes(quota, other, QUOTA_JOB), 0);
    quota_free(quota);
}
END_TEST

struct shares {
    int count;
    struct quota_share last;
    char job[16];
};

static void look(void *context, const struct quota_share *share)
{
    struct shares *shares = context;

    shares->count++;
    shares->last = *share;
    snprintf(shares->job, sizeof(shares->job), "%s", share->job);
}

/* A job that has nothing is forgotten, and nothing leads to its account any more. */
START_TEST(test_jobs_come_and_go)
{
    const struct quota_payer ann = {ANN, "job_7"}, bob = {BOB, "job_7"};
    struct segment segment = {0};
    struct quota *quota = quota_new();
    struct shares shares = {0};

    ck_assert_int_eq(quota_add_slot(quota, ann, 1), 0);
    ck_assert_int_eq(quota_add_slot(quota, ann, 1), -EDQUOT);
    ck_assert_int_eq(quota_add_slot(quota, bob, 1), 0);
    ck_assert_int_eq(quota_charge(quota, &segment, ann, 30, NULL), 0);
    quota_visit(quota, QUOTA_JOB, look, &shares);
    ck_assert_int_eq(shares.count, 1);
    ck_assert_str_eq(shares.job, "job_7");
    ck_assert_uint_eq(shares.last.slots, 2);
    ck_assert_uint_eq(shares.last.bytes, 30);
    quota_visit(quota, QUOTA_USER, look, &shares);
    ck_assert_int_eq(shares.count, 3);
    ck_assert_str_eq(shares.job, "");

    quota_drop_slot(quota, ann);
    quota_drop_slot(quota, bob);
    shares.count = 0;
    quota_visit(quota, QUOTA_JOB, look, &shares);
    ck_assert_int_eq(shares.count, 1); /* a client still has its pages mapped */
    ck_assert_int_eq(quota_charge(quota, &segment, ann, 0, NULL), 0);
    ck_assert_ptr_null(segment.charged_job);
    quota_uncharge(quota, &segment);
    quota_drop_bytes(quota, ann, 0);
    shares.count = 0;
    quota_visit(quota, QUOTA_JOB, look, &shares);
    ck_assert_int_eq(shares.count, 0);
    ck_assert_int_eq(quota_add_slot(quota, ann, 1), 0);
    quota_free(quota);
}
END_TEST

START_TEST(test_opens)
{
    struct quota *quota = quota_new();

    ck_assert_int_eq(quota_add_open(quota, ANN, 2), 0);
    ck_assert_int_eq(quota_add_open(quota, ANN, 2), 0);
    ck_assert_int_eq(quota_add_open(quota, ANN, 2), -EMFILE);
    ck_assert_int_eq(quota_add_open(quota, SAME_BUCKET, 2), 0);
    ck_assert_int_eq(quota_add_open(quota, ANN, 0), 0); /* no limit, but counted */
    quota_drop_open(quota, ANN);
    ck_assert_int_eq(quota_add_open(quota, ANN, 2), -EMFILE);
    quota_drop_open(quota, ANN);
    ck_assert_int_eq(quota_add_open(quota, ANN, 2), 0);
    quota_drop_open(quota, BOB); /* he has no file open: stays at 0 */
    ck_assert_int_eq(quota_add_open(quota, BOB, 1), 0);
    quota_free(quota);
}
END_TEST

START_TEST(test_held)
{
    struct quota *quota = quota_new();

    ck_assert_int_eq(quota_hold(quota, ANN, 1000, 100), 0); /* the first text is allowed, however large */
    ck_assert_int_eq(quota_hold(quota, ANN, 1, 100), -EDQUOT);
    ck_assert_int_eq(quota_hold(quota, BOB, 60, 100), 0);
    ck_assert_int_eq(quota_hold(quota, BOB, 40, 100), 0);
    ck_assert_int_eq(quota_hold(quota, BOB, 1, 100), -EDQUOT);
    ck_assert_int_eq(quota_hold(quota, BOB, 1, 0), 0);
    ck_assert_int_eq(quota_hold(quota, BOB, UINT64_MAX, 0), -EDQUOT);
    ck_assert_int_eq(quota_hold(quota, BOB, UINT64_MAX, 200), -EDQUOT);
    quota_let_go(quota, BOB, 60);
    ck_assert_int_eq(quota_hold(quota, BOB, 59, 100), 0);
    ck_assert_int_eq(quota_hold(quota, BOB, 1, 100), -EDQUOT);
    quota_let_go(quota, ANN, 1000);
    ck_assert_int_eq(quota_hold(quota, ANN, 50, 100), 0);
    ck_assert_int_eq(quota_hold(quota, ANN, 50, 100), 0);
    quota_free(quota);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quota");
    TCase *accounts = tcase_create("accounts");

    tcase_add_test(accounts, test_slots);
    tcase_add_test(accounts, test_bytes);
    tcase_add_test(accounts, test_sums_do_not_wrap);
    tcase_add_test(accounts, test_many_users);
    tcase_add_test(accounts, test_jobs);
    tcase_add_test(accounts, test_jobs_come_and_go);
    tcase_add_test(accounts, test_opens);
    tcase_add_test(accounts, test_held);
    suite_add_tcase(suite, accounts);
    return suite_run(suite);
}
