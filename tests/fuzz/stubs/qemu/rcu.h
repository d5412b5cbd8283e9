/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What modules need of QEMU's header of this name, to be built without QEMU:
 * a reader keeps a lock, and call_rcu() waits for it.  Readers do not nest.
 */

#ifndef QEMU_RCU_H
#define QEMU_RCU_H

struct rcu_head {
    char unused;
};

void rcu_register_thread(void);
void rcu_unregister_thread(void);
void rcu_read_lock(void);
void rcu_read_unlock(void);
void synchronize_rcu(void);

#define g_free_rcu(obj, field)  (synchronize_rcu(), g_free(obj))

#endif
