"""Arrow tables to and from ARROW objects: one IPC stream whose buffers start at multiples of 64 bytes.

pyarrow writes the stream; what it hands to its sink are the columns' own buffers, so they are copied once, into the store. Its
writer pads buffers to 8 bytes only. Here they are laid out anew, and the offsets in each message's metadata, fixed-width numbers in
a flatbuffer, are overwritten with the new ones. Any reader of Arrow reads the result, in place.
"""

import struct

#: Where, in the schema's metadata, stands what the stream was put as; a plain table has no such entry.
_KIND = b"park.kind"
_ALIGNMENT = 64
_CONTINUATION = b"\xff\xff\xff\xff"
#: Header types of a message.
_DICTIONARY, _BATCH = 2, 3


def pyarrow():
    """The library, or an ImportError that says what to install."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise ImportError(
            "ARROW objects need pyarrow, which is not installed here: pip install 'pyarrow>=15'", name="pyarrow"
        ) from error
    return pyarrow


def is_exporter(value):
    """Whether the value speaks the Arrow PyCapsule interface."""
    kind = type(value)
    return hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__")


def stream(value):
    """The stream of anything that exports Arrow data: its length, and `(offset, buffer)` of the pieces that make it."""
    pa = pyarrow()
    schema, batches = _batches(pa, value)
    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return _laid_out(sink.pieces)


def read(buffer):
    """The pyarrow object that `stream` was given, over the bytes of `buffer`: its columns are views that keep it alive."""
    pa = pyarrow()
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as reader:
        schema, batches = reader.schema, list(reader)
    kind = (schema.metadata or {}).get(_KIND)
    if kind is None:
        return pa.Table.from_batches(batches, schema)
    if kind == b"batch":
        metadata = {key: value for key, value in schema.metadata.items() if key != _KIND}
        return batches[0].replace_schema_metadata(metadata or None)
    if kind == b"array":
        return batches[0].column(0)
    return pa.chunked_array([batch.column(0) for batch in batches], schema.field(0).type)


def _batches(pa, value):
    """A schema, and batches of it. What is no table says in the schema's metadata what it is."""
    if isinstance(value, pa.Table):
        return value.schema, value.to_batches()
    if isinstance(value, pa.RecordBatch):
        return _marked(value.schema, b"batch"), [value]
    if hasattr(type(value), "__arrow_c_stream__"):
        if isinstance(value, pa.ChunkedArray):
            columns = value
        else:
            try:
                reader = pa.RecordBatchReader.from_stream(value)
            except (pa.ArrowInvalid, pa.ArrowTypeError):  # a stream of columns, not of tables: a polars Series, say
                columns = pa.chunked_array(value)
            else:
                return reader.schema, reader
        schema = pa.schema([pa.field("", columns.type)])
        return _marked(schema, b"chunked"), [pa.record_batch([chunk], schema) for chunk in columns.chunks]
    array = value if isinstance(value, pa.Array) else pa.array(value)
    if pa.types.is_struct(array.type) and not isinstance(value, pa.Array):
        batch = pa.RecordBatch.from_struct_array(array)
        return _marked(batch.schema, b"batch"), [batch]
    schema = pa.schema([pa.field("", array.type)])
    return _marked(schema, b"array"), [pa.record_batch([array], schema)]


def _marked(schema, kind):
    return schema.with_metadata({**(schema.metadata or {}), _KIND: kind})


class _Sink:
    """A file for pyarrow to write to that keeps what it is given: the columns' buffers arrive as themselves."""

    closed = False

    def __init__(self):
        self.pieces = []

    def write(self, piece):
        view = memoryview(piece)
        if view.nbytes:
            self.pieces.append(view.cast("B") if view.format != "B" else view)
        return view.nbytes

    def flush(self):
        pass

    def close(self):
        pass


class _Pieces:
    """Takes bytes off the front of a list of pieces, whole ones as they are."""

    def __init__(self, pieces):
        self.pieces = list(reversed(pieces))
        self.taken = 0

    def take(self, size):
        """The next `size` bytes, in as many pieces as they are in."""
        taken = []
        self.taken += size
        while size:
            piece = self.pieces.pop()
            if piece.nbytes > size:
                self.pieces.append(piece[size:])
                piece = piece[:size]
            taken.append(piece)
            size -= piece.nbytes
        return taken

    def bytes(self, size):
        return b"".join(self.take(size))


class _Message:
    """The metadata of one message: a flatbuffer, of which the places of the numbers that change are looked up."""

    def __init__(self, data):
        self.data = data
        self.root = self._u32(0)

    def _u32(self, at):
        return struct.unpack_from("<I", self.data, at)[0]

    def _field(self, table, number):
        """Where field `number` of a table is; 0 if it is absent."""
        vtable = table - struct.unpack_from("<i", self.data, table)[0]
        size = struct.unpack_from("<H", self.data, vtable)[0]
        slot = 4 + 2 * number
        offset = struct.unpack_from("<H", self.data, vtable + slot)[0] if slot < size else 0
        return table + offset if offset else 0

    def _target(self, at):
        return at + self._u32(at)

    @property
    def body_length(self):
        at = self._field(self.root, 3)
        return struct.unpack_from("<q", self.data, at)[0] if at else 0

    def set_body_length(self, length):
        at = self._field(self.root, 3)
        if at:
            struct.pack_into("<q", self.data, at, length)

    def buffers(self):
        """`(place, offset, length)` of each buffer of the body."""
        at = self._field(self.root, 1)
        kind = self.data[at] if at else 0
        if kind not in (_DICTIONARY, _BATCH):
            return
        table = self._target(self._field(self.root, 2))
        if kind == _DICTIONARY:
            table = self._target(self._field(table, 1))
        at = self._field(table, 2)
        if not at:
            return
        vector = self._target(at)
        for number in range(self._u32(vector)):
            place = vector + 4 + 16 * number
            yield (place, *struct.unpack_from("<qq", self.data, place))

    def move(self, place, offset):
        struct.pack_into("<q", self.data, place, offset)


def _padding(size):
    return -size % _ALIGNMENT


def _laid_out(pieces):
    """The stream in `pieces` with every buffer at a multiple of 64: its length, and what is where."""
    source = _Pieces(pieces)
    laid, at = [], 0
    while True:
        start, size = struct.unpack("<4si", source.bytes(8))
        if start != _CONTINUATION:
            raise ValueError("pyarrow wrote a stream of the format from before Arrow 0.15")
        if size == 0:
            laid.append((at, struct.pack("<4si", _CONTINUATION, 0)))
            return at + 8, laid
        message = _Message(bytearray(source.bytes(size)))
        body, end, moved = _Pieces(source.take(message.body_length)), 0, []
        for place, offset, length in list(message.buffers()):
            body.take(offset - body.taken)  # the padding that it had
            message.move(place, end)
            for part in body.take(length):
                moved.append((end, part))
                end += part.nbytes
            end += _padding(end)
        message.set_body_length(end)
        # The body starts aligned if the metadata before it is padded, which its length may include.
        padding = bytes(_padding(8 + size))
        laid.append((at, struct.pack("<4si", _CONTINUATION, size + len(padding)) + message.data + padding))
        at += 8 + size + len(padding)
        laid += [(at + offset, part) for offset, part in moved]
        at += end
