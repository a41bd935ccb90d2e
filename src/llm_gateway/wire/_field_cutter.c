/* The compiled way of `cut_fields` in field_cutter.py: an object's fields, found by a scan of many bytes at once.
 *
 * Whatever is unusual (an escape in a field's name, deep nesting) is left to msgspec, and so is every error, which
 * msgspec words. Tests run on both ways.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_json_scan.h"

typedef struct {
    PyObject *raw_type, *slice_type;
} ModuleState;

/* --- A part of a body, which it keeps alive ----------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *body;
    const Byte *start;
    Py_ssize_t size;
} Slice;

static int
slice_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    Slice *self = (Slice *)op;
    return PyBuffer_FillInfo(view, op, (void *)self->start, self->size, 1, flags);
}

static void
slice_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_DECREF(((Slice *)op)->body);
    type->tp_free(op);
    Py_DECREF(type);
}

/* Not for the collector: it refers to bytes alone. */
static PyType_Slot slice_slots[] = {
    {Py_bf_getbuffer, slice_getbuffer},
    {Py_tp_dealloc, slice_dealloc},
    {0, NULL},
};

static PyType_Spec slice_spec = {
    .name = "llm_gateway.wire._field_cutter.Slice",
    .basicsize = sizeof(Slice),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slice_slots,
};

static PyObject *
raw_of(ModuleState *state, PyObject *body, const Byte *start, const Byte *end)
{
    PyObject *raw;
    Slice *slice = PyObject_New(Slice, (PyTypeObject *)state->slice_type);
    if (slice == NULL)
        return NULL;
    slice->body = Py_NewRef(body);
    slice->start = start;
    slice->size = end - start;
    raw = PyObject_CallOneArg(state->raw_type, (PyObject *)slice);
    Py_DECREF(slice);
    return raw;
}

/* --- Fields ------------------------------------------------------------------------------------------- */

/* Add the field at `*place`, and set that to what follows. Return 1; 0 if it is unusual; -1 with an exception. */
static int
add_field(ModuleState *state, PyObject *fields, PyObject *body, const Byte **place, const Byte *end,
          unsigned *not_ascii)
{
    const Byte *at = *place, *first = at + 1, *value;
    PyObject *name, *raw = NULL;
    int result = -1;
    if (*at != '"')
        return 0;
    for (at = first; !ends_run(*at) && *at < 0x80; at++)
        ;
    if (*at != '"')
        return 0;
    name = PyUnicode_New(at - first, 127);
    if (name == NULL)
        return -1;
    memcpy(PyUnicode_1BYTE_DATA(name), first, (size_t)(at - first));
    at = after_blanks(at + 1);
    if (*at != ':') {
        Py_DECREF(name);
        return 0;
    }
    value = after_blanks(at + 1);
    if ((at = value_end(value, end, not_ascii)) == NULL)
        result = 0;
    else if ((raw = raw_of(state, body, value, at)) != NULL && PyDict_SetItem(fields, name, raw) == 0) {
        *place = after_blanks(at);
        result = 1;
    }
    Py_DECREF(name);
    Py_XDECREF(raw);
    return result;
}

/* Return 1 if all of `body` is an object, whose fields are in `fields` then; 0 if not; -1 with an exception. */
static int
read_object(ModuleState *state, PyObject *fields, PyObject *body)
{
    const Byte *at = (const Byte *)PyBytes_AS_STRING(body), *end = at + PyBytes_GET_SIZE(body);
    unsigned not_ascii = 0;
    int added;
    at = after_blanks(at);
    if (*at != '{')
        return 0;
    at = after_blanks(at + 1);
    if (*at != '}')
        for (;;) {
            if ((added = add_field(state, fields, body, &at, end, &not_ascii)) != 1)
                return added;
            if (*at == '}')
                break;
            if (*at != ',')
                return 0;
            at = after_blanks(at + 1);
        }
    if (after_blanks(at + 1) != end)
        return 0;
    return not_ascii == 0 || is_utf8((const Byte *)PyBytes_AS_STRING(body), end);
}

static PyObject *
cut_fields(PyObject *module, PyObject *body)
{
    PyObject *fields;
    int result;
    if (!PyBytes_CheckExact(body))
        Py_RETURN_NONE;
    if ((fields = PyDict_New()) == NULL)
        return NULL;
    if ((result = read_object(PyModule_GetState(module), fields, body)) == 1)
        return fields;
    Py_DECREF(fields);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* --- The module --------------------------------------------------------------------------------------- */

static PyObject *
configure(PyObject *module, PyObject *args)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *raw_type;
    int wide;
    if (!PyArg_ParseTuple(args, "Op", &raw_type, &wide))
        return NULL;
    Py_XSETREF(state->raw_type, Py_NewRef(raw_type));
    return PyBool_FromLong(choose_registers(wide));
}

static PyMethodDef methods[] = {
    {"cut_fields", cut_fields, METH_O, "Return the fields of a JSON object, None if it is none or unusual."},
    {"configure", configure, METH_VARARGS, "Take a value's type, and whether to use wide registers."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    state->raw_type = Py_NewRef(Py_None);
    state->slice_type = PyType_FromModuleAndSpec(module, &slice_spec, NULL);
    return state->slice_type == NULL ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    Py_VISIT(state->raw_type);
    Py_VISIT(state->slice_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    Py_CLEAR(state->raw_type);
    Py_CLEAR(state->slice_type);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_field_cutter",
    .m_size = sizeof(ModuleState),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__field_cutter(void)
{
    return PyModuleDef_Init(&definition);
}
