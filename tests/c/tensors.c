// Tensors: made in place and by copy, read in place, and every description of one that has to be refused.
#include "check.h"

static park_tensor_spec spec_of(park_dtype dtype, size_t ndim, const int64_t *shape, const int64_t *strides) {
  park_tensor_spec spec = {0};
  spec.struct_size = sizeof spec;
  spec.dtype = dtype;
  spec.view = PARK_VIEW_TORCH;
  spec.ndim = ndim;
  spec.shape = shape;
  spec.strides = strides;
  return spec;
}

static void round_trips(park_session *session) {
  const int64_t shape[2] = {2, 3}, fortran[2] = {1, 2};
  park_tensor_spec spec = spec_of(PARK_FLOAT64, 2, shape, fortran);
  park_tensor tensor = {0};
  park_mutable_object *writing = NULL;
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  void *room = NULL;
  size_t len = 0;
  tensor.struct_size = sizeof tensor;
  CHECK_OK(park_tensor_create(session, &spec, &writing, &err));
  CHECK_OK(park_mutable_object_data(writing, &room, &len, &err));
  CHECK(len == 6 * sizeof(double) && (size_t)room % 64 == 0);
  for (int i = 0; i < 6; ++i) {
    ((double *)room)[i] = i;
  }
  // Offsets are those of the elements: the header cannot be reached.
  const double last = 50;
  CHECK_OK(park_mutable_object_write(writing, 40, &last, 8, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_mutable_object_write(writing, 41, &last, 8, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_mutable_object_write(writing, SIZE_MAX - 190, &last, 8, &err));
  CHECK_OK(park_mutable_object_seal(writing, &ref, &err));
  park_mutable_object_free(writing);
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  CHECK_OK(park_tensor_read(object, &tensor, &err));
  CHECK(tensor.dtype == PARK_FLOAT64 && tensor.view == PARK_VIEW_TORCH && tensor.ndim == 2);
  CHECK(tensor.shape[0] == 2 && tensor.shape[1] == 3 && tensor.shape[2] == 0);
  CHECK(tensor.strides[0] == 1 && tensor.strides[1] == 2);
  CHECK(tensor.nbytes == 48 && ((const double *)tensor.data)[4] == 4 && ((const double *)tensor.data)[5] == 50);
  park_object_free(object);
  park_object_ref_free(ref);

  const int32_t values[4] = {1, 2, 3, 4};
  const int64_t four[1] = {4};
  spec = spec_of(PARK_INT32, 1, four, NULL);
  CHECK_OK(park_tensor_put(session, &spec, values, sizeof values, &ref, &err));
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  CHECK_OK(park_tensor_read(object, &tensor, &err));
  CHECK(tensor.strides[0] == 1 && memcmp(tensor.data, values, sizeof values) == 0 && tensor.data != (const void *)values);
  park_object_free(object);
  park_object_ref_free(ref);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_tensor_put(session, &spec, values, sizeof values - 1, &ref, &err));

  // A scalar, and a tensor without elements.
  const int64_t none[2] = {0, 5};
  const double pi = 3.14;
  spec = spec_of(PARK_FLOAT64, 0, NULL, NULL);
  CHECK_OK(park_tensor_put(session, &spec, &pi, sizeof pi, &ref, &err));
  park_object_ref_free(ref);
  spec = spec_of(PARK_FLOAT64, 2, none, NULL);
  CHECK_OK(park_tensor_put(session, &spec, NULL, 0, &ref, &err));
  park_object_ref_free(ref);
}

static void every_dtype(park_session *session) {
  static const park_dtype dtypes[] = {
      PARK_INT8, PARK_INT16, PARK_INT32, PARK_INT64, PARK_UINT8, PARK_UINT16, PARK_UINT32, PARK_UINT64, PARK_FLOAT16,
      PARK_FLOAT32, PARK_FLOAT64, PARK_BFLOAT16, PARK_COMPLEX64, PARK_COMPLEX128, PARK_BOOL, PARK_FLOAT8_E3M4, PARK_FLOAT8_E4M3,
      PARK_FLOAT8_E4M3B11FNUZ, PARK_FLOAT8_E4M3FN, PARK_FLOAT8_E4M3FNUZ, PARK_FLOAT8_E5M2, PARK_FLOAT8_E5M2FNUZ,
      PARK_FLOAT8_E8M0FNU};
  const int64_t shape[2] = {2, 2};
  const char bytes[4 * 16] = "the elements, whatever they mean";
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i) {
    park_tensor_spec spec = spec_of(dtypes[i], 2, shape, NULL);
    spec.view = PARK_VIEW_PLAIN;
    park_tensor tensor = {0};
    park_object_ref *ref = NULL;
    park_object *object = NULL;
    const size_t nbytes = 4 * (dtypes[i] & 0xff) / 8;
    tensor.struct_size = sizeof tensor;
    CHECK_OK(park_tensor_put(session, &spec, bytes, nbytes, &ref, &err));
    CHECK_OK(park_object_get(ref, 0, &object, &err));
    CHECK_OK(park_tensor_read(object, &tensor, &err));
    CHECK(tensor.dtype == dtypes[i] && tensor.view == PARK_VIEW_PLAIN && tensor.nbytes == nbytes);
    CHECK(memcmp(tensor.data, bytes, nbytes) == 0);
    park_object_free(object);
    park_object_ref_free(ref);
  }
}

