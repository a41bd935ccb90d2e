/* The compiled way of `weighed` in field_sizes.py. Tests run on both. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* weighed(fields, kinds, most, factor, base) */
static PyObject *
weighed(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    PyObject *name, *value, *is_counted;
    Py_ssize_t at = 0, most, size;
    long long factor, base, total = 0;
    if (count != 5 || !PyDict_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "weighed() takes fields, which of them count, and three numbers");
        return NULL;
    }
    most = PyLong_AsSsize_t(args[2]);
    factor = PyLong_AsLongLong(args[3]);
    base = PyLong_AsLongLong(args[4]);
    if ((most == -1 || factor == -1 || base == -1) && PyErr_Occurred())
        return NULL;
    while (PyDict_Next(args[0], &at, &name, &value)) {
        is_counted = PyDict_GetItemWithError(args[1], name);
        if (is_counted == NULL) {
            if (PyErr_Occurred())
                return NULL;
            continue;
        }
        if (is_counted != Py_True)
            return PyLong_FromLong(-1);
        size = PyObject_Size(value);
        if (size < 0)
            return NULL;
        if (size > most)
            return PyLong_FromLong(-1);
        total += (size >> 2) + ((size & 3) != 0);
    }
    if (__builtin_mul_overflow(total, factor, &total) || __builtin_add_overflow(total, base, &total)) {
        PyErr_SetString(PyExc_OverflowError, "the sum has more than 63 bits");
        return NULL;
    }
    return PyLong_FromLongLong(total);
}

static PyMethodDef methods[] = {
    {"weighed", (PyCFunction)(void (*)(void))weighed, METH_FASTCALL, "Return a sum that grows with the sizes of fields."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_field_sizes",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__field_sizes(void)
{
    return PyModuleDef_Init(&definition);
}
