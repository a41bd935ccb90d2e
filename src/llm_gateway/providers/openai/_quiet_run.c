/* The compiled way of `quiet_end` in quiet_run.py. Tests run on both. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#define BLANK_LINE 2

/* Return where the run ends, in one pass over the line ends. */
static const char *
run_end(const char *start, const char *end, const char *tail, Py_ssize_t tail_size)
{
    const char *at = start, *quiet = start;
    int is_broken = 0;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL && end - at >= BLANK_LINE) {
        if (at[1] != '\n') {
            /* The next byte begins a line, and may end it. */
            at++;
            continue;
        }
        at += BLANK_LINE;
        if (at - start < tail_size || memcmp(at - tail_size, tail, (size_t)tail_size) != 0)
            is_broken = 1;
        else if (is_broken)
            return start;
        else
            quiet = at;
    }
    return quiet;
}

/* quiet_end(block, start, tail) */
static PyObject *
quiet_end(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const char *block, *end;
    Py_ssize_t start;
    if (count != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "quiet_end() takes a block as bytes, where to start, and a tail as bytes");
        return NULL;
    }
    start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred())
        return NULL;
    block = PyBytes_AS_STRING(args[0]);
    if (start < 0 || start > PyBytes_GET_SIZE(args[0])) {
        PyErr_SetString(PyExc_ValueError, "the start is outside of the block");
        return NULL;
    }
    end = block + PyBytes_GET_SIZE(args[0]);
    if (PyBytes_GET_SIZE(args[2]) == 0 || memchr(block + start, '\r', (size_t)(end - block - start)) != NULL)
        return PyLong_FromSsize_t(start);
    return PyLong_FromSsize_t(
        run_end(block + start, end, PyBytes_AS_STRING(args[2]), PyBytes_GET_SIZE(args[2])) - block);
}

static PyMethodDef methods[] = {
    {"quiet_end", (PyCFunction)(void (*)(void))quiet_end, METH_FASTCALL, "Return where a run of quiet events ends."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_quiet_run",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__quiet_run(void)
{
    return PyModuleDef_Init(&definition);
}
