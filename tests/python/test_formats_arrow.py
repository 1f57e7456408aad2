"""Arrow tables through the store: written once, aligned, and read in place by pyarrow, polars and duckdb."""

import gc
import subprocess
import sys

import park as ray
import park.store as store
import pytest
from helpers import SOON, used_bytes
from park import _park, arrow

pa = pytest.importorskip("pyarrow")
np = pytest.importorskip("numpy")
SESSION = {"num_cpus": 2, "object_store_memory": 256 << 20}
pytestmark = [pytest.mark.park_only, pytest.mark.usefixtures("session")]


def columns(rows):
    text = [None if n % 7 == 3 else "x" * (n % 5) for n in range(rows)]
    return {
        "int": pa.array(np.arange(rows)),
        "small": pa.array(np.arange(rows) % 100, pa.int8()),
        "float": pa.array(np.linspace(0, 1, rows)),
        "bool": pa.array([None if n % 5 == 0 else n % 2 == 0 for n in range(rows)], pa.bool_()),
        "text": pa.array(text, pa.string()),
        "view": pa.array(text, pa.string_view()),
        "list": pa.array([list(range(n % 4)) for n in range(rows)], pa.list_(pa.int32())),
        "struct": pa.array(
            [{"a": n, "b": str(n)} for n in range(rows)], pa.struct({"a": pa.int64(), "b": pa.string()})
        ),
        "words": pa.array([("one", "two")[n % 2] for n in range(rows)], pa.string()).dictionary_encode(),
        "null": pa.nulls(rows),
        "decimal": pa.array(range(rows), pa.decimal128(20, 2)),
    }


TABLE = pa.table(columns(1000))
CASES = {
    "a table": TABLE,
    "of no rows": TABLE.slice(0, 0),
    "of no columns": pa.table({}),
    "a slice": TABLE.slice(13, 500),
    "of many chunks": pa.concat_tables([TABLE.slice(0, 10), TABLE.slice(400, 3), TABLE.slice(0, 0), TABLE]),
    "with metadata": TABLE.replace_schema_metadata({"key": "value"}),
}


def addresses(value):
    """The addresses of a table's buffers."""
    arrays = [chunk for column in value.columns for chunk in getattr(column, "chunks", [column])]
    found = []
    while arrays:
        array = arrays.pop()
        found += [buffer.address for buffer in array.buffers() if buffer is not None and buffer.size]
        if isinstance(array, pa.DictionaryArray):
            arrays.append(array.dictionary)
    return found


@pytest.mark.parametrize("put", [ray.put, store.put], ids=["park.put", "store.put"])
@pytest.mark.parametrize("case", CASES)
def test_a_table_comes_back_equal(case, put):
    value = CASES[case]
    got = ray.get(put(value))
    assert type(got) is pa.Table
    assert got.schema.equals(value.schema, check_metadata=True)
    assert got.equals(value)
    got.validate(full=True)


