/* The compiled way of shared_lock.py: a lock that is one cell of a file that processes map. Tests run on both.
 *
 * The cell is zero while the lock is free, and otherwise the name of its holder. Taking it is one atomic comparison,
 * which no other process needs to wait for, and no call of the system.
 */
#include "_cell_lock.h"

static inline int
is_held(CellLock *self)
{
    return self->cell != NULL && __atomic_load_n(self->cell, __ATOMIC_RELAXED) == self->own;
}

static int
check_open(CellLock *self)
{
    if (self->cell == NULL)
        PyErr_SetString(PyExc_ValueError, "the lock is closed");
    return self->cell == NULL ? -1 : 0;
}

static PyObject *
try_lock(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CellLock *self = (CellLock *)op;
    long long holder = 0;
    PyObject *name, *taken;
    if (check_open(self) < 0)
        return NULL;
    if (change(self, &holder, self->own))
        Py_RETURN_TRUE;
    if (holder == self->own || self->recover == NULL)
        Py_RETURN_FALSE;
    name = PyLong_FromLongLong(holder);
    if (name == NULL)
        return NULL;
    taken = PyObject_CallFunctionObjArgs(self->recover, op, name, NULL);
    Py_DECREF(name);
    return taken;
}

static PyObject *
take_over(PyObject *op, PyObject *name)
{
    CellLock *self = (CellLock *)op;
    long long holder = PyLong_AsLongLong(name);
    if ((holder == -1 && PyErr_Occurred()) || check_open(self) < 0)
        return NULL;
    if (holder == 0 || holder == self->own) {
        PyErr_SetString(PyExc_ValueError, "the lock is taken over from another holder only");
        return NULL;
    }
    return PyBool_FromLong(change(self, &holder, self->own));
}

static PyObject *
unlock(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    CellLock *self = (CellLock *)op;
    if (!is_held(self)) {
        PyErr_SetString(PyExc_RuntimeError, "the lock is not held");
        return NULL;
    }
    leave(self);
    Py_RETURN_NONE;
}

static void
let_go(CellLock *self)
{
    if (is_held(self))
        leave(self);
    self->cell = NULL;
    PyBuffer_Release(&self->cells);
}

static PyObject *
close_lock(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    let_go((CellLock *)op);
    Py_RETURN_NONE;
}

static PyMethodDef lock_methods[] = {
    {"try_lock", try_lock, METH_NOARGS, "Take the lock unless somebody has it; tell whether it was taken."},
    {"take_over", take_over, METH_O, "Take the lock from a holder that is dead; tell whether it was that one's."},
    {"unlock", unlock, METH_NOARGS, "Let the lock go. Raises RuntimeError unless it is held."},
    {"close", close_lock, METH_NOARGS, "Let the lock go if it is held, and the memory."},
    {NULL, NULL, 0, NULL},
};

static PyObject *
lock_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "", "", "", NULL};
    PyObject *cells, *recover;
    Py_ssize_t at;
    long long own, before;
    CellLock *self;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OnLO:CellLock", names, &cells, &at, &own, &recover))
        return NULL;
    if (own <= 0) {
        PyErr_SetString(PyExc_ValueError, "the name of a holder is above zero");
        return NULL;
    }
    self = (CellLock *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (PyObject_GetBuffer(cells, &self->cells, PyBUF_CONTIG) < 0)
        goto failed;
    if (self->cells.itemsize != sizeof(long long) || at < 0 || at >= self->cells.len / self->cells.itemsize
        || (uintptr_t)self->cells.buf % sizeof(long long) != 0) {
        PyErr_SetString(PyExc_ValueError, "the lock is no cell of these");
        goto failed;
    }
    self->cell = (long long *)self->cells.buf + at;
    self->own = before = own;
    self->recover = Py_NewRef(recover);
    /* What one of the same name, which is dead, has left. */
    (void)change(self, &before, 0);
    return (PyObject *)self;

failed:
    Py_DECREF(self);
    return NULL;
}

/* The view of the cells is not visited: the collector clears a view that is exported, which crashes when it is let go
 * after that. It is part of no cycle of its own. */
static int
lock_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((CellLock *)op)->recover);
    return 0;
}

static int
lock_clear(PyObject *op)
{
    let_go((CellLock *)op);
    Py_CLEAR(((CellLock *)op)->recover);
    return 0;
}

static void
lock_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)lock_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot lock_slots[] = {
    {Py_tp_new, lock_new},           {Py_tp_methods, lock_methods},   {Py_tp_traverse, lock_traverse},
    {Py_tp_clear, lock_clear},       {Py_tp_dealloc, lock_dealloc},   {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "llm_gateway.infra._shared_lock.CellLock",
    .basicsize = sizeof(CellLock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = lock_slots,
};

static int
module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &lock_spec, NULL);
    int added = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return added < 0 ? -1 : PyModule_AddIntConstant(module, "LAYOUT", CELL_LOCK_LAYOUT);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_shared_lock",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__shared_lock(void)
{
    return PyModuleDef_Init(&module_def);
}
