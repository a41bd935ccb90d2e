/* Recognises the usual chunks of a stream without a parser. In Python nothing does: a parser reads all events.
 *
 * A chunk is usual if msgspec would read it as chunks.py says, without a usage, an error, or a whole message, and with
 * one choice. Whatever else stands in it is valid JSON that nothing looks at.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../../wire/_json_scan.h"

#define PREFIX "data: "
#define PREFIX_SIZE 6
#define BLANK_LINE 2
#define DONE_DATA "[DONE]"
#define DONE_SIZE 6
#define WINDOW 1024
/* The most names that are compared with each other; an object with more is not usual. */
#define MOST_NAMES 24

/* As usual_event.py names them. */
enum kind { LINE = 1, USAGE, DONE, EMPTY, CONTENT, FINISH };
#define KIND_BITS 3

/* --- Objects ------------------------------------------------------------------------------------------ */

typedef struct {
    const Byte *start;
    Py_ssize_t size;
} Text;

/* What is read of an event. */
typedef struct {
    const Byte *end;
    unsigned not_ascii;
    int has_choice, has_content, is_finished, has_usage;
    /* The choice's index; 0 if it has none. */
    int index;
} Event;

/* Return what follows the value of a name, NULL if it is not usual. */
typedef const Byte *(*ReadValue)(Event *event, Text name, const Byte *at);

static inline int
is_text(Text text, const char *other, size_t size)
{
    return text.size == (Py_ssize_t)size && memcmp(text.start, other, size) == 0;
}

#define IS(text, literal) is_text(text, literal, sizeof(literal) - 1)

/* Return what follows the string at `at`, which has no escapes, NULL if it is another or none. */
static const Byte *
plain_text(const Byte *at, Event *event, Text *text)
{
    if (*at != '"')
        return NULL;
    text->start = at + 1;
    at = run_end(at + 1, event->end, &event->not_ascii);
    text->size = at - text->start;
    return *at == '"' ? at + 1 : NULL;
}

/* Return what follows the object at `at`, NULL if it is none, has a name twice, or a value is not usual. */
static const Byte *
object_end(const Byte *at, Event *event, ReadValue read_value)
{
    Text names[MOST_NAMES];
    int count = 0, i;
    if (*at != '{')
        return NULL;
    at = after_blanks(at + 1);
    if (*at == '}')
        return at + 1;
    for (;;) {
        Text name;
        if (count == MOST_NAMES || (at = plain_text(at, event, &name)) == NULL)
            return NULL;
        for (i = 0; i < count; i++)
            if (names[i].size == name.size && memcmp(names[i].start, name.start, (size_t)name.size) == 0)
                return NULL;
        names[count++] = name;
        /* Only as event_stream.py expects it in events that it does not parse. */
        if (*at != ':' || (at = read_value(event, name, at + 1 + (at[1] == ' '))) == NULL)
            return NULL;
        at = after_blanks(at);
        if (*at == '}')
            return at + 1;
        if (*at != ',')
            return NULL;
        at = after_blanks(at + 1);
    }
}

static inline const Byte *
null_end(const Byte *at)
{
    return word_end(at, "null");
}

/* --- The chunk, its choice, and the delta of that ------------------------------------------------------- */

/* As `has_text` in chunks.py: all but the role is content that is not null, "", [], {} or false. */
static const Byte *
delta_value(Event *event, Text name, const Byte *at)
{
    const Byte *value = at, *inner;
    if ((at = value_end(at, event->end, &event->not_ascii)) == NULL || IS(name, "role"))
        return at;
    inner = after_blanks(value + 1);
    switch (*value) {
    case 'n':
    case 'f':
        break;
    case '"':
        event->has_content |= at - value > 2;
        break;
    case '[':
    case '{':
        event->has_content |= inner != at - 1;
        break;
    default:
        event->has_content = 1;
    }
    return at;
}

static const Byte *
index_end(Event *event, const Byte *at)
{
    if (*at < '0' || *at > '9')
        return NULL;
    event->index = *at++ - '0';
    /* One digit. What follows a number is neither of these. */
    return (*at >= '0' && *at <= '9') || *at == '.' || *at == 'e' || *at == 'E' ? NULL : at;
}

static const Byte *
reason_end(Event *event, const Byte *at)
{
    Text reason;
    if (*at == 'n')
        return null_end(at);
    if ((at = plain_text(at, event, &reason)) == NULL)
        return NULL;
    event->is_finished = IS(reason, "stop") || IS(reason, "length") || IS(reason, "tool_calls") ||
                         IS(reason, "content_filter") || IS(reason, "function_call");
    return event->is_finished ? at : NULL;
}

