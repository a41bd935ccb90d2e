/* Recognises the usual chunks of a stream without a parser. In Python nothing does: a parser reads all events.
 *
 * A chunk is usual if msgspec would read it as chunks.py says, without a usage, an error, or a whole message, and with
 * one choice. Whatever else stands in it is valid JSON that nothing looks at.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_event_objects.h"

#define PREFIX "data: "
#define PREFIX_SIZE 6
#define BLANK_LINE 2
#define DONE_DATA "[DONE]"
#define DONE_SIZE 6
#define WINDOW 1024
/* As in token_counts.py; its digits. */
#define MAX_COUNT 1000000000L
#define COUNT_DIGITS 10

/* As usual_event.py names them. */
enum kind { LINE = 1, USAGE, DONE, EMPTY, CONTENT, FINISH };
#define KIND_BITS 3
#define KIND_MASK ((1 << KIND_BITS) - 1)

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

/* --- The usage of a chunk without a choice --------------------------------------------------------------- */

/* Return what follows the count at `at`, NULL if it is not written in digits alone or may be over MAX_COUNT. */
static const Byte *
count_end(const Byte *at, long *count)
{
    const Byte *first = at;
    *count = 0;
    if ((at = digits_end(at)) == NULL || at - first > COUNT_DIGITS || (*first == '0' && at - first > 1) || *at == '.' ||
        *at == 'e' || *at == 'E')
        return NULL;
    for (; first < at; first++)
        *count = 10 * *count + (*first - '0');
    return at;
}

static const Byte *
count_or_null_end(const Byte *at, long *count)
{
    return *at == 'n' ? null_end(at) : count_end(at, count);
}

/* Return what follows null or 0. */
static const Byte *
nothing_end(const Byte *at)
{
    long count = 0;
    at = count_or_null_end(at, &count);
    return count == 0 ? at : NULL;
}

static const Byte *
prompt_detail(Event *event, Text name, const Byte *at)
{
    if (IS(name, "cached_tokens"))
        return count_or_null_end(at, &event->counts[CACHED]);
    if (IS(name, "audio_tokens") || IS(name, "image_tokens") || IS(name, "cache_write_tokens") ||
        IS(name, "cache_creation_tokens"))
        return nothing_end(at);
    return value_end(at, event->end, &event->not_ascii);
}

static const Byte *
completion_detail(Event *event, Text name, const Byte *at)
{
    if (IS(name, "reasoning_tokens"))
        return count_or_null_end(at, &event->counts[REASONING]);
    return IS(name, "audio_tokens") ? nothing_end(at) : value_end(at, event->end, &event->not_ascii);
}

static const Byte *
usage_value(Event *event, Text name, const Byte *at)
{
    if (IS(name, "prompt_tokens"))
        return count_end(at, &event->counts[PROMPT]);
    if (IS(name, "completion_tokens"))
        return count_end(at, &event->counts[COMPLETION]);
    if (IS(name, "total_tokens"))
        return count_end(at, &event->counts[TOTAL]);
    if (IS(name, "prompt_tokens_details"))
        return *at == 'n' ? null_end(at) : object_end(at, event, prompt_detail);
    if (IS(name, "completion_tokens_details"))
        return *at == 'n' ? null_end(at) : object_end(at, event, completion_detail);
    if (IS(name, "prompt_cache_hit_tokens"))
        return null_end(at);
    return value_end(at, event->end, &event->not_ascii);
}

static const Byte *
usage_chunk_value(Event *event, Text name, const Byte *at)
{
    if (IS(name, "choices")) {
        event->has_choice = 1;
        if (*at != '[')
            return NULL;
        at = after_blanks(at + 1);
        return *at == ']' ? at + 1 : NULL;
    }
    if (IS(name, "usage"))
        return object_end(at, event, usage_value);
    if (IS(name, "x_groq") || IS(name, "error"))
        return null_end(at);
    if (IS(name, "service_tier"))
        return *at == 'n' ? null_end(at) : word_end(at, "\"default\"");
    return value_end(at, event->end, &event->not_ascii);
}

