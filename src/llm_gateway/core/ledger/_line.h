/* What lines of JSON are joined from. A line that is not usual is left to Python, whatever it holds so far. */
#ifndef LLM_GATEWAY_LINE_H
#define LLM_GATEWAY_LINE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* Bytes of a line; those with the longest texts that are encoded ahead have fewer. */
#define MOST 8192
/* Digits of the largest long long. */
#define DIGITS 19
#define NANO_USD 1000000000LL
/* Bytes of a string; Longer ones are left to Python, which refuses some. */
#define LONGEST 512

/* The numbers below 100. */
static const char PAIRS[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

typedef struct {
    Py_ssize_t size;
    int is_usual;
    char bytes[MOST];
} Line;

/* --- What lines are made of ------------------------------------------------------------------------- */

static inline void
put(Line *line, const char *bytes, Py_ssize_t size)
{
    if (size > MOST - line->size) {
        line->is_usual = 0;
        return;
    }
    memcpy(line->bytes + line->size, bytes, (size_t)size);
    line->size += size;
}

#define PUT(line, literal) put(line, literal, sizeof(literal) - 1)

static inline int
is_ascii(PyObject *text)
{
    return PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text);
}

/* Put a text as it is. */
static void
put_text(Line *line, PyObject *text)
{
    if (is_ascii(text))
        put(line, (const char *)PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text));
    else
        line->is_usual = 0;
}

/* Tell whether JSON escapes one of these bytes, or a log could not hold it as it is; all of them are below 128. */
static int
has_escape(const unsigned char *bytes, Py_ssize_t size)
{
    const uint64_t each = 0x0101010101010101U, high = each << 7;
    uint64_t found = 0, some;
    Py_ssize_t i;
    for (i = 0; i + 8 <= size; i += 8) {
        memcpy(&some, bytes + i, 8);
        /* All bytes are below 128, so that no sum here carries into the next one. */
        found |= ~(some + each * (0x80 - 0x20)) | (some + each);
        found |= ~((some ^ each * '"') + each * 0x7f) | ~((some ^ each * '\\') + each * 0x7f);
    }
    for (; i < size; i++)
        found |= bytes[i] < 0x20 || bytes[i] == 0x7f || bytes[i] == '"' || bytes[i] == '\\' ? high : 0;
    return (found & high) != 0;
}

/* Put a text as a string of JSON, if that has no escapes and a log could hold it. */
static void
put_string(Line *line, PyObject *text)
{
    if (!is_ascii(text) || PyUnicode_GET_LENGTH(text) > LONGEST
        || has_escape(PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text))) {
        line->is_usual = 0;
        return;
    }
    PUT(line, "\"");
    put_text(line, text);
    PUT(line, "\"");
}

static void
put_digits(Line *line, unsigned long long number)
{
    char digits[DIGITS];
    int at = DIGITS;
    for (; number >= 100; number /= 100) {
        at -= 2;
        memcpy(digits + at, PAIRS + 2 * (number % 100), 2);
    }
    if (number >= 10) {
        at -= 2;
        memcpy(digits + at, PAIRS + 2 * number, 2);
    }
    else
        digits[--at] = (char)('0' + number);
    put(line, digits + at, DIGITS - at);
}

/* Return a whole number that is not negative; 0, of a line that is not usual, for anything else. */
static unsigned long long
read_number(Line *line, PyObject *number)
{
    long long value = -1;
    /* Of a number that is too large, the value is -1. */
    int is_large;
    if (PyLong_CheckExact(number))
        value = PyLong_AsLongLongAndOverflow(number, &is_large);
    if (value < 0) {
        line->is_usual = 0;
        return 0;
    }
    return (unsigned long long)value;
}

static void
put_number(Line *line, PyObject *number)
{
    put_digits(line, read_number(line, number));
}

static void
put_number_or_null(Line *line, PyObject *number)
{
    if (number == Py_None)
        PUT(line, "null");
    else
        put_number(line, number);
}

/* Put so many decimals of a fraction, without the zeros at its end, but no fewer than `least`. */
static void
put_fraction(Line *line, unsigned long long fraction, int places, int least)
{
    char digits[DIGITS];
    int i;
    for (i = places; i-- > 0; fraction /= 10)
        digits[i] = (char)('0' + fraction % 10);
    while (places > least && digits[places - 1] == '0')
        places--;
    put(line, digits, places);
}

/* Put microseconds as milliseconds: the shortest text of that float. */
static void
put_ms(Line *line, PyObject *us)
{
    unsigned long long number = read_number(line, us);
    put_digits(line, number / 1000);
    PUT(line, ".");
    put_fraction(line, number % 1000, 3, 1);
}

static void
put_ms_or_null(Line *line, PyObject *us)
{
    if (us == Py_None)
        PUT(line, "null");
    else
        put_ms(line, us);
}

/* Put an amount as `core.money.usd_text` does. */
static void
put_usd(Line *line, PyObject *nano_usd)
{
    unsigned long long number = read_number(line, nano_usd);
    put_digits(line, number / NANO_USD);
    if (number % NANO_USD != 0) {
        PUT(line, ".");
        put_fraction(line, number % NANO_USD, 9, 1);
    }
}

static void
put_breakdown(Line *line, PyObject *breakdown)
{
    PyObject *unit, *billed;
    Py_ssize_t at = 0;
    int is_first = 1;
    if (!PyDict_CheckExact(breakdown)) {
        line->is_usual = 0;
        return;
    }
    PUT(line, "{");
    /* Nothing here runs code that could change it. */
    while (line->is_usual && PyDict_Next(breakdown, &at, &unit, &billed)) {
        if (!PyTuple_CheckExact(billed) || PyTuple_GET_SIZE(billed) != 2) {
            line->is_usual = 0;
            return;
        }
        if (!is_first)
            PUT(line, ",");
        is_first = 0;
        put_string(line, unit);
        PUT(line, ":[");
        put_number(line, PyTuple_GET_ITEM(billed, 0));
        PUT(line, ",");
        put_number(line, PyTuple_GET_ITEM(billed, 1));
        PUT(line, "]");
    }
    PUT(line, "}");
}

#endif
