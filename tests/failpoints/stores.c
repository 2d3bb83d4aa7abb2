// SPDX-License-Identifier: Apache-2.0
/*
 * stores.c - what makes a daemon one for tests of failpoints: it is told of its stores, and shares what is armed.
 *
 * Its objects are compiled with -fsanitize=thread, whose calls before each access to memory come here and not to
 * that sanitizer's library. PYRMAPFS_FAULTS in the environment names the file by which a test arms it.
 */
#include "../unit/faults.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((constructor)) static void share(void)
{
    const char *path = getenv("PYRMAPFS_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *start;

    if (fd < 0)
        return;
    start = mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (start != MAP_FAILED)
        faults = start;
}

#define IGNORES(name)                                                                                        \
    void __tsan_##name(void *address);                                                                       \
    void __tsan_##name(void *address)                                                                        \
    {                                                                                                        \
        (void)address;                                                                                       \
    }

#define WRITES(name)                                                                                         \
    void __tsan_##name(void *address);                                                                       \
    void __tsan_##name(void *address)                                                                        \
    {                                                                                                        \
        faults_store(address);                                                                               \
    }

#define SIZE(bits, bytes)                                                                                    \
    IGNORES(read##bytes)                                                                                     \
    IGNORES(unaligned_read##bytes)                                                                           \
    WRITES(write##bytes)                                                                                     \
    WRITES(unaligned_write##bytes)

SIZE(8, 1)
SIZE(16, 2)
SIZE(32, 4)
SIZE(64, 8)
SIZE(128, 16)
IGNORES(func_entry)

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *address, size_t size);
void __tsan_read_range(void *address, size_t size)
{
    (void)address;
    (void)size;
}

void __tsan_write_range(void *address, size_t size);
void __tsan_write_range(void *address, size_t size)
{
    (void)size;
    faults_store(address);
}

#define ATOMIC(bits, type)                                                                                   \
    type __tsan_atomic##bits##_load(const volatile type *from, int order);                                   \
    type __tsan_atomic##bits##_load(const volatile type *from, int order)                                    \
    {                                                                                                        \
        (void)order;                                                                                         \
        return __atomic_load_n(from, __ATOMIC_SEQ_CST);                                                      \
    }                                                                                                        \
    void __tsan_atomic##bits##_store(volatile type *to, type value, int order);                              \
    void __tsan_atomic##bits##_store(volatile type *to, type value, int order)                               \
    {                                                                                                        \
        (void)order;                                                                                         \
        faults_store((const void *)to);                                                                      \
        __atomic_store_n(to, value, __ATOMIC_SEQ_CST);                                                       \
    }                                                                                                        \
    type __tsan_atomic##bits##_fetch_add(volatile type *to, type value, int order);                          \
    type __tsan_atomic##bits##_fetch_add(volatile type *to, type value, int order)                           \
    {                                                                                                        \
        (void)order;                                                                                         \
        faults_store((const void *)to);                                                                      \
        return __atomic_fetch_add(to, value, __ATOMIC_SEQ_CST);                                              \
    }

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
