/* Recognises the usual whole reply, for whole_reply.py. What it does not recognise is left to the parser. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* The most digits of a length. */
#define DIGITS 10
#define START "HTTP/1.1 200 "
#define START_SIZE 13

/* What bytes may stand where. */
#define NAME 1  /* in the name of a header: a token */
#define VALUE 2 /* in its value, or in the reason of the status: visible ASCII, a blank or a tab */

static const unsigned char KINDS[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = NAME | VALUE,
    ['"'] = VALUE,
    ['#' ... '\''] = NAME | VALUE,
    ['('] = VALUE,
    [')'] = VALUE,
    ['*'] = NAME | VALUE,
    ['+'] = NAME | VALUE,
    [','] = VALUE,
    ['-'] = NAME | VALUE,
    ['.'] = NAME | VALUE,
    ['/'] = VALUE,
    ['0' ... '9'] = NAME | VALUE,
    [':' ... '@'] = VALUE,
    ['A' ... 'Z'] = NAME | VALUE,
    ['['] = VALUE,
    ['\\'] = VALUE,
    [']'] = VALUE,
    ['^' ... 'z'] = NAME | VALUE,
    ['{'] = VALUE,
    ['|'] = NAME | VALUE,
    ['}'] = VALUE,
    ['~'] = NAME | VALUE,
};

/* Headers that say how the rest is read, or what becomes of the connection: with one of these, the parser reads all. */
static const char *const READ_BY_PARSER[] = {
    "content-encoding", "keep-alive", "proxy-connection", "trailer", "transfer-encoding", "upgrade",
};
#define READ_BY_PARSER_COUNT (Py_ssize_t)(sizeof(READ_BY_PARSER) / sizeof(READ_BY_PARSER[0]))

/* Tell whether `size` bytes are `lower`, in any case. */
static int
is_text(const char *text, Py_ssize_t size, const char *lower)
{
    Py_ssize_t index;
    if ((Py_ssize_t)strlen(lower) != size)
        return 0;
    for (index = 0; index < size; index++) {
        char byte = text[index];
        if (byte >= 'A' && byte <= 'Z')
            byte = (char)(byte | 0x20);
        if (byte != lower[index])
            return 0;
    }
    return 1;
}

/* Return where the line ends if all before that may stand in a value, else NULL. */
static const char *
line_end(const char *at, const char *end)
{
    while (at < end && KINDS[(unsigned char)*at] & VALUE)
        at++;
    return end - at >= 2 && at[0] == '\r' && at[1] == '\n' ? at : NULL;
}

/* Return the number that is all of a value, without blanks around it; -1 for anything else. */
static Py_ssize_t
read_length(const char *at, const char *end)
{
    Py_ssize_t length = 0;
    if (at == end || end - at > DIGITS || (*at == '0' && end - at > 1))
        return -1;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return -1;
        length = 10 * length + (*at - '0');
    }
    return length;
}

/* body_of(data) */
static PyObject *
body_of(PyObject *Py_UNUSED(module), PyObject *data)
{
    const char *at, *end, *name, *value, *stop;
    Py_ssize_t index, length = -1;
    if (!PyBytes_Check(data))
        Py_RETURN_NONE;
    at = PyBytes_AS_STRING(data);
    end = at + PyBytes_GET_SIZE(data);
    if (end - at < START_SIZE || memcmp(at, START, START_SIZE) != 0 || (stop = line_end(at + START_SIZE, end)) == NULL)
        Py_RETURN_NONE;
    for (at = stop + 2; !(end - at >= 2 && at[0] == '\r' && at[1] == '\n'); at = stop + 2) {
        for (name = at; at < end && KINDS[(unsigned char)*at] & NAME; at++)
            ;
        if (at == name || at == end || *at != ':')
            Py_RETURN_NONE;
        for (value = at + 1; value < end && *value == ' '; value++)
            ;
        stop = line_end(value, end);
        if (stop == NULL)
            Py_RETURN_NONE;
        if (is_text(name, at - name, "content-length")) {
            if (length >= 0 || (length = read_length(value, stop)) < 0)
                Py_RETURN_NONE;
            continue;
        }
        if (is_text(name, at - name, "connection") && !is_text(value, stop - value, "keep-alive"))
            Py_RETURN_NONE;
        for (index = 0; index < READ_BY_PARSER_COUNT; index++)
            if (is_text(name, at - name, READ_BY_PARSER[index]))
                Py_RETURN_NONE;
    }
    at += 2;
    if (length <= 0 || end - at != length)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(at, length);
}

static PyMethodDef methods[] = {
    {"body_of", body_of, METH_O, "Return the body of a usual whole reply; None for anything else."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_whole_reply",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__whole_reply(void)
{
    return PyModuleDef_Init(&definition);
}
