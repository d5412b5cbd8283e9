/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * RCU to be built without QEMU; see qemu/rcu.h beside this file
 */

#include <pthread.h>
#include "qemu/rcu.h"

/* Not the default, where readers that take turns keep a writer out for ever */
static pthread_rwlock_t lock =
    PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

void rcu_register_thread(void)
{
}

void rcu_unregister_thread(void)
{
}

void rcu_read_lock(void)
{
    pthread_rwlock_rdlock(&lock);
}

void rcu_read_unlock(void)
{
    pthread_rwlock_unlock(&lock);
}

void synchronize_rcu(void)
{
    pthread_rwlock_wrlock(&lock);
    pthread_rwlock_unlock(&lock);
}