/* Tell whether the data up to `line_end` is a chunk with no choice and these counts, of which none needs a judgement. */
static int
reads_counts(Event *event, const Byte *at, const Byte *line_end)
{
    const long *counts = event->counts;
    if (object_end(at, event, usage_chunk_value) != line_end || !event->has_choice)
        return 0;
    if (event->not_ascii != 0 && !is_utf8(at, line_end))
        return 0;
    return counts[PROMPT] > 0 && counts[COMPLETION] > 0 && counts[TOTAL] <= MAX_COUNT &&
           counts[TOTAL] == counts[PROMPT] + counts[COMPLETION] && counts[CACHED] <= counts[PROMPT] &&
           counts[REASONING] <= counts[COMPLETION];
}

/* --- The event --------------------------------------------------------------------------------------- */

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

/* Read the arguments of both functions: a block, and where to start in it. Return 0, -1 if there was an exception. */
static int
read_place(PyObject *const *args, Py_ssize_t count, const Byte **block, Py_ssize_t *start, Py_ssize_t *size)
{
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "a block as bytes and where to start are needed");
        return -1;
    }
    *start = PyLong_AsSsize_t(args[1]);
    if (*start == -1 && PyErr_Occurred())
        return -1;
    *block = (const Byte *)PyBytes_AS_STRING(args[0]);
    *size = PyBytes_GET_SIZE(args[0]);
    if (*start < 0 || *start > *size) {
        PyErr_SetString(PyExc_ValueError, "the start is outside of the block");
        return -1;
    }
    return 0;
}

/* usual_event(block, start) */
static PyObject *
usual_event(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const Byte *block;
    Py_ssize_t start, size;
    if (read_place(args, count, &block, &start, &size) < 0)
        return NULL;
    return PyLong_FromSsize_t(usual_event_at(block, start, size));
}

/* usual_end(block, start) */
static PyObject *
usual_end(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const Byte *block;
    Py_ssize_t start, size, found, usage_at;
    Event event = {.end = NULL};
    const long *counts = event.counts;
    int finishes = 0, has_counts = 0, is_done;
    if (read_place(args, count, &block, &start, &size) < 0)
        return NULL;
    while (((found = usual_event_at(block, start, size)) & KIND_MASK) >= EMPTY) {
        finishes |= (found & KIND_MASK) == FINISH;
        start = found >> KIND_BITS;
    }
    usage_at = start;
    if ((found & KIND_MASK) == USAGE) {
        start = found >> KIND_BITS;
        event.end = block + start - BLANK_LINE;
        if (!(has_counts = reads_counts(&event, block + usage_at + PREFIX_SIZE, event.end)))
            Py_RETURN_NONE;
        found = usual_event_at(block, start, size);
    }
    is_done = (found & KIND_MASK) == DONE;
    if (!is_done && !(has_counts && start == size))
        Py_RETURN_NONE;
    if (!has_counts)
        return Py_BuildValue("(NnnNO)", PyBool_FromLong(finishes), usage_at, start, PyBool_FromLong(is_done), Py_None);
    return Py_BuildValue("(NnnN(lllll))", PyBool_FromLong(finishes), usage_at, start, PyBool_FromLong(is_done),
                         counts[PROMPT], counts[COMPLETION], counts[TOTAL], counts[CACHED], counts[REASONING]);
}

static PyMethodDef methods[] = {
    {"usual_event", (PyCFunction)(void (*)(void))usual_event, METH_FASTCALL,
     "Return where the usual event at an offset ends, and what it is."},
    {"usual_end", (PyCFunction)(void (*)(void))usual_end, METH_FASTCALL,
     "Read a usual end of a stream, from an offset on; return None for any other."},
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
