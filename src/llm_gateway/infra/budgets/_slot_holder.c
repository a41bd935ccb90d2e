/* The compiled way of slot_holder.py: holds an amount in rows of cells, and settles it. Tests run on both.
 *
 * No Python runs while the lock is held or while a sum changes, so that no garbage collection, which may end other
 * holds of the same cells, comes in between.
 */
#include "_slot_cells.h"

#include <time.h>

typedef struct {
    PyTypeObject *lock_type, *holder_type, *held_type;
    PyObject *cost_name, *source_name;
} ModuleState;

/* --- Holder ----------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_VAR_HEAD
    vectorcallfunc vectorcall;
    /* NULL only once the collector has cleared the object. */
    CellLock *lock;
    PyObject *clock, *on_settled, *on_stated;
    /* How many cells of each array are in use: one for each process. */
    Py_buffer head;
    Py_ssize_t count_at;
    Layout at;
    Row rows[1];
} Holder;

typedef struct {
    PyObject_HEAD
    /* NULL once it has ended. It cannot refer to this object: it is part of no cycle. */
    Holder *holder;
    long long amount;
} Held;

static int
read_clock(const Holder *self, long long *now)
{
    struct timespec at;
    PyObject *read;
    if (self->clock == Py_None) {
        if (clock_gettime(CLOCK_MONOTONIC, &at) < 0) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        *now = at.tv_sec * 1000000000LL + at.tv_nsec;
        return 0;
    }
    read = PyObject_CallNoArgs(self->clock);
    if (read == NULL)
        return -1;
    *now = PyLong_AsLongLong(read);
    Py_DECREF(read);
    return *now == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
holder_call(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Holder *self = (Holder *)op;
    ModuleState *state;
    long long amount, now = 0, free_lock = 0;
    Held *held;
    int is_held = 0, is_large = 0;
    if (PyVectorcall_NARGS(nargsf) != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0)) {
        PyErr_SetString(PyExc_TypeError, "a holder takes an amount");
        return NULL;
    }
    amount = PyLong_AsLongLongAndOverflow(args[0], &is_large);
    if (amount == -1 && PyErr_Occurred())
        return NULL;
    if (amount <= 0 || self->lock == NULL || self->lock->cell == NULL)
        Py_RETURN_NONE;
    if (read_clock(self, &now) < 0 || (state = PyType_GetModuleState(Py_TYPE(op))) == NULL)
        return NULL;
    held = PyObject_New(Held, state->held_type);
    if (held == NULL)
        return NULL;
    held->holder = NULL;
    held->amount = amount;
    /* Those calls may have run a garbage collection, or anything else. */
    if (self->lock != NULL && self->lock->cell != NULL && change(self->lock, &free_lock, self->lock->own)) {
        long long count = __atomic_load_n((long long *)self->head.buf + self->count_at, __ATOMIC_ACQUIRE);
        is_held = begin_hold(&self->at, self->rows, Py_SIZE(self), count, amount, now);
        leave(self->lock);
    }
    if (!is_held) {
        Py_DECREF(held);
        Py_RETURN_NONE;
    }
    held->holder = (Holder *)Py_NewRef(op);
    return (PyObject *)held;
}

/* holder(lock, head, count_at, layout, rows, clock, on_settled, on_stated): see the stub. */
static PyObject *
make_holder(PyObject *module, PyObject *args)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *head, *rows, *cells, *clock, *on_settled, *on_stated, *lock;
    Py_ssize_t count_at, i;
    Layout at;
    Holder *self;
    if (!PyArg_ParseTuple(args, "O!On(nnnnnnnn)O!OOO:holder", state->lock_type, &lock, &head, &count_at, &at.id_at,
                          &at.total_at, &at.end_at, &at.base_at, &at.stamp_at, &at.first_at, &at.second_at, &at.own,
                          &PyTuple_Type, &rows, &clock, &on_settled, &on_stated))
        return NULL;
    if (PyTuple_GET_SIZE(rows) < 1) {
        PyErr_SetString(PyExc_ValueError, "there are no rows");
        return NULL;
    }
    self = (Holder *)state->holder_type->tp_alloc(state->holder_type, PyTuple_GET_SIZE(rows));
    if (self == NULL)
        return NULL;
    self->vectorcall = holder_call;
    self->lock = (CellLock *)Py_NewRef(lock);
    self->clock = Py_NewRef(clock);
    self->on_settled = Py_NewRef(on_settled);
    self->on_stated = Py_NewRef(on_stated);
    self->count_at = count_at;
    self->at = at;
    if (PyObject_GetBuffer(head, &self->head, PyBUF_CONTIG) < 0)
        goto failed;
    if (!are_cells(&self->head) || is_outside(&self->head, count_at))
        goto outside;
    for (i = 0; i < Py_SIZE(self); i++) {
        Row *row = &self->rows[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(rows, i), "OLLL:row", &cells, &row->id, &row->total, &row->least)
            || PyObject_GetBuffer(cells, &row->cells, PyBUF_CONTIG) < 0)
            goto failed;
        if (!fits(&self->at, row))
            goto outside;
    }
    return (PyObject *)self;

outside:
    PyErr_SetString(PyExc_ValueError, "these are no cells of the row");
failed:
    Py_DECREF(self);
    return NULL;
}

/* The views of the cells are not visited: the collector clears a view that is exported, which crashes when it is let go
 * after that. They are part of no cycle of their own. */
static int
holder_traverse(PyObject *op, visitproc visit, void *arg)
{
    Holder *self = (Holder *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->lock);
    Py_VISIT(self->clock);
    Py_VISIT(self->on_settled);
    Py_VISIT(self->on_stated);
    return 0;
}

