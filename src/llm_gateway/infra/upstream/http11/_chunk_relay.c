/* The compiled way of quiet_relay.py: what receives the bytes of a committed stream, and passes plain chunks on.
 *
 * It does what `python_receiver` does there, call for call; tests run on both.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <string.h>
#include <time.h>

#include "_packed_events.h"

/* As in quiet_relay.py. */
#define LARGEST 4096
#define BATCH 64
/* What follows the digits of an event's size, and its length. */
#define EVENT_START "\r\ndata:"
#define EVENT_START_SIZE 7
/* Bytes of a chunk beside the digits and the event: two CRLF. */
#define FRAME 4

/* Attributes that are looked up. */
enum { GONE, OPEN, DATA_RECEIVED, IS_AT_CHUNK, STOP_RELAYING, EVENT_END, PASSED_ON, NAMES };
static const char *const NAME_TEXTS[NAMES] = {
    "gone", "open", "data_received", "is_at_chunk", "stop_relaying", "event_end", "passed_on",
};

typedef struct {
    PyObject *names[NAMES];
    PyObject *packed_type;
} ModuleState;

/* `end` is how a plain event ends, NULL while none may be passed on; `connection` is NULL only once it was cleared. */
#define FIELDS(DO) DO(end) DO(sink) DO(write) DO(now) DO(connection) DO(content)

/* What a chunk touches stands together, and is no object of its own: with hundreds of streams none of it is in the
 * caches when the next chunk comes. */
typedef struct {
    PyObject_HEAD
    PyObject *end, *sink, *write;
    /* Where the sink has its slots `gone` and `open`, in bytes; 0 if they are looked up. */
    Py_ssize_t gone_at, open_at;
    /* What reads the clock; NULL for the system's. */
    PyObject *now;
    /* When a chunk was passed on last. */
    double last;
    /* The events that were passed on and not counted yet. */
    Packing passed;
    PyObject *connection, *content;
} ChunkReceiver;

static ModuleState *
state_of(ChunkReceiver *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

static PyObject *
name_of(ChunkReceiver *self, int name)
{
    return state_of(self)->names[name];
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
    PyObject *end = PyObject_CallMethodNoArgs(self->content, name_of(self, EVENT_END));
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
    PyObject *events, *size;
    int result = -1;
    if (self->passed.count == 0)
        return 0;
    events = unpack(&self->passed, (PyTypeObject *)state_of(self)->packed_type);
    size = PyLong_FromSsize_t(self->passed.bytes);
    if (events != NULL && size != NULL)
        result = done(PyObject_CallMethodObjArgs(self->content, name_of(self, PASSED_ON), events, size, NULL));
    Py_XDECREF(events);
    Py_XDECREF(size);
    if (result == 0)
        empty(&self->passed);
    return result;
}

/* Return the size of the event if these bytes are exactly one chunk with one plain event, else 0. */
static Py_ssize_t
plain_size(const ChunkReceiver *self, const char *chunk, Py_ssize_t size)
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
    if (event < EVENT_START_SIZE - 2 || event < end_size || (digits > 1 && event >> (4 * (digits - 1)) == 0))
        return 0;
    while (digits-- > 0)
        start[length++] = "0123456789abcdef"[event >> (4 * digits) & 0xf];
    memcpy(start + length, EVENT_START, EVENT_START_SIZE);
    if (memcmp(chunk, start, (size_t)length + EVENT_START_SIZE) != 0)
        return 0;
    /* The event's blank line is the only one, and a carriage return may be another's. */
    blank = chunk + size - 4;
    if (blank[0] != '\n' || blank[1] != '\n' || memchr(chunk + length + 2, '\r', (size_t)event - 2) != NULL)
        return 0;
    for (line = chunk; (line = memchr(line, '\n', (size_t)(blank - line))) != NULL; line++)
        if (line[1] == '\n')
            return 0;
    return event;
}

/* Read the clock, in seconds. */
static int
read_clock(const ChunkReceiver *self, double *seconds)
{
    struct timespec moment;
    PyObject *now;
    double read;
    if (self->now == NULL) {
        (void)clock_gettime(CLOCK_MONOTONIC, &moment);
        *seconds = (double)moment.tv_sec + 1e-9 * (double)moment.tv_nsec;
        return 0;
    }
    now = PyObject_CallNoArgs(self->now);
    if (now == NULL)
        return -1;
    read = PyFloat_AsDouble(now);
    Py_DECREF(now);
    if (read == -1 && PyErr_Occurred())
        return -1;
    *seconds = read;
    return 0;
}

