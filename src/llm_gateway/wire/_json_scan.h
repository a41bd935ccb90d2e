/* Where JSON values end: all that _field_cutter.c and _usual_event.c need to know of them, without Python.
 *
 * What is accepted is valid JSON in every byte, but for its UTF-8. Behind the last byte, at `end`, there has to be a
 * zero, as in every bytes object: no byte that is accepted is zero, so nothing is read behind it, although most loops
 * do not look for the end. `not_ascii` becomes another number than 0 if a byte is not ASCII.
 */
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE
#endif
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
/* Return a bit for each of 16 bytes that ends a run. */
static inline unsigned
endings_of(__m128i block)
{
    __m128i flipped = _mm_xor_si128(block, _mm_set1_epi8(FLIPPED));
    __m128i small = _mm_cmpeq_epi8(_mm_min_epu8(flipped, _mm_set1_epi8(LARGEST_ENDING)), flipped);
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(small, _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'))));
}
#endif

/* Skips blocks without an ending; NULL if this processor has no wide registers. */
static const Byte *(*skip_blocks)(const Byte *at, const Byte *end, unsigned *not_ascii);

#ifdef WIDE
/* Compares as `endings_of` does, 64 bytes at once. */
__attribute__((target("avx2"))) static const Byte *
skip_wide_blocks(const Byte *at, const Byte *end, unsigned *not_ascii)
{
    const __m256i flip = _mm256_set1_epi8(FLIPPED), largest = _mm256_set1_epi8(LARGEST_ENDING);
    const __m256i backslash = _mm256_set1_epi8('\\');
    __m256i seen = _mm256_setzero_si256();
    for (; end - at >= 64; at += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)at), b = _mm256_loadu_si256((const __m256i *)(at + 32));
        __m256i least = _mm256_min_epu8(_mm256_xor_si256(a, flip), _mm256_xor_si256(b, flip));
        __m256i small = _mm256_cmpeq_epi8(_mm256_min_epu8(least, largest), least);
        __m256i found = _mm256_or_si256(_mm256_cmpeq_epi8(a, backslash), _mm256_cmpeq_epi8(b, backslash));
        if (_mm256_movemask_epi8(_mm256_or_si256(small, found)) != 0)
            break;
        seen = _mm256_or_si256(seen, _mm256_or_si256(a, b));
    }
    *not_ascii |= (unsigned)_mm256_movemask_epi8(seen);
    return at;
}
#endif

/* Use the widest registers that this processor has if `wide`; return whether it has any. */
static int
choose_registers(int wide)
{
    skip_blocks = NULL;
#ifdef WIDE
    if (wide && __builtin_cpu_supports("avx2"))
        skip_blocks = skip_wide_blocks;
#else
    (void)wide;
#endif
    return skip_blocks != NULL;
}

/* The same byte eight times. */
#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Return whether one of eight bytes ends a run. Subtraction borrows from the next byte, which may then look as if it
 * ended one, but only behind a byte that does. */
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
run_end(const Byte *at, const Byte *end, unsigned *not_ascii)
{
    uint64_t eight;
#ifdef __SSE2__
    int steps = 0;
    for (; end - at >= 16; at += 16, steps++) {
        __m128i block;
        unsigned endings;
        /* Most strings are short, and others have many escapes. */
        if (steps == 4 && skip_blocks != NULL && end - (at = skip_blocks(at, end, not_ascii)) < 16)
            break;
        block = _mm_loadu_si128((const __m128i *)at);
        *not_ascii |= (unsigned)_mm_movemask_epi8(block);
        if ((endings = endings_of(block)) != 0)
            return at + __builtin_ctz(endings);
    }
#endif
    for (; end - at >= 8; at += 8) {
        memcpy(&eight, at, 8);
        if (any_of_eight(eight))
            break;
        *not_ascii |= (eight & EIGHT(0x80)) != 0;
    }
    for (; !ends_run(*at); at++)
        *not_ascii |= *at & 0x80;
    return at;
}

static inline int
continues(Byte byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Return whether all bytes are UTF-8: nothing cut, longer than needed, half of a pair, or beyond the last character.
 * The zero at `end` continues nothing. */
static int
is_utf8(const Byte *at, const Byte *end)
{
    uint64_t eight;
    while (at < end) {
        Byte first = *at++;
        if (first < 0x80) {
            for (; end - at >= 8; at += 8) {
                memcpy(&eight, at, 8);
                if (eight & EIGHT(0x80))
                    break;
            }
        } else if (first < 0xe0) {
            if (first < 0xc2 || !continues(at[0]))
                return 0;
            at++;
        } else if (first < 0xf0) {
            if (!continues(at[0]) || !continues(at[1]))
                return 0;
            if ((first == 0xe0 && at[0] < 0xa0) || (first == 0xed && at[0] > 0x9f))
                return 0;
            at += 2;
        } else {
            if (first > 0xf4 || !continues(at[0]) || !continues(at[1]) || !continues(at[2]))
                return 0;
            if ((first == 0xf0 && at[0] < 0x90) || (first == 0xf4 && at[0] > 0x8f))
                return 0;
            at += 3;
        }
    }
    return 1;
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
string_end(const Byte *at, const Byte *end, unsigned *not_ascii)
{
    for (;;) {
        at = run_end(at, end, not_ascii);
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
value_after_name(const Byte *at, const Byte *end, unsigned *not_ascii)
{
    if (*at != '"' || (at = string_end(at + 1, end, not_ascii)) == NULL)
        return NULL;
    at = after_blanks(at);
    return *at == ':' ? after_blanks(at + 1) : NULL;
}

/* Return what follows the value at `at`, NULL if it is none or nested too deeply. */
static const Byte *
value_end(const Byte *at, const Byte *end, unsigned *not_ascii)
{
    /* The objects (1) and arrays (0) that are open, the innermost one in the lowest bit. */
    uint64_t is_object = 0;
    int depth = 0;
    for (;;) {
        switch (*at) {
        case '"':
            at = string_end(at + 1, end, not_ascii);
            break;
        case '{':
            if (depth == DEEPEST)
                return NULL;
            at = after_blanks(at + 1);
            if (*at != '}') {
                depth++;
                is_object = is_object << 1 | 1;
                if ((at = value_after_name(at, end, not_ascii)) == NULL)
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
        if (is_object & 1 && (at = value_after_name(at, end, not_ascii)) == NULL)
            return NULL;
    }
}
