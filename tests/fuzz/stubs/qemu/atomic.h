/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU
 */

#ifndef QEMU_ATOMIC_H
#define QEMU_ATOMIC_H

#define barrier()                   __asm__ volatile("" ::: "memory")
#define smp_mb()                    __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define qatomic_read(p)             __atomic_load_n(p, __ATOMIC_RELAXED)
#define qatomic_set(p, v)           __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define qatomic_load_acquire(p)     __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define qatomic_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define qatomic_rcu_read(p)         qatomic_load_acquire(p)
#define qatomic_rcu_set(p, v)       qatomic_store_release(p, v)

#endif
