/* Recognises the usual whole reply, and the head of the usual chunked one, for whole_reply.py. What it does not
 * recognise is left to the parser. */
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
    "content-encoding", "keep-alive", "proxy-connection", "trailer", "upgrade",
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

/* What a head says of the body. */
typedef struct {
    /* -1 without a content-length. */
    Py_ssize_t length;
    int is_chunked;
} Framing;

/* Return where the body of a usual reply begins, NULL if the parser has to read it. */
static const char *
head_end(const char *at, const char *end, Framing *framing)
{
    const char *name, *value, *stop;
    Py_ssize_t index;
    framing->length = -1;
    framing->is_chunked = 0;
    if (end - at < START_SIZE || memcmp(at, START, START_SIZE) != 0 || (stop = line_end(at + START_SIZE, end)) == NULL)
        return NULL;
    for (at = stop + 2; !(end - at >= 2 && at[0] == '\r' && at[1] == '\n'); at = stop + 2) {
        for (name = at; at < end && KINDS[(unsigned char)*at] & NAME; at++)
            ;
        if (at == name || at == end || *at != ':')
            return NULL;
        for (value = at + 1; value < end && *value == ' '; value++)
            ;
        stop = line_end(value, end);
        if (stop == NULL)
            return NULL;
        if (is_text(name, at - name, "content-length")) {
            if (framing->length >= 0 || (framing->length = read_length(value, stop)) < 0)
                return NULL;
            continue;
        }
        if (is_text(name, at - name, "transfer-encoding")) {
            if (framing->is_chunked || !is_text(value, stop - value, "chunked"))
                return NULL;
            framing->is_chunked = 1;
            continue;
        }
        if (is_text(name, at - name, "connection") && !is_text(value, stop - value, "keep-alive"))
            return NULL;
        for (index = 0; index < READ_BY_PARSER_COUNT; index++)
            if (is_text(name, at - name, READ_BY_PARSER[index]))
                return NULL;
    }
    return at + 2;
}

/* body_of(data) */
static PyObject *
body_of(PyObject *Py_UNUSED(module), PyObject *data)
{
    const char *at, *end;
    Framing framing;
    if (!PyBytes_Check(data))
        Py_RETURN_NONE;
    at = PyBytes_AS_STRING(data);
    end = at + PyBytes_GET_SIZE(data);
    at = head_end(at, end, &framing);
    if (at == NULL || framing.is_chunked || framing.length <= 0 || end - at != framing.length)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(at, framing.length);
}

/* chunks_start(data) */
static PyObject *
chunks_start(PyObject *Py_UNUSED(module), PyObject *data)
{
    const char *start, *at = NULL;
    Framing framing;
    if (PyBytes_Check(data)) {
        start = PyBytes_AS_STRING(data);
        at = head_end(start, start + PyBytes_GET_SIZE(data), &framing);
    }
    if (at == NULL || !framing.is_chunked || framing.length >= 0)
        return PyLong_FromLong(0);
    return PyLong_FromSsize_t(at - start);
}

static PyMethodDef methods[] = {
    {"body_of", body_of, METH_O, "Return the body of a usual whole reply; None for anything else."},
    {"chunks_start", chunks_start, METH_O, "Return where the head of a usual chunked reply ends; 0 for anything else."},
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
