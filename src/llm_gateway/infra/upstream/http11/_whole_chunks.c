/* The compiled way of `cut_chunks` in whole_chunks.py. Tests run on both. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* As in whole_chunks.py. */
#define DIGITS 7
#define CRLF 2

/* Return the value of a digit as chunk sizes are usually written, -1 for any other byte. */
static int
digit_of(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static int
is_crlf(const char *at)
{
    return at[0] == '\r' && at[1] == '\n';
}

/* Return the size of the content of the chunk that begins at `at`, and where the content begins; 0 if it is not whole,
 * the last one, or has an unusual frame. */
static Py_ssize_t
chunk_at(const char *at, const char *end, const char **content)
{
    const char *start = at;
    Py_ssize_t size = 0;
    if (at == end || *at == '0')
        return 0;
    while (at < end && at - start < DIGITS && digit_of(*at) >= 0)
        size = size << 4 | digit_of(*at++);
    if (at == start || end - at < CRLF || !is_crlf(at))
        return 0;
    at += CRLF;
    if (end - at < CRLF || end - at - CRLF < size || !is_crlf(at + size))
        return 0;
    *content = at;
    return size;
}

/* cut_chunks(data, start) */
static PyObject *
cut_chunks(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const char *data, *at, *first, *end, *content;
    char *out;
    PyObject *joined;
    Py_ssize_t start, size, total = 0;
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "cut_chunks() takes bytes, and where to start");
        return NULL;
    }
    start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred())
        return NULL;
    data = PyBytes_AS_STRING(args[0]);
    end = data + PyBytes_GET_SIZE(args[0]);
    if (start < 0 || start > end - data) {
        PyErr_SetString(PyExc_ValueError, "the start is outside of the data");
        return NULL;
    }
    for (at = first = data + start; (size = chunk_at(at, end, &content)) > 0; at = content + size + CRLF)
        total += size;
    joined = PyBytes_FromStringAndSize(NULL, total);
    if (joined == NULL)
        return NULL;
    out = PyBytes_AS_STRING(joined);
    for (at = first; (size = chunk_at(at, end, &content)) > 0; at = content + size + CRLF) {
        memcpy(out, content, (size_t)size);
        out += size;
    }
    return Py_BuildValue("(Nn)", joined, at - data);
}

static PyMethodDef methods[] = {
    {"cut_chunks", (PyCFunction)(void (*)(void))cut_chunks, METH_FASTCALL, "Cut whole chunks out of their frames."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_whole_chunks",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__whole_chunks(void)
{
    return PyModuleDef_Init(&definition);
}
