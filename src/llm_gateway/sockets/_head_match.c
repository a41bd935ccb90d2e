/* The compiled way of `match_head` in head_match.py. Tests run on both. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* As in head_match.py. */
#define DIGITS 10

/* match_head(before, after, data) */
static PyObject *
match_head(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const char *at, *end, *digits;
    Py_ssize_t before, after, length = 0;
    if (count != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "match_head() takes what surrounds the length, and the data, as bytes");
        return NULL;
    }
    if (!PyBytes_Check(args[2]))
        Py_RETURN_NONE;
    before = PyBytes_GET_SIZE(args[0]);
    after = PyBytes_GET_SIZE(args[1]);
    at = PyBytes_AS_STRING(args[2]);
    end = at + PyBytes_GET_SIZE(args[2]);
    if (end - at <= before + after || memcmp(at, PyBytes_AS_STRING(args[0]), (size_t)before) != 0)
        Py_RETURN_NONE;
    digits = at += before;
    while (at < end && at - digits <= DIGITS && *at >= '0' && *at <= '9')
        length = 10 * length + (*at++ - '0');
    /* None, too many, or a zero before others: no number of bytes is written so. */
    if (at == digits || at - digits > DIGITS || (*digits == '0' && at - digits > 1))
        Py_RETURN_NONE;
    if (end - at != after + length || memcmp(at, PyBytes_AS_STRING(args[1]), (size_t)after) != 0)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(at + after, length);
}

static PyMethodDef methods[] = {
    {"match_head", (PyCFunction)(void (*)(void))match_head, METH_FASTCALL, "Return the body behind a known head."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_head_match",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__head_match(void)
{
    return PyModuleDef_Init(&definition);
}
