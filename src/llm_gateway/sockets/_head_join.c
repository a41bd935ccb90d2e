/* What server/http1/response_head.py does for usual headers, compiled. Tests run on both. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* More headers are joined in Python. */
#define MOST 64
static const char LENGTH_NAME[] = "content-length: ";
#define LENGTH_NAME_SIZE 16
/* Digits of the largest Py_ssize_t. */
#define DIGITS 20

/* Tell whether a value has a byte that would end its line, or the string of a reader in C. */
static int
ends_a_line(const char *value, Py_ssize_t size)
{
    int found = 0;
    Py_ssize_t index;
    for (index = 0; index < size; index++)
        found |= (value[index] == '\n') | (value[index] == '\r') | (value[index] == '\0');
    return found;
}

static char *
put(char *at, const char *bytes, Py_ssize_t size)
{
    memcpy(at, bytes, (size_t)size);
    return at + size;
}

static char *
put_object(char *at, PyObject *bytes)
{
    return put(at, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
}

/* Write the decimal digits of `number`, which is not negative. */
static char *
put_number(char *at, Py_ssize_t number)
{
    char digits[DIGITS];
    int index = DIGITS;
    do
        digits[--index] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    return put(at, digits + index, DIGITS - index);
}

/* Find how a header's name is written. Return 1, 0 for a pair that is not usual, -1 for an exception. */
static int
look_up(PyObject *pair, PyObject *names, PyObject **name, PyObject **value)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 0))
        || !PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 1)))
        return 0;
    *name = PyDict_GetItemWithError(names, PyTuple_GET_ITEM(pair, 0));
    if (*name == NULL)
        return PyErr_Occurred() ? -1 : 0;
    *value = PyTuple_GET_ITEM(pair, 1);
    return PyBytes_CheckExact(*name) && !ends_a_line(PyBytes_AS_STRING(*value), PyBytes_GET_SIZE(*value));
}

/* join_head(start, headers, names, body) */
static PyObject *
join_head(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    PyObject *names[MOST], *values[MOST], *joined, **pairs;
    Py_ssize_t size, headers, index;
    int usual;
    char *at;
    if (count != 4 || !PyBytes_CheckExact(args[0]) || !PyDict_CheckExact(args[2])) {
        PyErr_SetString(PyExc_TypeError, "join_head() takes the status line, headers, names, and a body or None");
        return NULL;
    }
    if (!PyTuple_CheckExact(args[1]) && !PyList_CheckExact(args[1]))
        Py_RETURN_NONE;
    if (args[3] != Py_None && !PyBytes_Check(args[3]))
        Py_RETURN_NONE;
    /* Nothing below runs code that could change a list. */
    headers = PySequence_Fast_GET_SIZE(args[1]);
    pairs = PySequence_Fast_ITEMS(args[1]);
    if (headers == 0 || headers > MOST)
        Py_RETURN_NONE;
    size = PyBytes_GET_SIZE(args[0]);
    for (index = 0; index < headers; index++) {
        usual = look_up(pairs[index], args[2], &names[index], &values[index]);
        if (usual < 0)
            return NULL;
        if (!usual)
            Py_RETURN_NONE;
        /* Each header: a colon, a blank, and the end of its line. */
        size += PyBytes_GET_SIZE(names[index]) + PyBytes_GET_SIZE(values[index]) + 4;
    }
    if (args[3] != Py_None)
        size += LENGTH_NAME_SIZE + DIGITS + 4 + PyBytes_GET_SIZE(args[3]);
    joined = PyBytes_FromStringAndSize(NULL, size);
    if (joined == NULL)
        return NULL;
    at = put_object(PyBytes_AS_STRING(joined), args[0]);
    for (index = 0; index < headers; index++) {
        at = put(put_object(at, names[index]), ": ", 2);
        at = put(put_object(at, values[index]), "\r\n", 2);
    }
    if (args[3] != Py_None) {
        at = put(at, LENGTH_NAME, LENGTH_NAME_SIZE);
        at = put(put_number(at, PyBytes_GET_SIZE(args[3])), "\r\n\r\n", 4);
        at = put_object(at, args[3]);
    }
    if (at != PyBytes_AS_STRING(joined) + size && _PyBytes_Resize(&joined, at - PyBytes_AS_STRING(joined)) < 0)
        return NULL;
    return joined;
}

static PyMethodDef methods[] = {
    {"join_head", (PyCFunction)(void (*)(void))join_head, METH_FASTCALL, "Join a usual head, and a body."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_head_join",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__head_join(void)
{
    return PyModuleDef_Init(&definition);
}
