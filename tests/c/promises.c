// Objects that are promised now and made later; objects that hold references; formats; what a session and an error say of themselves.
#include "check.h"

static park_object_spec spec_of(size_t len, park_format format) {
  park_object_spec spec;
  memset(&spec, 0, sizeof spec);
  spec.struct_size = sizeof spec;
  spec.len = len;
  spec.format = format;
  return spec;
}

static void kept(park_session *session) {
  park_promise *promise = NULL;
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  park_mutable_object *writing = NULL;
  const void *data = NULL;
  size_t len = 0;
  bool ready = true;
  CHECK_OK(park_promise_make(session, &promise, &ref, &err));
  CHECK_OK(park_object_ref_is_ready(ref, &ready, &err));
  CHECK(!ready && stats_of(session).promised == 1);
  CHECK_STATUS(PARK_TIMEOUT, park_object_get(ref, 0, &object, &err));
  // Given up once, kept at the second try.
  park_object_spec spec = spec_of(100, PARK_FORMAT_PICKLE5);
  CHECK_OK(park_promise_create(promise, &spec, &writing, &err));
  CHECK_OK(park_mutable_object_abort(writing, &err));
  park_mutable_object_free(writing);
  CHECK_OK(park_promise_put(promise, "kept", 4, &err));
  CHECK_STATUS(PARK_ALREADY_EXISTS, park_promise_put(promise, "again", 5, &err));
  CHECK_STATUS(PARK_ALREADY_EXISTS, park_promise_create(promise, &spec, &writing, &err));
  CHECK_OK(park_object_get(ref, -1, &object, &err));
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == 4 && memcmp(data, "kept", 4) == 0);
  CHECK_OK(park_promise_release(promise, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_promise_release(promise, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_promise_put(promise, "late", 4, &err));
  park_promise_free(promise);
  park_object_free(object);
  park_object_ref_free(ref);

  park_tensor_spec tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.struct_size = sizeof tensor;
  tensor.dtype = PARK_INT32;
  park_tensor found;
  memset(&found, 0, sizeof found);
  found.struct_size = sizeof found;
  CHECK_OK(park_promise_make(session, &promise, &ref, &err));
  CHECK_OK(park_promise_create_tensor(promise, &tensor, &writing, &err));
  park_promise_free(promise); // the writer keeps the word
  CHECK_OK(park_mutable_object_seal(writing, NULL, &err));
  park_mutable_object_free(writing);
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  CHECK_OK(park_tensor_read(object, &found, &err));
  CHECK(found.dtype == PARK_INT32 && found.ndim == 0 && found.nbytes == 4);
  park_object_free(object);
  park_object_ref_free(ref);
}

static void broken(park_session *session) {
  park_promise *promise = NULL;
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  CHECK_OK(park_promise_make(session, &promise, &ref, &err));
  park_promise_free(promise);
  CHECK_STATUS(PARK_OBJECT_LOST, park_object_get(ref, -1, &object, &err));
  park_object_ref_free(ref);

  CHECK_OK(park_promise_make(session, &promise, &ref, &err));
  park_error *reason = park_error_new(PARK_UNSUPPORTED, "not today");
  CHECK_OK(park_promise_fail(promise, reason, &err));
  CHECK_STATUS(PARK_ALREADY_EXISTS, park_promise_fail(promise, reason, &err));
  park_error_free(reason);
  park_promise_free(promise);
  park_error *err = NULL;
  const void *detail = "";
  size_t len = 9;
  CHECK(park_object_get(ref, -1, &object, &err) == PARK_UNSUPPORTED && object == NULL);
  CHECK(strcmp(park_error_message(err), "not today") == 0);
  CHECK(park_error_detail(err, &detail, &len, NULL) == PARK_OK && detail == NULL && len == 0);
  park_error_free(err);
  park_object_ref_free(ref);
}

static void nested(park_session *session) {
  park_object_ref *inner[2] = {NULL, NULL}, *outer = NULL, *found = NULL;
  park_mutable_object *writing = NULL;
  park_object *object = NULL;
  park_format format = 0;
  size_t count = 0;
  park_object_spec spec = spec_of(3, PARK_FORMAT_ARROW);
  for (int i = 0; i < 2; ++i) {
    CHECK_OK(park_object_put(session, "inner", 5, &inner[i], &err));
  }
  spec.nested = (const park_object_ref *const *)inner;
  spec.num_nested = 2;
  CHECK_OK(park_object_create_with(session, &spec, &writing, &err));
  CHECK_OK(park_mutable_object_write(writing, 0, "out", 3, &err));
  CHECK_OK(park_mutable_object_seal(writing, &outer, &err));
  park_mutable_object_free(writing);
  park_object_ref_free(inner[0]);
  park_object_ref_free(inner[1]);
  CHECK(stats_of(session).objects == 3);
  CHECK_OK(park_object_get(outer, 0, &object, &err));
  CHECK_OK(park_object_format(object, &format, &err));
  CHECK_OK(park_object_num_nested(object, &count, &err));
  CHECK(format == PARK_FORMAT_ARROW && count == 2);
  CHECK_OK(park_object_nested(object, 1, &found, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_nested(object, 2, &found, &err));
  park_object_free(object);
  park_object_ref_free(outer);
  CHECK(stats_of(session).objects == 1); // the one that was asked for
  park_object_ref_free(found);

  inner[0] = NULL;
  spec.num_nested = SIZE_MAX / 2;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_create_with(session, &spec, &writing, &err));
  spec.num_nested = 1;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_create_with(session, &spec, &writing, &err));
  spec = spec_of(1, PARK_FORMAT_TENSOR);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_create_with(session, &spec, &writing, &err));
  spec = spec_of(1, 77);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_create_with(session, &spec, &writing, &err));
  spec = spec_of(1, PARK_FORMAT_RAW);
  spec.reserved = 1;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_create_with(session, &spec, &writing, &err));

  park_session *other = open_small();
  CHECK_OK(park_object_put(other, "x", 1, &inner[0], &err));
  spec = spec_of(1, PARK_FORMAT_RAW);
  spec.nested = (const park_object_ref *const *)inner;
  spec.num_nested = 1;
  CHECK_STATUS(PARK_FOREIGN_SESSION, park_object_create_with(session, &spec, &writing, &err));
  park_object_ref_free(inner[0]);
  park_session_free(other);
}