/* What refers to it is no part of the garbage that is cleared: no hold of it is open then. */
static int
holder_clear(PyObject *op)
{
    Holder *self = (Holder *)op;
    Py_ssize_t i;
    Py_CLEAR(self->lock);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->on_settled);
    Py_CLEAR(self->on_stated);
    PyBuffer_Release(&self->head);
    for (i = 0; i < Py_SIZE(self); i++)
        PyBuffer_Release(&self->rows[i].cells);
    return 0;
}

static void
holder_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)holder_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMemberDef holder_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Holder, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot holder_slots[] = {
    {Py_tp_traverse, holder_traverse}, {Py_tp_clear, holder_clear},       {Py_tp_dealloc, holder_dealloc},
    {Py_tp_members, holder_members},   {Py_tp_call, PyVectorcall_Call}, {0, NULL},
};

static PyType_Spec holder_spec = {
    .name = "llm_gateway.infra.budgets._slot_holder.Holder",
    .basicsize = offsetof(Holder, rows),
    .itemsize = sizeof(Row),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = holder_slots,
};

/* --- Held ------------------------------------------------------------------------------------------- */

/* End the hold, and return what it was of, with its reference; NULL if it has ended before. */
static Holder *
end(Held *self, long long cost)
{
    Holder *holder = self->holder;
    self->holder = NULL;
    if (holder != NULL)
        end_hold(&holder->at, holder->rows, Py_SIZE(holder), self->amount, cost);
    return holder;
}

/* Read the cost of a record: None is nothing. */
static int
read_cost(PyObject *record, PyObject *name, long long *cost)
{
    PyObject *read = PyObject_GetAttr(record, name);
    int is_large = 0;
    if (read == NULL)
        return -1;
    *cost = read == Py_None ? 0 : PyLong_AsLongLongAndOverflow(read, &is_large);
    Py_DECREF(read);
    if (is_large > 0 || *cost > MOST)
        *cost = MOST;
    return *cost == -1 && !is_large && PyErr_Occurred() ? -1 : 0;
}

static int
tell(PyObject *listener, PyObject *record)
{
    PyObject *told = PyObject_CallOneArg(listener, record);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

static PyObject *
held_settle(PyObject *op, PyObject *record)
{
    ModuleState *state = PyType_GetModuleState(Py_TYPE(op));
    PyObject *source;
    Holder *holder;
    long long cost;
    int is_stated, failed;
    if (state == NULL || read_cost(record, state->cost_name, &cost) < 0)
        return NULL;
    source = PyObject_GetAttr(record, state->source_name);
    if (source == NULL)
        return NULL;
    is_stated = PyUnicode_Check(source) && PyUnicode_GET_LENGTH(source) == 8
                && PyUnicode_CompareWithASCIIString(source, "provider") == 0;
    Py_DECREF(source);
    holder = end((Held *)op, cost);
    if (holder == NULL)
        Py_RETURN_NONE;
    failed = tell(holder->on_settled, record) < 0 || (is_stated && tell(holder->on_stated, record) < 0);
    Py_DECREF(holder);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
held_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Py_XDECREF(end((Held *)op, 0));
    Py_RETURN_NONE;
}

static void
held_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(((Held *)op)->holder);
    PyObject_Free(op);
    Py_DECREF(type);
}

static PyMethodDef held_methods[] = {
    {"settle", held_settle, METH_O, "Replace what is held with what the record says that the request cost."},
    {"release", held_release, METH_NOARGS, "Give everything back."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot held_slots[] = {
    {Py_tp_methods, held_methods}, {Py_tp_dealloc, held_dealloc}, {0, NULL},
};

static PyType_Spec held_spec = {
    .name = "llm_gateway.infra.budgets._slot_holder.Held",
    .basicsize = sizeof(Held),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = held_slots,
};

/* --- The module ------------------------------------------------------------------------------------- */

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *locks = PyImport_ImportModule("llm_gateway.infra._shared_lock"), *layout;
    long number;
    if (locks == NULL)
        return -1;
    state->lock_type = (PyTypeObject *)PyObject_GetAttrString(locks, "CellLock");
    layout = PyObject_GetAttrString(locks, "LAYOUT");
    Py_DECREF(locks);
    number = layout == NULL ? -1 : PyLong_AsLong(layout);
    Py_XDECREF(layout);
    if (state->lock_type == NULL || PyErr_Occurred())
        return -1;
    if (!PyType_Check(state->lock_type) || number != CELL_LOCK_LAYOUT) {
        PyErr_SetString(PyExc_ImportError, "the lock was compiled from another version");
        return -1;
    }
    state->holder_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &holder_spec, NULL);
    state->held_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &held_spec, NULL);
    state->cost_name = PyUnicode_InternFromString("cost_nano_usd");
    state->source_name = PyUnicode_InternFromString("cost_source");
    return state->holder_type && state->held_type && state->cost_name && state->source_name ? 0 : -1;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    Py_VISIT(state->lock_type);
    Py_VISIT(state->holder_type);
    Py_VISIT(state->held_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    Py_CLEAR(state->lock_type);
    Py_CLEAR(state->holder_type);
    Py_CLEAR(state->held_type);
    Py_CLEAR(state->cost_name);
    Py_CLEAR(state->source_name);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static PyMethodDef module_methods[] = {
    {"holder", make_holder, METH_VARARGS, "Return what holds an amount in rows, if nothing about them is unusual."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_slot_holder",
    .m_size = sizeof(ModuleState),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__slot_holder(void)
{
    return PyModuleDef_Init(&module_def);
}
