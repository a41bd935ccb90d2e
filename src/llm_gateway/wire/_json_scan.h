/* Where JSON values end: all that _field_cutter.c needs to know of them, without Python.
 *
 * What is accepted is valid JSON in every byte, but for its UTF-8. Behind the last byte, at `end`, there has to be a
 * zero, as in every bytes object: no byte that is accepted is zero, so nothing is read behind it, although most loops
 * do not look for the end. `high` gets bit 7 if a byte of a string is not ASCII.
 */
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Deeper nesting is not accepted. One bit each. */
#define DEEPEST 64

typedef unsigned char Byte;

/* --- Strings ------------------------------------------------------------------------------------------ */

/* What ends a run of plain text: a control character, a quote or a backslash. Flipping bit 1 maps the quote to 0x20,
 * and the control characters to each other. */
#define FLIPPED 0x02
#define LARGEST_ENDING 0x20

static inline int
ends_run(Byte byte)
{
    return (byte ^ FLIPPED) <= LARGEST_ENDING || byte == '\\';
}

#ifdef __SSE2__
static inline __m128i
block_at(const Byte *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

static inline __m128i
flipped(__m128i block)
{
    return _mm_xor_si128(block, _mm_set1_epi8(FLIPPED));
}

static inline __m128i
backslashes(__m128i block)
{
    return _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
}

/* Return a bit for each byte that ends a run: those that are small once flipped, and the backslashes. */
static inline uint64_t
endings(__m128i flipped, __m128i backslashes)
{
    __m128i small = _mm_cmpeq_epi8(_mm_min_epu8(flipped, _mm_set1_epi8(LARGEST_ENDING)), flipped);
    return (uint64_t)_mm_movemask_epi8(_mm_or_si128(small, backslashes));
}

static inline uint64_t
endings_of(__m128i block)
{
    return endings(flipped(block), backslashes(block));
}

/* Return whether four blocks have an ending. */
static inline int
any_ending(__m128i a, __m128i b, __m128i c, __m128i d)
{
    __m128i least = _mm_min_epu8(_mm_min_epu8(flipped(a), flipped(b)), _mm_min_epu8(flipped(c), flipped(d)));
    __m128i found = _mm_or_si128(_mm_or_si128(backslashes(a), backslashes(b)), _mm_or_si128(backslashes(c), backslashes(d)));
    return endings(least, found) != 0;
}
#endif

/* The same byte eight times. */
#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Return whether one of eight bytes ends a run. */
static inline int
any_of_eight(uint64_t eight)
{
    uint64_t flipped = eight ^ EIGHT(FLIPPED), backslash = eight ^ EIGHT('\\');
    uint64_t small = (flipped - EIGHT(LARGEST_ENDING + 1)) & ~flipped;
    uint64_t zero = (backslash - EIGHT(1)) & ~backslash;
    return ((small | zero) & EIGHT(0x80)) != 0;
}

/* Return the first byte from `at` on that ends a run of plain text; at the latest, the zero at `end`. */
static const Byte *
run_end(const Byte *at, const Byte *end, unsigned *high)
{
    uint64_t eight;
#ifdef __SSE2__
    __m128i a, b, c, d, seen;
    uint64_t found;
    if (end - at >= 16) {
        /* Most strings are short. */
        seen = a = block_at(at);
        found = endings_of(a);
        if (found == 0)
            for (at += 16; end - at >= 64; at += 64) {
                a = block_at(at), b = block_at(at + 16), c = block_at(at + 32), d = block_at(at + 48);
                seen = _mm_or_si128(seen, _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d)));
                if (any_ending(a, b, c, d)) {
                    found = endings_of(a) | endings_of(b) << 16 | endings_of(c) << 32 | endings_of(d) << 48;
                    break;
                }
            }
        *high |= _mm_movemask_epi8(seen) ? 0x80 : 0;
        if (found != 0)
            return at + __builtin_ctzll(found);
    }
#endif
    while (end - at >= 8) {
        memcpy(&eight, at, 8);
        if (any_of_eight(eight))
            break;
        *high |= (eight & EIGHT(0x80)) ? 0x80 : 0;
        at += 8;
    }
    while (!ends_run(*at))
        *high |= *at++;
    return at;
}