static void looking_only(park_session *session) {
  park_session *looker = NULL;
  const char *address = NULL;
  park_session_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  CHECK_OK(park_session_read_info(session, &info, &err));
  CHECK(info.is_head == 1 && info.is_read_only == 0 && info.capacity == 8u << 20 && info.max_objects == 4096);
  const uint64_t tag = info.session;
  CHECK_OK(park_session_address(session, &address, &err));
  CHECK_OK(park_session_attach_read_only(address, &looker, &err));
  CHECK_OK(park_session_read_info(looker, &info, &err));
  CHECK(info.is_head == 0 && info.is_read_only == 1 && info.session == tag && info.participant >= 2);

  park_object_ref *ref = NULL, *theirs = NULL, *none = NULL;
  park_promise *promise = NULL;
  park_mutable_object *writing = NULL;
  park_object *object = NULL;
  park_object_id id;
  const void *data = NULL;
  size_t len = 0;
  char bytes[1000];
  memset(bytes, 'x', sizeof bytes);
  CHECK_OK(park_object_put(session, bytes, sizeof bytes, &ref, &err));
  CHECK_OK(park_object_ref_id(ref, &id, &err));
  CHECK_OK(park_object_ref_resolve(looker, &id, &theirs, &err));
  CHECK_OK(park_object_get(theirs, 0, &object, &err));
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == sizeof bytes && memcmp(data, bytes, len) == 0);
  CHECK_STATUS(PARK_PERMISSION_DENIED, park_object_put(looker, "x", 1, &none, &err));
  CHECK_STATUS(PARK_PERMISSION_DENIED, park_object_create(looker, 1000, &writing, &err));
  CHECK_STATUS(PARK_PERMISSION_DENIED, park_promise_make(looker, &promise, &none, &err));
  CHECK(none == NULL && writing == NULL && promise == NULL);
  // The looker's is the last reference: the memory comes back all the same.
  park_object_ref_free(ref);
  CHECK(stats_of(session).objects == 1);
  park_object_free(object);
  park_object_ref_free(theirs);
  while (stats_of(session).used != 0) {
  }
  CHECK(stats_of(session).objects == 0);
  park_session_free(looker);
}

int main(void) {
  park_session *session = open_small();
  kept(session);
  broken(session);
  nested(session);
  looking_only(session);
  CHECK(stats_of(session).objects == 0 && stats_of(session).used == 0 && stats_of(session).promised == 0);
  park_session_free(session);
  return finish("promises");
}