@pytest.mark.parametrize("rows", [0, 1, 64, 1000])
def test_a_record_batch_comes_back_as_one(rows):
    value = pa.record_batch(columns(rows))
    for batch in (value, value.replace_schema_metadata({"k": "v"}), value.slice(rows // 3, rows // 2)):
        got = ray.get(ray.put(batch))
        assert type(got) is pa.RecordBatch
        assert got.equals(batch, check_metadata=True)


def test_arrays_come_back_as_arrays():
    for name, array in columns(100).items():
        got = store.get(store.put(array))
        assert type(got) is type(array) and got.equals(array), name
        chunked = pa.chunked_array([array, array.slice(3, 7)])
        got = store.get(store.put(chunked))
        assert type(got) is pa.ChunkedArray and got.equals(chunked) and got.num_chunks == 2, name
    assert store.get(store.put(pa.chunked_array([], pa.int8()))).type == pa.int8()


@pytest.mark.parametrize("case", CASES)
def test_buffers_lie_aligned_inside_the_object(case):
    ref = store.put(CASES[case])
    raw = _park.fetch_view(ref)
    start = pa.py_buffer(raw).address
    found = addresses(store.get(ref))
    assert start % 64 == 0 or len(raw) <= 64
    assert all(start <= address < start + len(raw) for address in found), "a buffer was copied out of the store"
    assert all(address % 64 == 0 for address in found)
    assert found or CASES[case].num_rows == 0


def test_putting_copies_once_and_reading_never():
    table = pa.table({"a": np.arange(1_000_000), "b": np.ones(1_000_000)})
    before = ray.store_stats()
    ref = ray.put(table)
    first, second = ray.get(ref), ray.get(ref)
    copied = ray.store_stats()["bytes_copied"] - before["bytes_copied"]
    assert table.nbytes <= copied < table.nbytes + 10_000
    assert addresses(first) == addresses(second)
    assert not first.column("a").chunk(0).buffers()[1].is_mutable


def test_a_column_keeps_the_object():
    before = used_bytes()
    column = ray.get(ray.put(pa.table({"a": np.arange(1_000_000)}))).column("a").slice(5, 10)
    gc.collect()
    assert used_bytes() >= before + 8_000_000
    assert column.to_pylist() == list(range(5, 15))
    del column
    assert used_bytes() <= before


def test_through_a_task():
    @ray.remote
    def double(table):
        import pyarrow as pa
        import pyarrow.compute as pc

        assert not table.column("int").chunk(0).buffers()[1].is_mutable
        return pa.table({"int": pc.multiply(table.column("int"), 2)})

    got = ray.get(double.remote(ray.put(TABLE)), timeout=SOON)
    assert got.column("int").to_pylist() == list(range(0, 2000, 2))


def test_polars_reads_in_place_and_is_stored():
    polars = pytest.importorskip("polars")
    got = store.get(store.put(pa.table({"a": np.arange(10_000), "b": np.ones(10_000)})))
    frame = polars.DataFrame(got)
    assert frame["a"].to_list() == list(range(10_000))
    assert frame["a"].to_numpy(allow_copy=False).ctypes.data == got.column("a").chunk(0).buffers()[1].address
    mine = polars.DataFrame({"n": [1, 2, None], "s": ["a", None, "c"], "l": [[1], [], [2, 3]]})
    stored = store.get(store.put(mine))
    assert type(stored) is pa.Table and polars.DataFrame(stored).equals(mine)
    series = store.get(store.put(mine["s"]))
    assert type(series) is pa.ChunkedArray and series.to_pylist() == ["a", None, "c"]
    assert ray.get(ray.put(mine)).equals(mine), "park.put gives back what it got"


def test_duckdb_reads_in_place_and_is_stored():
    duckdb = pytest.importorskip("duckdb")
    numbers = store.get(store.put(pa.table({"n": np.arange(10_000)})))
    connection = duckdb.connect()
    connection.register("numbers", numbers)
    assert connection.sql("select sum(n), count(*) from numbers").fetchall() == [(49_995_000, 10_000)]
    stored = store.get(store.put(connection.sql("select n * 2 as twice from numbers where n < 3 order by n")))
    assert type(stored) is pa.Table and stored.column("twice").to_pylist() == [0, 2, 4]
    connection.close()


def test_what_exports_one_array_only():
    class Batch:
        def __arrow_c_array__(self, requested_schema=None):
            return pa.record_batch({"a": [1, 2]}).__arrow_c_array__(requested_schema)

    class Array:
        def __arrow_c_array__(self, requested_schema=None):
            return pa.array([1, None]).__arrow_c_array__(requested_schema)

    assert store.get(store.put(Batch())).equals(pa.record_batch({"a": [1, 2]}))
    assert store.get(store.put(Array())).to_pylist() == [1, None]


def test_the_stream_is_what_every_reader_understands():
    for value in CASES.values():
        stream = bytes(_park.fetch_view(store.put(value)))
        assert pa.ipc.open_stream(stream).read_all().equals(value)
    polars = pytest.importorskip("polars")
    plain = pa.table({name: columns(50)[name] for name in ("int", "float", "bool", "text", "list")})
    stream = bytes(_park.fetch_view(store.put(plain)))
    assert polars.read_ipc_stream(stream).to_dict(as_series=False) == plain.to_pydict()


def test_a_sink_that_is_given_pieces_at_odd_places():
    """Where the writer cuts its stream is no promise of pyarrow's."""
    sink = arrow._Sink()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    whole = b"".join(sink.pieces)
    for step in (1, 7, 4096, len(whole)):
        pieces = [memoryview(whole[at : at + step]) for at in range(0, len(whole), step)]
        length, laid = arrow._laid_out(pieces)
        stream = bytearray(length)
        for at, piece in laid:
            stream[at : at + len(piece)] = piece
        assert pa.ipc.open_stream(bytes(stream)).read_all().equals(TABLE)


def test_without_pyarrow_the_error_says_what_to_install():
    code = """
import sys
import park, park.store as store
park.init(num_cpus=1)
class Table:
    def __arrow_c_stream__(self, requested_schema=None): ...
stream = (8, [(0, b"\\xff\\xff\\xff\\xff\\0\\0\\0\\0")])
sys.modules["pyarrow"] = None
for call in (lambda: store.put(Table()), lambda: park.get(park._park.put_arrow(stream))):
    try:
        call()
    except ImportError as error:
        print(error)
park.shutdown()
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.count("pip install 'pyarrow") == 2
