/* The compiled way of shared_lock.py: a lock that is one cell of a file that processes map. Tests run on both.
 *
 * The cell is zero while the lock is free, and otherwise the name of its holder. Taking it is one atomic comparison,
 * which no other process needs to wait for, and no call of the system.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#if !defined(__GCC_ATOMIC_LLONG_LOCK_FREE) || __GCC_ATOMIC_LLONG_LOCK_FREE != 2
#error "this processor has no atomic integers of 64 bits, which processes could share"
#endif

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
    __atomic_store_n(self->cell, 0, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

static void
let_go(CellLock *self)
{
    if (is_held(self))
        __atomic_store_n(self->cell, 0, __ATOMIC_RELEASE);
    self->cell = NULL;
    PyBuffer_Release(&self->cells);
}

static PyObject *
close_lock(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    let_go((CellLock *)op);
    Py_RETURN_NONE;
}

static PyObject *lock_adder(PyObject *op, PyObject *args);

static PyMethodDef lock_methods[] = {
    {"adder", lock_adder, METH_VARARGS, "Return what adds to a cell under the lock, if a row of cells allows it."},
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

static int
lock_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((CellLock *)op)->cells.obj);
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

typedef struct {
    PyObject *adder_type;
} ModuleState;

/* --- Adder ------------------------------------------------------------------------------------------ */

/* Adds to one cell of a row, with the lock, if so much is left of another one. See the stub for what it looks at. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    /* NULL only once the collector has cleared the object. */
    CellLock *lock;
    Py_buffer row, head;
    Py_ssize_t id_at, total_at, end_at, base_at, stamp_at, first_at, second_at, own, count_at;
    long long id, total, least;
} Adder;

/* Read in this order: a hold that ends meanwhile counts twice rather than not at all. */
static inline long long
cell_at(const Py_buffer *cells, Py_ssize_t at)
{
    return __atomic_load_n((const long long *)cells->buf + at, __ATOMIC_ACQUIRE);
}

static int
is_enough(const Adder *self, long long amount, long long now)
{
    Py_ssize_t i, count = (Py_ssize_t)cell_at(&self->head, self->count_at);
    __int128 left = (__int128)cell_at(&self->row, self->base_at) - amount;
    if (count < 1 || count > self->second_at - self->first_at || cell_at(&self->row, self->id_at) != self->id
        || cell_at(&self->row, self->total_at) != self->total || now >= cell_at(&self->row, self->end_at))
        return 0;
    for (i = 0; i < count; i++)
        left -= cell_at(&self->row, self->first_at + i);
    for (i = 0; i < count; i++)
        left -= cell_at(&self->row, self->second_at + i);
    return left >= self->least;
}

static PyObject *
adder_call(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Adder *self = (Adder *)op;
    long long amount, now, holder = 0;
    int is_added;
    if (PyVectorcall_NARGS(nargsf) != 2 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0)) {
        PyErr_SetString(PyExc_TypeError, "an adder takes an amount, and the time");
        return NULL;
    }
    amount = PyLong_AsLongLong(args[0]);
    now = PyLong_AsLongLong(args[1]);
    if ((amount == -1 || now == -1) && PyErr_Occurred())
        return NULL;
    /* The garbage collector may have begun within another call, of which the lock is: nothing is added then. */
    if (amount < 0 || self->lock == NULL || self->lock->cell == NULL || !change(self->lock, &holder, self->lock->own))
        Py_RETURN_FALSE;
    is_added = is_enough(self, amount, now);
    if (is_added) {
        ((long long *)self->row.buf)[self->first_at + self->own] += amount;
        ((long long *)self->row.buf)[self->stamp_at] = now;
    }
    __atomic_store_n(self->lock->cell, 0, __ATOMIC_RELEASE);
    return PyBool_FromLong(is_added);
}

/* A method of CellLock. */
static PyObject *
lock_adder(PyObject *op, PyObject *args)
{
    ModuleState *state = PyType_GetModuleState(Py_TYPE(op));
    PyTypeObject *type;
    PyObject *row, *head;
    Py_ssize_t cells, most;
    Adder *self;
    if (state == NULL)
        return NULL;
    type = (PyTypeObject *)state->adder_type;
    self = (Adder *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->vectorcall = adder_call;
    self->lock = (CellLock *)Py_NewRef(op);
    if (!PyArg_ParseTuple(args, "OOn(nL)(nL)nn(nnn)nL:adder", &row, &head, &self->count_at, &self->id_at, &self->id,
                          &self->total_at, &self->total, &self->end_at, &self->base_at, &self->first_at,
                          &self->second_at, &self->own, &self->stamp_at, &self->least)
        || PyObject_GetBuffer(row, &self->row, PyBUF_CONTIG) < 0
        || PyObject_GetBuffer(head, &self->head, PyBUF_CONTIG) < 0)
        goto failed;
    cells = self->row.len / (Py_ssize_t)sizeof(long long);
    most = self->second_at - self->first_at;
#define IS_OUTSIDE(at) ((at) < 0 || (at) >= cells)
    if (self->row.itemsize != sizeof(long long) || self->head.itemsize != sizeof(long long)
        || ((uintptr_t)self->row.buf | (uintptr_t)self->head.buf) % sizeof(long long) != 0 || self->count_at < 0
        || self->count_at >= self->head.len / (Py_ssize_t)sizeof(long long) || most < 1 || self->own < 0
        || self->own >= most || IS_OUTSIDE(self->first_at) || IS_OUTSIDE(self->second_at + most - 1)
        || IS_OUTSIDE(self->id_at) || IS_OUTSIDE(self->total_at) || IS_OUTSIDE(self->end_at)
        || IS_OUTSIDE(self->base_at) || IS_OUTSIDE(self->stamp_at)) {
        PyErr_SetString(PyExc_ValueError, "these are no cells of the row");
        goto failed;
    }
    return (PyObject *)self;

failed:
    Py_DECREF(self);
    return NULL;
}

static int
adder_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((Adder *)op)->lock);
    Py_VISIT(((Adder *)op)->row.obj);
    Py_VISIT(((Adder *)op)->head.obj);
    return 0;
}

static int
adder_clear(PyObject *op)
{
    Py_CLEAR(((Adder *)op)->lock);
    PyBuffer_Release(&((Adder *)op)->row);
    PyBuffer_Release(&((Adder *)op)->head);
    return 0;
}

static void
adder_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)adder_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMemberDef adder_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Adder, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot adder_slots[] = {
    {Py_tp_traverse, adder_traverse}, {Py_tp_clear, adder_clear},       {Py_tp_dealloc, adder_dealloc},
    {Py_tp_members, adder_members},   {Py_tp_call, PyVectorcall_Call}, {0, NULL},
};

static PyType_Spec adder_spec = {
    .name = "llm_gateway.infra._shared_lock.Adder",
    .basicsize = sizeof(Adder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = adder_slots,
};

/* --- The module ------------------------------------------------------------------------------------- */

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &lock_spec, NULL);
    int added = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    state->adder_type = PyType_FromModuleAndSpec(module, &adder_spec, NULL);
    return state->adder_type == NULL ? -1 : added;
}

static int
module_clear(PyObject *module)
{
    Py_CLEAR(((ModuleState *)PyModule_GetState(module))->adder_type);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(((ModuleState *)PyModule_GetState(module))->adder_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_shared_lock",
    .m_size = sizeof(ModuleState),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__shared_lock(void)
{
    return PyModuleDef_Init(&module_def);
}
