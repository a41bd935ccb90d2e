/* What is done in the cells of rows that processes share; no Python runs meanwhile. */
#ifndef LLM_GATEWAY_SLOT_CELLS_H
#define LLM_GATEWAY_SLOT_CELLS_H

#include "../_cell_lock.h"

/* As request_hold.py has them: no sum exceeds MOST by more than a billion times FEW. */
#define MOST (1LL << 60)
#define FEW ((1LL << 30) - 1)

/* A row of cells, and what has to be in it. */
typedef struct {
    Py_buffer cells;
    long long id, total, least;
} Row;

/* Where things are in every row: two arrays, of which this process writes its own cell each, and single cells. */
typedef struct {
    Py_ssize_t id_at, total_at, end_at, base_at, stamp_at, first_at, second_at, own;
} Layout;

static inline int
is_outside(const Py_buffer *cells, Py_ssize_t at)
{
    return at < 0 || at >= cells->len / (Py_ssize_t)sizeof(long long);
}

static inline int
are_cells(const Py_buffer *cells)
{
    return cells->itemsize == sizeof(long long) && (uintptr_t)cells->buf % sizeof(long long) == 0;
}

static int
fits(const Layout *at, const Row *row)
{
    const Py_buffer *cells = &row->cells;
    if (!are_cells(cells) || is_outside(cells, at->first_at) || is_outside(cells, at->second_at)
        || is_outside(cells, at->id_at) || is_outside(cells, at->total_at) || is_outside(cells, at->end_at)
        || is_outside(cells, at->base_at) || is_outside(cells, at->stamp_at))
        return 0;
    return at->own >= 0 && at->own < at->second_at - at->first_at
           && !is_outside(cells, at->second_at + (at->second_at - at->first_at) - 1);
}

static inline long long *
cell(const Row *row, Py_ssize_t at)
{
    return (long long *)row->cells.buf + at;
}

static inline long long
read_cell(const Row *row, Py_ssize_t at)
{
    return __atomic_load_n(cell(row, at), __ATOMIC_ACQUIRE);
}

static inline void
write_cell(const Row *row, Py_ssize_t at, long long value)
{
    __atomic_store_n(cell(row, at), value, __ATOMIC_RELEASE);
}

/* Tell whether nothing is unusual about a row, and enough is left for the amount. */
static int
is_enough(const Layout *at, const Row *row, Py_ssize_t count, long long amount, long long now)
{
    __int128 left = (__int128)read_cell(row, at->base_at) - amount;
    Py_ssize_t i;
    if (read_cell(row, at->id_at) != row->id || read_cell(row, at->total_at) != row->total
        || now >= read_cell(row, at->end_at))
        return 0;
    /* In this order: a hold that ends meanwhile counts twice rather than not at all. */
    for (i = 0; i < count; i++)
        left -= read_cell(row, at->first_at + i);
    for (i = 0; i < count; i++)
        left -= read_cell(row, at->second_at + i);
    return left >= row->least;
}

/* Hold the amount in all rows or in none, of `count` processes; with the lock. */
static int
begin_hold(const Layout *at, const Row *rows, Py_ssize_t number, long long count, long long amount, long long now)
{
    Py_ssize_t i;
    if (count < 1 || count > at->second_at - at->first_at)
        return 0;
    for (i = 0; i < number; i++) {
        if (!is_enough(at, &rows[i], (Py_ssize_t)count, amount, now))
            return 0;
    }
    for (i = 0; i < number; i++) {
        Py_ssize_t own = at->first_at + at->own;
        write_cell(&rows[i], own, *cell(&rows[i], own) + amount);
        write_cell(&rows[i], at->stamp_at, now);
    }
    return 1;
}

/* Replace what is held with a cost, which comes first: a process that dies in between has spent too much rather than
 * too little. Needs no lock: nobody else writes these cells. */
static void
end_hold(const Layout *at, const Row *rows, Py_ssize_t number, long long amount, long long cost)
{
    Py_ssize_t i, own = at->first_at + at->own, own_used = at->second_at + at->own;
    for (i = 0; i < number; i++) {
        long long used = *cell(&rows[i], own_used);
        if (cost > 0)
            write_cell(&rows[i], own_used, cost > FEW && used > MOST - cost ? MOST : used + cost);
        write_cell(&rows[i], own, *cell(&rows[i], own) - amount);
    }
}

#endif