/* A digit's value and a bit that says that it is one. */
#define IS_HEX 0x10
static const Byte HEX[256] = {
    ['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14, ['5'] = 0x15, ['6'] = 0x16, ['7'] = 0x17,
    ['8'] = 0x18, ['9'] = 0x19, ['a'] = 0x1a, ['b'] = 0x1b, ['c'] = 0x1c, ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f,
    ['A'] = 0x1a, ['B'] = 0x1b, ['C'] = 0x1c, ['D'] = 0x1d, ['E'] = 0x1e, ['F'] = 0x1f,
};

/* Return the number of `\uXXXX` at `at`, or -1. */
static int
unit_at(const Byte *at, const Byte *end)
{
    Byte a, b, c, d;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    a = HEX[at[2]], b = HEX[at[3]], c = HEX[at[4]], d = HEX[at[5]];
    if (!(a & b & c & d & IS_HEX))
        return -1;
    return (a & 15) << 12 | (b & 15) << 8 | (c & 15) << 4 | (d & 15);
}

/* Return what follows the escape at `at`, NULL if it is none. */
static const Byte *
escape_end(const Byte *at, const Byte *end)
{
    int unit;
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 2;
    case 'u':
        unit = unit_at(at, end);
        if (unit < 0xd800 || unit > 0xdfff)
            return unit < 0 ? NULL : at + 6;
        /* The first half of a pair, then the second. */
        if (unit > 0xdbff || (unit = unit_at(at + 6, end)) < 0xdc00 || unit > 0xdfff)
            return NULL;
        return at + 12;
    default:
        return NULL;
    }
}

/* Return what follows the string whose first character is at `at`, NULL if it is none. */
static const Byte *
string_end(const Byte *at, const Byte *end, unsigned *high)
{
    for (;;) {
        at = run_end(at, end, high);
        if (*at == '"')
            return at + 1;
        if (*at != '\\')
            return NULL;
        /* Texts in other alphabets may consist of escapes. */
        do
            at = escape_end(at, end);
        while (at != NULL && *at == '\\');
        if (at == NULL)
            return NULL;
    }
}

/* --- Values ------------------------------------------------------------------------------------------- */

static inline const Byte *
after_blanks(const Byte *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

/* Return what follows one digit or more, NULL if there is none. */
static inline const Byte *
digits_end(const Byte *at)
{
    const Byte *first = at;
    while (*at >= '0' && *at <= '9')
        at++;
    return at == first ? NULL : at;
}

static const Byte *
number_end(const Byte *at)
{
    if (*at == '-')
        at++;
    if (*at == '0') {
        at++;
        if (*at >= '0' && *at <= '9')
            return NULL;
    } else if ((at = digits_end(at)) == NULL)
        return NULL;
    if (*at == '.' && (at = digits_end(at + 1)) == NULL)
        return NULL;
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '+' || *at == '-')
            at++;
        at = digits_end(at);
    }
    return at;
}

/* Return what follows a word, NULL if it is another. */
static inline const Byte *
word_end(const Byte *at, const char *word)
{
    while (*word != '\0')
        if (*at++ != (Byte)*word++)
            return NULL;
    return at;
}

/* Return the value that follows the name at `at` and its colon, NULL if there is no name. */
static const Byte *
value_after_name(const Byte *at, const Byte *end, unsigned *high)
{
    if (*at != '"' || (at = string_end(at + 1, end, high)) == NULL)
        return NULL;
    at = after_blanks(at);
    return *at == ':' ? after_blanks(at + 1) : NULL;
}

/* Return what follows the value at `at`, NULL if it is none or nested too deeply. */
static const Byte *
value_end(const Byte *at, const Byte *end, unsigned *high)
{
    /* The objects (1) and arrays (0) that are open, the innermost one in the lowest bit. */
    uint64_t is_object = 0;
    int depth = 0;
    for (;;) {
        switch (*at) {
        case '"':
            at = string_end(at + 1, end, high);
            break;
        case '{':
            if (depth == DEEPEST)
                return NULL;
            at = after_blanks(at + 1);
            if (*at != '}') {
                depth++;
                is_object = is_object << 1 | 1;
                if ((at = value_after_name(at, end, high)) == NULL)
                    return NULL;
                continue;
            }
            at++;
            break;
        case '[':
            if (depth == DEEPEST)
                return NULL;
            at = after_blanks(at + 1);
            if (*at != ']') {
                depth++;
                is_object <<= 1;
                continue;
            }
            at++;
            break;
        case 't':
            at = word_end(at, "true");
            break;
        case 'f':
            at = word_end(at, "false");
            break;
        case 'n':
            at = word_end(at, "null");
            break;
        default:
            at = number_end(at);
        }
        if (at == NULL)
            return NULL;
        /* Close what ends here, up to the next value. */
        for (; depth > 0; depth--, is_object >>= 1, at++) {
            at = after_blanks(at);
            if (*at == ',')
                break;
            if (*at != (is_object & 1 ? '}' : ']'))
                return NULL;
        }
        if (depth == 0)
            return at;
        at = after_blanks(at + 1);
        if (is_object & 1 && (at = value_after_name(at, end, high)) == NULL)
            return NULL;
    }
}
