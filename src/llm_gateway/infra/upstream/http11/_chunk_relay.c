/* The compiled way of quiet_relay.py: what receives the bytes of a committed stream, and passes plain chunks on.
 *
 * It does what `python_receiver` does there, call for call; tests run on both.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* As in quiet_relay.py. */
#define LARGEST 4096
#define BATCH 64
/* What follows the digits of an event's size, and its length. */
#define EVENT_START "\r\ndata:"
#define EVENT_START_SIZE 7
/* Bytes of a chunk beside the digits and the event: two CRLF. */
#define FRAME 4

/* Attributes that are looked up for a chunk. */
enum { GONE, OPEN, DEADLINE, DATA_RECEIVED, IS_AT_CHUNK, STOP_RELAYING, NAMES };
static const char *const NAME_TEXTS[NAMES] = {
    "gone", "open", "deadline", "data_received", "is_at_chunk", "stop_relaying",
};

typedef struct {
    PyObject *names[NAMES];
} ModuleState;

/* `passed` is a list of the chunks that were passed on and not counted yet; it is NULL only once the collector has
 * cleared the object. `end` is how a plain event ends, NULL while none may be passed on. */
#define FIELDS(DO)                                                                                                   \
    DO(passed) DO(end) DO(connection) DO(max_silence) DO(now) DO(event_end) DO(count) DO(sink) DO(write)

typedef struct {
    PyObject_HEAD
#define DECLARE(field) PyObject *field;
    FIELDS(DECLARE)
} ChunkReceiver;

static PyObject *
name_of(ChunkReceiver *self, int name)
{
    return ((ModuleState *)PyType_GetModuleState(Py_TYPE(self)))->names[name];
}

/* Consume the result of a call or lookup. Return whether it is true, -1 if there was an exception. */
static int
truth(PyObject *result)
{
    int is_true = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    return is_true;
}

