/* Plain events of one stream, kept in little memory: what an event shares with the first one at its start and its end is
 * not stored again. Chunks of completions differ in a few bytes, so that an event takes a tenth of its size.
 *
 * A record follows for each event after the first: two bytes each, the higher one first, for how many bytes it shares
 * at its start and how many are its own; and these. Events have less than LARGEST bytes.
 */
enum { RECORD_HEAD = 4, FIRST_ROOM = 252, CHUNK_END = 2 };

/* An iterator of the events, each a bytes object of its own. */
typedef struct {
    PyObject_HEAD
    /* The first event in its frame, and the records. */
    PyObject *first, *records;
    /* Where the first event stands in its chunk, how many bytes all events share at their end, and the next record. */
    Py_ssize_t start, size, end_size, position;
    int has_begun;
} PackedEvents;

static void
packed_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(((PackedEvents *)op)->first);
    Py_XDECREF(((PackedEvents *)op)->records);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
packed_next(PyObject *op)
{
    PackedEvents *self = (PackedEvents *)op;
    const char *first = PyBytes_AS_STRING(self->first) + self->start;
    const unsigned char *record;
    Py_ssize_t shared, own;
    PyObject *event;
    char *to;
    if (!self->has_begun) {
        self->has_begun = 1;
        return PyBytes_FromStringAndSize(first, self->size);
    }
    if (self->position == PyBytes_GET_SIZE(self->records))
        return NULL;
    record = (const unsigned char *)PyBytes_AS_STRING(self->records) + self->position;
    shared = record[0] << 8 | record[1];
    own = record[2] << 8 | record[3];
    event = PyBytes_FromStringAndSize(NULL, shared + own + self->end_size);
    if (event == NULL)
        return NULL;
    to = PyBytes_AS_STRING(event);
    memcpy(to, first, (size_t)shared);
    memcpy(to + shared, record + RECORD_HEAD, (size_t)own);
    memcpy(to + shared + own, first + self->size - self->end_size, (size_t)self->end_size);
    self->position += RECORD_HEAD + own;
    return event;
}

static PyType_Slot packed_slots[] = {
    {Py_tp_dealloc, packed_dealloc}, {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, packed_next}, {0, NULL},
};

static PyType_Spec packed_spec = {
    .name = "llm_gateway.infra.upstream.http11._chunk_relay.PackedEvents",
    .basicsize = sizeof(PackedEvents),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = packed_slots,
};

/* The events that are being packed; all zero while there is none. */
typedef struct {
    PyObject *first;
    char *records;
    /* `start`, `size` and `end_size` as above; what the last one shared at its start. */
    Py_ssize_t start, size, end_size, shared, used, room, count, bytes;
} Packing;

/* Let go of what is packed. */
static void
empty(Packing *packing)
{
    PyObject *first = packing->first;
    PyMem_Free(packing->records);
    memset(packing, 0, sizeof(Packing));
    Py_XDECREF(first);
}

/* Return how many bytes two texts share at their start, `most` at most; `likely` are probably equal. */
static Py_ssize_t
count_shared(const char *one, const char *other, Py_ssize_t most, Py_ssize_t likely)
{
    Py_ssize_t shared = likely <= most && memcmp(one, other, (size_t)likely) == 0 ? likely : 0;
    while (shared + 8 <= most && memcmp(one + shared, other + shared, 8) == 0)
        shared += 8;
    while (shared < most && one[shared] == other[shared])
        shared++;
    return shared;
}

/* Pack the event of `size` bytes that ends a chunk but for its frame. Its last `end_size` bytes are those of all others.
 * Return -1 if there was an exception. */
static int
pack(Packing *packing, PyObject *chunk, Py_ssize_t size, Py_ssize_t end_size)
{
    Py_ssize_t start = PyBytes_GET_SIZE(chunk) - CHUNK_END - size, shared, own, room;
    const char *event = PyBytes_AS_STRING(chunk) + start;
    char *record;
    if (packing->first == NULL) {
        packing->first = Py_NewRef(chunk);
        packing->start = start;
        packing->size = size;
        packing->end_size = end_size;
    }
    else {
        shared = count_shared(event, PyBytes_AS_STRING(packing->first) + packing->start,
                              (size < packing->size ? size : packing->size) - end_size, packing->shared);
        packing->shared = shared;
        own = size - shared - end_size;
        if (packing->used + RECORD_HEAD + own > packing->room) {
            room = packing->room + packing->room / 2 + FIRST_ROOM + own;
            record = PyMem_Realloc(packing->records, (size_t)room);
            if (record == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            packing->records = record;
            packing->room = room;
        }
        record = packing->records + packing->used;
        record[0] = (char)(shared >> 8);
        record[1] = (char)shared;
        record[2] = (char)(own >> 8);
        record[3] = (char)own;
        memcpy(record + RECORD_HEAD, event + shared, (size_t)own);
        packing->used += RECORD_HEAD + own;
    }
    packing->count++;
    packing->bytes += size;
    return 0;
}

/* Return an iterator of what is packed; NULL if there was an exception. */
static PyObject *
unpack(const Packing *packing, PyTypeObject *type)
{
    PackedEvents *events = (PackedEvents *)type->tp_alloc(type, 0);
    if (events == NULL)
        return NULL;
    events->first = Py_NewRef(packing->first);
    events->start = packing->start;
    events->size = packing->size;
    events->end_size = packing->end_size;
    events->records = PyBytes_FromStringAndSize(packing->records, packing->used);
    if (events->records == NULL)
        Py_CLEAR(events);
    return (PyObject *)events;
}
