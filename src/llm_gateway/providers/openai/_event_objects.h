/* The objects of an event, for _usual_event.c: each of their values is read by what its name asks for. */
#include "../../wire/_json_scan.h"

/* The most names that are compared with each other; an object with more is not usual. */
#define MOST_NAMES 24

typedef struct {
    const Byte *start;
    Py_ssize_t size;
} Text;

/* The counts of a usage, in the order of the fields of `Usage`; those that were not stated are 0. */
enum { PROMPT, COMPLETION, TOTAL, CACHED, REASONING, COUNTS };

/* What is read of an event. */
typedef struct {
    const Byte *end;
    unsigned not_ascii;
    int has_choice, has_content, is_finished, has_usage;
    /* The choice's index; 0 if it has none. */
    int index;
    long counts[COUNTS];
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
