/* The compiled way of write_batch.py: the same classes, for fewer instructions. Tests run on both.
 *
 * A Writer belongs to one connection. It adds what is written to its batch, without a Python frame.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    /* A list of pairs: what to call, and with what. NULL only once the collector has cleared the object. */
    PyObject *writes;
    /* What is called before anything is written; NULL or None: nothing. */
    PyObject *before;
    Py_ssize_t turn, at_once, lone_turns, patience;
    /* The bytes that wait, without those whose size nobody asks for. */
    Py_ssize_t size;
} WriteBatch;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    WriteBatch *batch;
    PyObject *write;
    /* Larger data, in bytes, is written at once; negative: all waits. */
    Py_ssize_t largest;
} Writer;

/* What the module holds; `report` is what reports a bug. */
#define OBJECTS(DO) DO(batch_type) DO(writer_type) DO(running_loop) DO(make) DO(call_soon) DO(report)

typedef struct {
#define DECLARE(field) PyObject *field;
    OBJECTS(DECLARE)
    /* As in write_batch.py, which passes them. */
    Py_ssize_t most, most_bytes, lone_writes;
} ModuleState;

static ModuleState *
state_of(PyObject *op)
{
    return PyType_GetModuleState(Py_TYPE(op));
}

/* How the collector goes through a type's two objects, and how these are let go. */
#define COLLECTED(name, Type, first, second)                                                                         \
    static int name##_traverse(PyObject *op, visitproc visit, void *arg)                                             \
    {                                                                                                                \
        Py_VISIT(Py_TYPE(op));                                                                                       \
        Py_VISIT(((Type *)op)->first);                                                                               \
        Py_VISIT(((Type *)op)->second);                                                                              \
        return 0;                                                                                                    \
    }                                                                                                                \
    static int name##_clear(PyObject *op)                                                                            \
    {                                                                                                                \
        Py_CLEAR(((Type *)op)->first);                                                                               \
        Py_CLEAR(((Type *)op)->second);                                                                              \
        return 0;                                                                                                    \
    }                                                                                                                \
    static void name##_dealloc(PyObject *op)                                                                         \
    {                                                                                                                \
        PyTypeObject *type = Py_TYPE(op);                                                                            \
        PyObject_GC_UnTrack(op);                                                                                     \
        (void)name##_clear(op);                                                                                      \
        type->tp_free(op);                                                                                           \
        Py_DECREF(type);                                                                                             \
    }

/* --- WriteBatch ------------------------------------------------------------------------------------- */