/* Return where objects of this type have a slot; 0 if the attribute is none. */
static Py_ssize_t
slot_of(PyTypeObject *type, PyObject *name)
{
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    const PyMemberDef *member;
    Py_ssize_t slot = 0;
    if (found == NULL)
        PyErr_Clear();
    else if (Py_IS_TYPE(found, &PyMemberDescr_Type) && PyType_IsSubtype(type, PyDescr_TYPE(found))) {
        member = ((PyMemberDescrObject *)found)->d_member;
        slot = member->type == T_OBJECT_EX ? member->offset : 0;
    }
    Py_XDECREF(found);
    return slot;
}

/* Tell whether an attribute of the sink is true. */
static int
sink_is(ChunkReceiver *self, int name, Py_ssize_t slot)
{
    PyObject *value = slot == 0 ? NULL : *(PyObject **)((char *)self->sink + slot);
    if (value == Py_True || value == Py_False)
        return value == Py_True;
    return truth(PyObject_GetAttr(self->sink, name_of(self, name)));
}

/* Pass a plain chunk on, whose event has `size` bytes. */
static int
pass_on(ChunkReceiver *self, PyObject *chunk, Py_ssize_t size)
{
    int open;
    if ((self->passed.count == BATCH && count_passed(self) < 0)
        || pack(&self->passed, chunk, size, PyBytes_GET_SIZE(self->end)) < 0)
        return -1;
    if (done(PyObject_CallOneArg(self->write, chunk)) < 0 || read_clock(self, &self->last) < 0)
        return -1;
    open = sink_is(self, OPEN, self->open_at);
    if (open != 0)
        return open < 0 ? -1 : 0;
    if (count_passed(self) < 0)
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
    if (self->connection != NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "this receiver was garbage already");
    return -1;
}

static PyObject *
receive(PyObject *op, PyObject *data)
{
    ChunkReceiver *self = (ChunkReceiver *)op;
    Py_ssize_t size = 0;
    int gone = 1;
    if (check_whole(self) < 0)
        return NULL;
    if (PyBytes_Check(data))
        size = plain_size(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
    /* The client may have left before the task of its request noticed: its transport refuses a write. */
    if (size > 0)
        gone = sink_is(self, GONE, self->gone_at);
    if (gone < 0 || (gone ? hand_over(self, data) : pass_on(self, data, size)) < 0)
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
silence(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ChunkReceiver *self = (ChunkReceiver *)op;
    double now;
    if (check_whole(self) < 0 || read_clock(self, &now) < 0)
        return NULL;
    return PyFloat_FromDouble(now - self->last);
}

static PyObject *
receiver_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"connection", "now", "content", "sink", NULL};
    PyObject *connection, *now, *content, *sink;
    ChunkReceiver *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO", keywords, &connection, &now, &content, &sink))
        return NULL;
    self = (ChunkReceiver *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->connection = Py_NewRef(connection);
    self->now = now == Py_None ? NULL : Py_NewRef(now);
    self->content = Py_NewRef(content);
    self->sink = Py_NewRef(sink);
    self->last = -Py_HUGE_VAL;
    self->gone_at = slot_of(Py_TYPE(sink), name_of(self, GONE));
    self->open_at = slot_of(Py_TYPE(sink), name_of(self, OPEN));
    if ((self->write = PyObject_GetAttrString(sink, "write")) == NULL || look_ahead(self) < 0)
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
    Py_VISIT(self->passed.first);
    return 0;
}

static int
receiver_clear(PyObject *op)
{
    ChunkReceiver *self = (ChunkReceiver *)op;
#define CLEAR(field) Py_CLEAR(self->field);
    FIELDS(CLEAR)
    empty(&self->passed);
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
    {"silence", silence, METH_NOARGS, "Return the seconds since a chunk was passed on."},
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
    state->packed_type = PyType_FromModuleAndSpec(module, &packed_spec, NULL);
    if (state->packed_type == NULL)
        return -1;
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
    if (state != NULL)
        Py_CLEAR(state->packed_type);
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
