/* The compiled way of served_lines.py: joins the usual lines of served requests. Tests run on both.
 *
 * Whatever is unusual about a line is left to the function in Python that does the same: a text that is not ASCII, or
 * that JSON would escape, a number that is negative or has more than 63 bits, a line that is longer than the room here.
 */
#include "_line.h"

typedef struct {
    /* Do the same in Python; set by `configure`. */
    PyObject *begin_line, *end_line, *log_line;
} ModuleState;

/* Return the line, or what Python makes of the same arguments. */
static PyObject *
finished(const Line *line, PyObject *in_python, PyObject *const *args, Py_ssize_t count)
{
    if (line->is_usual)
        return PyBytes_FromStringAndSize(line->bytes, line->size);
    if (in_python == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure() was not called");
        return NULL;
    }
    return PyObject_Vectorcall(in_python, args, (size_t)count, NULL);
}

static int
has_wrong_count(Py_ssize_t count, Py_ssize_t expected)
{
    if (count == expected)
        return 0;
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, count);
    return 1;
}

/* --- Lines ------------------------------------------------------------------------------------------ */

static PyObject *
begin_line(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ModuleState *state = PyModule_GetState(module);
    Line line;
    if (has_wrong_count(count, 6))
        return NULL;
    line.size = 0;
    line.is_usual = 1;
    PUT(&line, "{\"t\":\"begin\",\"request_id\":\"");
    put_text(&line, args[0]);
    PUT(&line, "\",\"created_at\":");
    put_number(&line, args[1]);
    PUT(&line, ",");
    put_text(&line, args[2]);
    PUT(&line, ",");
    put_text(&line, args[3]);
    PUT(&line, ",\"request_bytes\":");
    put_number(&line, args[4]);
    PUT(&line, ",\"started_at\":");
    put_number_or_null(&line, args[5]);
    PUT(&line, "}\n");
    return finished(&line, state->begin_line, args, count);
}

/* Put what is said of a cost, with a comma before each member: source, reason, version, amount, what prompt and
 * completion cost, or else the breakdown. `tokens` are those of the prompt and of the completion. */
static void
put_cost(Line *line, PyObject *const *cost, PyObject *const *tokens)
{
    if (cost[0] != Py_None) {
        PUT(line, ",\"cost_source\":");
        put_string(line, cost[0]);
    }
    if (cost[1] != Py_None) {
        PUT(line, ",\"unpriced\":");
        put_string(line, cost[1]);
    }
    if (cost[2] != Py_None) {
        PUT(line, ",\"price_version\":");
        put_string(line, cost[2]);
    }
    if (cost[3] == Py_None)
        return;
    PUT(line, ",\"cost_nano_usd\":");
    put_number(line, cost[3]);
    if (cost[4] != Py_None) {
        PUT(line, ",\"cost_breakdown\":{\"input_tokens\":[");
        put_number(line, tokens[0]);
        PUT(line, ",");
        put_number(line, cost[4]);
        PUT(line, "],\"output_tokens\":[");
        put_number(line, tokens[1]);
        PUT(line, ",");
        put_number(line, cost[5]);
        PUT(line, "]}");
    }
    else if (cost[6] != Py_None) {
        PUT(line, ",\"cost_breakdown\":");
        put_breakdown(line, cost[6]);
    }
}