/* Consume the result of a call that is made for its effect. Return 0, -1 if there was an exception. */
static int
done(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Ask what a plain event ends with now. This and the following functions return -1 if there was an exception. */
static int
look_ahead(ChunkReceiver *self)
{
    PyObject *end = PyObject_CallNoArgs(self->event_end);
    if (end == NULL)
        return -1;
    if (!PyBytes_Check(end)) {
        Py_DECREF(end);
        PyErr_SetString(PyExc_TypeError, "event_end() must return bytes");
        return -1;
    }
    if (PyBytes_GET_SIZE(end) == 0)
        Py_CLEAR(end);
    Py_XSETREF(self->end, end);
    return 0;
}

/* Count what was passed on; after an exception it is still to be counted. */
static int
count_passed(ChunkReceiver *self)
{
    PyObject *fresh, *passed = self->passed;
    int result;
    if (PyList_GET_SIZE(passed) == 0)
        return 0;
    fresh = PyList_New(0);
    if (fresh == NULL)
        return -1;
    Py_INCREF(passed);
    result = done(PyObject_CallOneArg(self->count, passed));
    Py_DECREF(passed);
    if (result < 0)
        Py_DECREF(fresh);
    else
        Py_XSETREF(self->passed, fresh);
    return result;
}

/* Tell whether these bytes are exactly one chunk with one plain event. */
static int
is_plain(const ChunkReceiver *self, const char *chunk, Py_ssize_t size)
{
    char start[3 + EVENT_START_SIZE];
    const char *blank, *line;
    Py_ssize_t event, end_size, length = 0;
    int digits;
    if (self->end == NULL || size >= LARGEST)
        return 0;
    end_size = PyBytes_GET_SIZE(self->end);
    if (size < end_size + 2 || memcmp(chunk + size - 2, "\r\n", 2) != 0
        || memcmp(chunk + size - 2 - end_size, PyBytes_AS_STRING(self->end), (size_t)end_size) != 0)
        return 0;
    /* The size of the whole fixes the digits of the event's. Two sizes are those of no chunk. */
    digits = size <= FRAME + 1 + 0xf ? 1 : size <= FRAME + 2 + 0xff ? 2 : 3;
    event = size - FRAME - digits;
    if (event < EVENT_START_SIZE - 2 || (digits > 1 && event >> (4 * (digits - 1)) == 0))
        return 0;
    while (digits-- > 0)
        start[length++] = "0123456789abcdef"[event >> (4 * digits) & 0xf];
    memcpy(start + length, EVENT_START, EVENT_START_SIZE);
    if (memcmp(chunk, start, (size_t)length + EVENT_START_SIZE) != 0)
        return 0;
    /* The event's blank line is the only one. */
    blank = chunk + size - 4;
    if (blank[0] != '\n' || blank[1] != '\n')
        return 0;
    for (line = chunk; (line = memchr(line, '\n', (size_t)(blank - line))) != NULL; line++)
        if (line[1] == '\n')
            return 0;
    return 1;
}

/* Give the provider the whole time again, for the next chunk. */
static int
extend_deadline(ChunkReceiver *self)
{
    PyObject *deadline, *now = PyObject_CallNoArgs(self->now);
    int result;
    if (now == NULL)
        return -1;
    deadline = PyNumber_Add(now, self->max_silence);
    Py_DECREF(now);
    if (deadline == NULL)
        return -1;
    result = PyObject_SetAttr(self->connection, name_of(self, DEADLINE), deadline);
    Py_DECREF(deadline);
    return result;
}

/* Pass a plain chunk on. */
static int
pass_on(ChunkReceiver *self, PyObject *chunk)
{
    int open;
    if (PyList_Append(self->passed, chunk) < 0 || done(PyObject_CallOneArg(self->write, chunk)) < 0
        || extend_deadline(self) < 0)
        return -1;
    open = truth(PyObject_GetAttr(self->sink, name_of(self, OPEN)));
    if (open > 0)
        return PyList_GET_SIZE(self->passed) < BATCH ? 0 : count_passed(self);
    if (open < 0 || count_passed(self) < 0)
        return -1;
    Py_CLEAR(self->end);
    return done(PyObject_CallMethodNoArgs(self->connection, name_of(self, STOP_RELAYING)));
}

/* Give to the connection what is not plain. */
static int
hand_over(ChunkReceiver *self, PyObject *data)
{
    int at_chunk;
    if (count_passed(self) < 0)
        return -1;
    Py_CLEAR(self->end);
    if (done(PyObject_CallMethodOneArg(self->connection, name_of(self, DATA_RECEIVED), data)) < 0)
        return -1;
    at_chunk = truth(PyObject_CallMethodNoArgs(self->connection, name_of(self, IS_AT_CHUNK)));
    return at_chunk > 0 ? look_ahead(self) : at_chunk;
}

static int
check_whole(ChunkReceiver *self)
{
    if (self->passed != NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "this receiver was garbage already");
    return -1;
}

static PyObject *
receive(PyObject *op, PyObject *data)
{
    ChunkReceiver *self = (ChunkReceiver *)op;
    int gone = 1;
    if (check_whole(self) < 0)
        return NULL;
    /* The client may have left before the task of its request noticed: its transport refuses a write. */
    if (PyBytes_Check(data) && is_plain(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)))
        gone = truth(PyObject_GetAttr(self->sink, name_of(self, GONE)));
    if (gone < 0 || (gone ? hand_over(self, data) : pass_on(self, data)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
settle(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ChunkReceiver *self = (ChunkReceiver *)op;
    if (check_whole(self) < 0 || count_passed(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
receiver_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"connection", "now", "event_end", "count", "sink", NULL};
    PyObject *connection, *now, *event_end, *count, *sink;
    ChunkReceiver *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOO", keywords, &connection, &now, &event_end, &count, &sink))
        return NULL;
    self = (ChunkReceiver *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->connection = Py_NewRef(connection);
    self->now = Py_NewRef(now);
    self->event_end = Py_NewRef(event_end);
    self->count = Py_NewRef(count);
    self->sink = Py_NewRef(sink);
    if ((self->passed = PyList_New(0)) == NULL
        || (self->max_silence = PyObject_GetAttrString(connection, "max_silence")) == NULL
        || (self->write = PyObject_GetAttrString(sink, "write")) == NULL
        || look_ahead(self) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
receiver_traverse(PyObject *op, visitproc visit, void *arg)
{
    ChunkReceiver *self = (ChunkReceiver *)op;
    Py_VISIT(Py_TYPE(op));
#define VISIT(field) Py_VISIT(self->field);
    FIELDS(VISIT)
    return 0;
}

static int
receiver_clear(PyObject *op)
{
    ChunkReceiver *self = (ChunkReceiver *)op;
#define CLEAR(field) Py_CLEAR(self->field);
    FIELDS(CLEAR)
    return 0;
}

static void
receiver_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)receiver_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef receiver_methods[] = {
    {"receive", receive, METH_O, "Pass a plain chunk on; give all else to the connection."},
    {"settle", settle, METH_NOARGS, "Count what was passed on."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot receiver_slots[] = {
    {Py_tp_new, receiver_new},         {Py_tp_traverse, receiver_traverse}, {Py_tp_clear, receiver_clear},
    {Py_tp_dealloc, receiver_dealloc}, {Py_tp_methods, receiver_methods},   {0, NULL},
};

static PyType_Spec receiver_spec = {
    .name = "llm_gateway.infra.upstream.http11._chunk_relay.ChunkReceiver",
    .basicsize = sizeof(ChunkReceiver),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = receiver_slots,
};

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *type;
    int name, result;
    for (name = 0; name < NAMES; name++)
        if ((state->names[name] = PyUnicode_InternFromString(NAME_TEXTS[name])) == NULL)
            return -1;
    type = PyType_FromModuleAndSpec(module, &receiver_spec, NULL);
    if (type == NULL)
        return -1;
    result = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return result;
}

static void
module_free(void *module)
{
    ModuleState *state = PyModule_GetState((PyObject *)module);
    int name;
    for (name = 0; state != NULL && name < NAMES; name++)
        Py_CLEAR(state->names[name]);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_chunk_relay",
    .m_size = sizeof(ModuleState),
    .m_slots = module_slots,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__chunk_relay(void)
{
    return PyModuleDef_Init(&module_def);
}