/* Make one write. Return -1 for an exception that is no failure of the write. */
static int
make_one(WriteBatch *self, PyObject *pair)
{
    PyObject *type, *error, *traceback, *reported;
    PyObject *result = PyObject_CallOneArg(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        /* It was closed meanwhile, and its protocol is told so. uvloop raises this, asyncio nothing. */
        PyErr_Clear();
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    reported = PyObject_CallOneArg(state_of((PyObject *)self)->report, error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    if (reported == NULL)
        return -1;
    Py_DECREF(reported);
    return 0;
}

/* Let the writes from `index` on wait again; keeps the exception. */
static void
put_back(WriteBatch *self, PyObject *writes, Py_ssize_t index)
{
    PyObject *type, *error, *traceback, *rest;
    PyErr_Fetch(&type, &error, &traceback);
    rest = PyList_GetSlice(writes, index, PyList_GET_SIZE(writes));
    if (rest == NULL || PyList_SetSlice(self->writes, 0, 0, rest) < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(rest);
    PyErr_Restore(type, error, traceback);
}

/* Call what comes before all writes. Return -1 for an exception. */
static int
call_before(WriteBatch *self)
{
    PyObject *result;
    if (self->before == NULL || self->before == Py_None)
        return 0;
    result = PyObject_CallNoArgs(self->before);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
make_all(WriteBatch *self)
{
    PyObject *fresh, *writes;
    Py_ssize_t index, count;
    int result = 0;
    if (call_before(self) < 0)
        return -1;
    writes = self->writes;
    count = PyList_GET_SIZE(writes);
    self->turn++;
    self->size = 0;
    if (count == 0)
        return 0;
    fresh = PyList_New(0);
    if (fresh == NULL)
        return -1;
    /* This function owns the old list from here on, whatever is written meanwhile. */
    self->writes = fresh;
    if (count > 1)
        self->lone_turns = 0;
    else if (++self->lone_turns >= self->patience)
        self->at_once = state_of((PyObject *)self)->lone_writes;
    for (index = 0; index < count && result == 0; index++)
        result = make_one(self, PyList_GET_ITEM(writes, index));
    if (result < 0)
        put_back(self, writes, index);
    Py_DECREF(writes);
    return result;
}

static PyObject *
batch_make(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (((WriteBatch *)op)->writes != NULL && make_all((WriteBatch *)op) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Make the writes at the end of this turn. */
static int
make_later(WriteBatch *self)
{
    ModuleState *state = state_of((PyObject *)self);
    PyObject *handle = NULL, *loop, *make;
    loop = PyObject_CallNoArgs(state->running_loop);
    if (loop == NULL)
        return -1;
    make = PyObject_GetAttr((PyObject *)self, state->make);
    if (make != NULL)
        handle = PyObject_CallMethodOneArg(loop, state->call_soon, make);
    Py_DECREF(loop);
    Py_XDECREF(make);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

static PyObject *
batch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"patience", NULL};
    Py_ssize_t patience;
    WriteBatch *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n", keywords, &patience))
        return NULL;
    self = (WriteBatch *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->patience = patience;
    self->writes = PyList_New(0);
    if (self->writes == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

COLLECTED(batch, WriteBatch, writes, before)

static PyObject *batch_writer(PyObject *op, PyObject *args);

static PyMethodDef batch_methods[] = {
    {"make", batch_make, METH_NOARGS, "Make all writes now, in the order in which they were added."},
    {"writer", batch_writer, METH_VARARGS, "Return what adds the writes of one connection."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef batch_members[] = {
    {"turn", T_PYSSIZET, offsetof(WriteBatch, turn), READONLY, "How often what waited was made."},
    {"at_once", T_PYSSIZET, offsetof(WriteBatch, at_once), READONLY, "Writes that are still made at once."},
    {"writes", T_OBJECT, offsetof(WriteBatch, writes), READONLY, "The writes that wait."},
    {"before", T_OBJECT, offsetof(WriteBatch, before), 0, "Is called before anything is written."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_new, batch_new},         {Py_tp_traverse, batch_traverse}, {Py_tp_clear, batch_clear},
    {Py_tp_dealloc, batch_dealloc}, {Py_tp_methods, batch_methods},   {Py_tp_members, batch_members},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    .name = "llm_gateway.sockets._write_batch.WriteBatch",
    .basicsize = sizeof(WriteBatch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = batch_slots,
};

/* --- Writer ----------------------------------------------------------------------------------------- */

static PyObject *
writer_call(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Writer *self = (Writer *)op;
    WriteBatch *batch = self->batch;
    PyObject *pair;
    Py_ssize_t size;
    if (PyVectorcall_NARGS(nargsf) != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) != 0)) {
        PyErr_SetString(PyExc_TypeError, "a write takes one argument");
        return NULL;
    }
    if (batch == NULL || batch->writes == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this writer was garbage already");
        return NULL;
    }
    if (batch->at_once > 0) {
        batch->at_once--;
        batch->turn++;
        return call_before(batch) < 0 ? NULL : PyObject_CallOneArg(self->write, args[0]);
    }
    if (self->largest >= 0) {
        size = PyObject_Size(args[0]);
        if (size < 0)
            return NULL;
        if (size > self->largest)
            return make_all(batch) < 0 || call_before(batch) < 0 ? NULL : PyObject_CallOneArg(self->write, args[0]);
        batch->size += size;
    }
    if (PyList_GET_SIZE(batch->writes) == 0 && make_later(batch) < 0)
        return NULL;
    pair = PyTuple_Pack(2, self->write, args[0]);
    if (pair == NULL)
        return NULL;
    size = PyList_Append(batch->writes, pair);
    Py_DECREF(pair);
    if (size < 0)
        return NULL;
    if ((PyList_GET_SIZE(batch->writes) >= state_of(op)->most || batch->size >= state_of(op)->most_bytes)
        && make_all(batch) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A method of WriteBatch. */
static PyObject *
batch_writer(PyObject *op, PyObject *args)
{
    PyTypeObject *type = (PyTypeObject *)state_of(op)->writer_type;
    PyObject *write;
    Py_ssize_t largest;
    Writer *self;
    if (!PyArg_ParseTuple(args, "On", &write, &largest))
        return NULL;
    self = (Writer *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->vectorcall = writer_call;
    self->batch = (WriteBatch *)Py_NewRef(op);
    self->write = Py_NewRef(write);
    self->largest = largest;
    return (PyObject *)self;
}

COLLECTED(writer, Writer, batch, write)

static PyMemberDef writer_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Writer, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_traverse, writer_traverse}, {Py_tp_clear, writer_clear},     {Py_tp_dealloc, writer_dealloc},
    {Py_tp_members, writer_members},   {Py_tp_call, PyVectorcall_Call}, {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "llm_gateway.sockets._write_batch.Writer",
    .basicsize = sizeof(Writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = writer_slots,
};

/* --- the module ------------------------------------------------------------------------------------- */

static PyObject *
configure(PyObject *module, PyObject *args)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *report;
    if (!PyArg_ParseTuple(args, "nnnO", &state->most, &state->most_bytes, &state->lone_writes, &report))
        return NULL;
    Py_XSETREF(state->report, Py_NewRef(report));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure", configure, METH_VARARGS, "Take the constants of write_batch.py, and what reports a bug."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *asyncio;
    asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL)
        return -1;
    state->running_loop = PyObject_GetAttrString(asyncio, "get_running_loop");
    Py_DECREF(asyncio);
    state->make = PyUnicode_InternFromString("make");
    state->call_soon = PyUnicode_InternFromString("call_soon");
    state->batch_type = PyType_FromModuleAndSpec(module, &batch_spec, NULL);
    if (state->running_loop == NULL || state->make == NULL || state->call_soon == NULL || state->batch_type == NULL
        || PyModule_AddType(module, (PyTypeObject *)state->batch_type) < 0)
        return -1;
    state->writer_type = PyType_FromModuleAndSpec(module, &writer_spec, NULL);
    return state->writer_type == NULL ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
#define VISIT(field) Py_VISIT(state->field);
    OBJECTS(VISIT)
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
#define CLEAR(field) Py_CLEAR(state->field);
    OBJECTS(CLEAR)
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_write_batch",
    .m_size = sizeof(ModuleState),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__write_batch(void)
{
    return PyModuleDef_Init(&module_def);
}
