/* What a lock that is a cell consists of, for the compiled parts that take it themselves. */
#ifndef LLM_GATEWAY_CELL_LOCK_H
#define LLM_GATEWAY_CELL_LOCK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#if !defined(__GCC_ATOMIC_LLONG_LOCK_FREE) || __GCC_ATOMIC_LLONG_LOCK_FREE != 2
#error "this processor has no atomic integers of 64 bits, which processes could share"
#endif

/* Raised with each change of the struct: parts that were compiled from different versions must not meet. */
#define CELL_LOCK_LAYOUT 1

typedef struct {
    PyObject_HEAD
    /* As long as it is exported, the file stays mapped. */
    Py_buffer cells;
    /* In `cells`; NULL once the lock is closed. */
    long long *cell;
    /* The name of this holder. */
    long long own;
    /* What may take the lock from a holder that died; NULL only once the collector has cleared the object. */
    PyObject *recover;
} CellLock;

/* Put `after` into the cell if `before` is there; else tell what is. */
static inline int
change(CellLock *self, long long *before, long long after)
{
    return __atomic_compare_exchange_n(self->cell, before, after, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Let the lock go that `change` has taken. */
static inline void
leave(CellLock *self)
{
    __atomic_store_n(self->cell, 0, __ATOMIC_RELEASE);
}

#endif