static PyObject *
end_line(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ModuleState *state = PyModule_GetState(module);
    Line line;
    if (has_wrong_count(count, 25))
        return NULL;
    line.size = 0;
    line.is_usual = 1;
    PUT(&line, "{\"t\":\"end\",\"request_id\":\"");
    put_text(&line, args[0]);
    PUT(&line, "\",\"created_at\":");
    put_number(&line, args[1]);
    PUT(&line, ",");
    put_text(&line, args[2]);
    PUT(&line, ",");
    put_text(&line, args[3]);
    PUT(&line, ",\"prompt_tokens\":");
    put_number(&line, args[4]);
    PUT(&line, ",\"completion_tokens\":");
    put_number(&line, args[5]);
    PUT(&line, ",\"total_tokens\":");
    put_number(&line, args[6]);
    PUT(&line, ",\"cached_tokens\":");
    put_number(&line, args[7]);
    PUT(&line, ",\"reasoning_tokens\":");
    put_number(&line, args[8]);
    PUT(&line, ",\"cache_write_tokens\":");
    put_number(&line, args[9]);
    PUT(&line, ",\"usage_source\":\"");
    put_text(&line, args[10]);
    PUT(&line, "\"");
    /* The temperature, with a comma before it, or nothing. */
    put_text(&line, args[11]);
    if (args[12] != Py_None) {
        PUT(&line, ",\"attempt_started_at\":");
        put_number(&line, args[12]);
    }
    put_cost(&line, args + 13, args + 4);
    PUT(&line, ",\"upstream_latency_ms\":");
    put_ms(&line, args[20]);
    PUT(&line, ",\"latency_ms\":");
    put_ms(&line, args[21]);
    PUT(&line, ",\"ttft_ms\":");
    put_ms_or_null(&line, args[22]);
    PUT(&line, ",\"request_bytes\":");
    put_number(&line, args[23]);
    PUT(&line, ",\"response_bytes\":");
    put_number(&line, args[24]);
    PUT(&line, "}\n");
    return finished(&line, state->end_line, args, count);
}

static PyObject *
log_line(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ModuleState *state = PyModule_GetState(module);
    unsigned long long ms;
    Line line;
    if (has_wrong_count(count, 12))
        return NULL;
    line.size = 0;
    line.is_usual = 1;
    PUT(&line, "{\"time\":\"");
    put_text(&line, args[0]);
    PUT(&line, ".");
    ms = read_number(&line, args[1]);
    if (ms > 999)
        line.is_usual = 0;
    put_fraction(&line, ms, 3, 3);
    PUT(&line, "Z\",\"request_id\":\"");
    put_text(&line, args[2]);
    PUT(&line, "\",");
    put_text(&line, args[3]);
    PUT(&line, ",");
    put_text(&line, args[4]);
    PUT(&line, ",\"prompt_tokens\":");
    put_number(&line, args[5]);
    PUT(&line, ",\"completion_tokens\":");
    put_number(&line, args[6]);
    if (args[7] == Py_None) {
        PUT(&line, ",\"cost_usd\":null");
    }
    else {
        PUT(&line, ",\"cost_usd\":\"");
        put_usd(&line, args[7]);
        PUT(&line, "\"");
    }
    PUT(&line, ",\"latency_ms\":");
    put_ms(&line, args[8]);
    PUT(&line, ",\"ttft_ms\":");
    put_ms_or_null(&line, args[9]);
    PUT(&line, ",\"request_bytes\":");
    put_number(&line, args[10]);
    PUT(&line, ",\"response_bytes\":");
    put_number(&line, args[11]);
    PUT(&line, "}\n");
    return finished(&line, state->log_line, args, count);
}

/* --- The module ------------------------------------------------------------------------------------- */

static PyObject *
configure(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    ModuleState *state = PyModule_GetState(module);
    if (has_wrong_count(count, 3))
        return NULL;
    Py_XSETREF(state->begin_line, Py_NewRef(args[0]));
    Py_XSETREF(state->end_line, Py_NewRef(args[1]));
    Py_XSETREF(state->log_line, Py_NewRef(args[2]));
    Py_RETURN_NONE;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    Py_VISIT(state->begin_line);
    Py_VISIT(state->end_line);
    Py_VISIT(state->log_line);
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    Py_CLEAR(state->begin_line);
    Py_CLEAR(state->end_line);
    Py_CLEAR(state->log_line);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

#define FASTCALL(name, text) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, text}

static PyMethodDef methods[] = {
    FASTCALL(begin_line, "Return the journal's line of an attempt that begins."),
    FASTCALL(end_line, "Return the journal's line of a served request."),
    FASTCALL(log_line, "Return the access log's line of a served request."),
    FASTCALL(configure, "Take the functions that do the same in Python, in this order."),
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_served_lines",
    .m_size = sizeof(ModuleState),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__served_lines(void)
{
    return PyModuleDef_Init(&definition);
}