static void refuses(park_session *session, park_tensor_spec spec) {
  park_mutable_object *writing = NULL;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_tensor_create(session, &spec, &writing, &err));
  CHECK(writing == NULL);
}

static void refusals(park_session *session) {
  const int64_t square[2] = {3, 3}, negative[2] = {3, -3}, huge[2] = {INT64_MAX, INT64_MAX}, backward[2] = {3, -1},
                overlap[2] = {1, 1}, gaps[2] = {100, 1}, zero[2] = {0, 0}, nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  refuses(session, spec_of(PARK_FLOAT32, 2, negative, NULL));
  refuses(session, spec_of(PARK_FLOAT32, 2, huge, NULL));
  refuses(session, spec_of(PARK_FLOAT32, 2, square, backward));
  refuses(session, spec_of(PARK_FLOAT32, 2, square, overlap));
  refuses(session, spec_of(PARK_FLOAT32, 2, square, gaps));
  refuses(session, spec_of(PARK_FLOAT32, 2, square, zero));
  refuses(session, spec_of(PARK_FLOAT32, 9, nine, NULL));
  refuses(session, spec_of(PARK_FLOAT32, SIZE_MAX, square, NULL));
  refuses(session, spec_of(PARK_FLOAT32, 2, NULL, NULL));
  refuses(session, spec_of(PARK_FLOAT32, 2, (const int64_t *)((const char *)square + 1), NULL));
  static const park_dtype bad[] = {0, 1, 0x221, 0x308, 0x10220, 0xffffffff, 0x608 + 1};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    refuses(session, spec_of(bad[i], 2, square, NULL));
  }
  park_tensor_spec spec = spec_of(PARK_FLOAT32, 2, square, NULL);
  spec.view = 3;
  refuses(session, spec);
  spec = spec_of(PARK_FLOAT32, 2, square, NULL);
  static const size_t sizes[] = {0, 1, 8, 15, 1 << 20, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    spec.struct_size = sizes[i];
    refuses(session, spec);
  }
}

static void sizes_of_structs(park_session *session) {
  // A caller compiled with a newer header: fine as long as it does not use what this library does not know.
  struct {
    park_session_options known;
    uint64_t unknown;
  } newer;
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  newer.known.capacity = 2 << 20;
  newer.known.max_objects = 1024;
  park_session *other = NULL;
  CHECK_OK(park_session_open(&newer.known, &other, &err));
  park_session_free(other);
  newer.unknown = 1;
  CHECK_STATUS(PARK_UNSUPPORTED, park_session_open(&newer.known, &other, &err));

  // One compiled with an older header gets what it knows, and not a byte more.
  park_session_stats stats;
  memset(&stats, 0x55, sizeof stats);
  stats.struct_size = offsetof(park_session_stats, used);
  CHECK_OK(park_session_read_stats(session, &stats, &err));
  CHECK(stats.capacity == 8u << 20 && stats.used == 0x5555555555555555u && stats.struct_size == 16);
}

int main(void) {
  park_session *session = open_small();
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  park_tensor tensor = {0};
  round_trips(session);
  every_dtype(session);
  refusals(session);
  sizes_of_structs(session);
  CHECK(stats_of(session).objects == 0);
  tensor.struct_size = sizeof tensor;
  CHECK_OK(park_object_put(session, "no tensor", 9, &ref, &err));
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  CHECK_STATUS(PARK_WRONG_FORMAT, park_tensor_read(object, &tensor, &err));
  park_object_free(object);
  park_object_ref_free(ref);
  park_session_free(session);
  return finish("tensors");
}