static const Byte *
choice_value(Event *event, Text name, const Byte *at)
{
    const Byte *value = at;
    if (IS(name, "index"))
        return index_end(event, at);
    if (IS(name, "delta"))
        return *at == 'n' ? null_end(at) : object_end(at, event, delta_value);
    if (IS(name, "finish_reason"))
        return reason_end(event, at);
    if (IS(name, "text")) {
        if (*at != '"')
            return null_end(at);
        at = string_end(at + 1, event->end, &event->not_ascii);
        event->has_content |= at != NULL && at - value > 2;
        return at;
    }
    if (IS(name, "message") || IS(name, "error") || IS(name, "usage"))
        return null_end(at);
    return value_end(at, event->end, &event->not_ascii);
}

static const Byte *
chunk_value(Event *event, Text name, const Byte *at)
{
    if (IS(name, "choices")) {
        if (*at != '[')
            return NULL;
        at = after_blanks(at + 1);
        if (*at != ']') {
            event->has_choice = 1;
            if ((at = object_end(at, event, choice_value)) == NULL)
                return NULL;
            at = after_blanks(at);
        }
        return *at == ']' ? at + 1 : NULL;
    }
    if (IS(name, "usage")) {
        event->has_usage = *at == '{' && at < event->end;
        return null_end(at);
    }
    if (IS(name, "x_groq") || IS(name, "error"))
        return null_end(at);
    if (IS(name, "service_tier") && *at != '"')
        return null_end(at);
    return value_end(at, event->end, &event->not_ascii);
}

/* Return what the data up to `line_end` is, if it is one object.
 *
 * A line end counts as a blank to the scanner. So a chunk is usual only if its value ends where its line does: then no
 * line end is in it.
 */
static enum kind
kind_of(const Byte *at, const Byte *line_end)
{
    Event event = {.end = line_end};
    if (object_end(at, &event, chunk_value) != line_end || !event.has_choice)
        return event.has_usage ? USAGE : LINE;
    /* Of other choices it would have to be said which one is finished. */
    if (event.is_finished && event.index != 0)
        return LINE;
    if (event.not_ascii != 0 && !is_utf8(at, line_end))
        return LINE;
    return event.is_finished ? FINISH : event.has_content ? CONTENT : EMPTY;
}

/* Return where the line at `at` ends; NULL if a carriage return is in it, or it has no end.
 *
 * Both are looked for in one window after the other, so that no block takes longer than its size says.
 */
static const Byte *
line_end_of(const Byte *at, const Byte *end)
{
    while (at < end) {
        size_t size = end - at < WINDOW ? (size_t)(end - at) : WINDOW;
        const Byte *line_end = memchr(at, '\n', size);
        if (memchr(at, '\r', line_end == NULL ? size : (size_t)(line_end - at)) != NULL)
            return NULL;
        if (line_end != NULL)
            return line_end;
        at += size;
    }
    return NULL;
}

/* Return what the event at `start` is, and where it ends; 0 if it is not one line of data. */
static Py_ssize_t
usual_event_at(const Byte *block, Py_ssize_t start, Py_ssize_t size)
{
    const Byte *at = block + start, *line_end;
    enum kind kind;
    if (size - start < PREFIX_SIZE + BLANK_LINE || memcmp(at, PREFIX, PREFIX_SIZE) != 0)
        return 0;
    at += PREFIX_SIZE;
    line_end = line_end_of(at, block + size);
    if (line_end == NULL || line_end[1] != '\n')
        return 0;
    if (*at == '{')
        kind = kind_of(at, line_end);
    else if (line_end - at == DONE_SIZE && memcmp(at, DONE_DATA, DONE_SIZE) == 0)
        kind = DONE;
    else
        return 0;
    return (line_end + BLANK_LINE - block) << KIND_BITS | (Py_ssize_t)kind;
}

/* --- The module --------------------------------------------------------------------------------------- */

/* usual_event(block, start) */
static PyObject *
usual_event(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t start, size;
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "usual_event() takes a block as bytes, and where to start");
        return NULL;
    }
    start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred())
        return NULL;
    size = PyBytes_GET_SIZE(args[0]);
    if (start < 0 || start > size) {
        PyErr_SetString(PyExc_ValueError, "the start is outside of the block");
        return NULL;
    }
    return PyLong_FromSsize_t(usual_event_at((const Byte *)PyBytes_AS_STRING(args[0]), start, size));
}

static PyMethodDef methods[] = {
    {"usual_event", (PyCFunction)(void (*)(void))usual_event, METH_FASTCALL,
     "Return where the usual event at an offset ends, and what it is."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *Py_UNUSED(module))
{
    (void)choose_registers(1);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_usual_event",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__usual_event(void)
{
    return PyModuleDef_Init(&definition);
}
