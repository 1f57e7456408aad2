// The verbs on objects: put, create, write, seal, abort, get, release, wait, contains; references and ids; a full store.
#include "check.h"

#include <stdlib.h>

static void put_and_get(park_session *session) {
  static const size_t sizes[] = {0, 1, 64, 65, 100000};
  char *bytes = calloc(1, 100000);
  memset(bytes, 'x', 100000);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    park_object_ref *ref = NULL;
    park_object *object = NULL;
    const void *data = NULL;
    size_t len = 7;
    park_format format = 99;
    CHECK_OK(park_object_put(session, bytes, sizes[i], &ref, &err));
    CHECK_OK(park_object_get(ref, 0, &object, &err));
    CHECK_OK(park_object_data(object, &data, &len, &err));
    CHECK(len == sizes[i] && memcmp(data, bytes, len) == 0);
    CHECK_OK(park_object_format(object, &format, &err));
    CHECK(format == PARK_FORMAT_RAW);
    park_object_ref_free(ref);
    // The view alone keeps the bytes.
    CHECK(len == 0 || ((const char *)data)[len - 1] == 'x');
    park_object_free(object);
  }
  free(bytes);
  park_session_stats stats = stats_of(session);
  CHECK(stats.objects == 0 && stats.used == 0);
}

static void write_in_place(park_session *session) {
  park_mutable_object *writing = NULL;
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  park_object_id early, late;
  void *room = NULL;
  const void *data = NULL;
  size_t len = 0;
  bool there = true;
  CHECK_OK(park_object_create(session, 1000, &writing, &err));
  CHECK_OK(park_mutable_object_data(writing, &room, &len, &err));
  CHECK(len == 1000 && (size_t)room % 64 == 0);
  memset(room, 'a', 1000);
  CHECK_OK(park_mutable_object_write(writing, 998, "yz", 2, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_mutable_object_write(writing, 999, "yz", 2, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_mutable_object_write(writing, SIZE_MAX, "yz", 2, &err));
  CHECK_OK(park_mutable_object_id(writing, &early, &err));
  CHECK_OK(park_object_contains(session, &early, &there, &err));
  CHECK(!there);
  CHECK_OK(park_mutable_object_seal(writing, &ref, &err));
  CHECK_OK(park_object_ref_id(ref, &late, &err));
  CHECK(memcmp(&early, &late, sizeof early) == 0);
  CHECK_OK(park_object_contains(session, &late, &there, &err));
  CHECK(there);

  // What is sealed is closed for writing, in every way.
  park_object_ref *again = NULL;
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_mutable_object_seal(writing, &again, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_mutable_object_write(writing, 0, "b", 1, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_mutable_object_data(writing, &room, &len, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_mutable_object_id(writing, &early, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_mutable_object_abort(writing, &err));
  CHECK(again == NULL);
  park_mutable_object_free(writing);

  CHECK_OK(park_object_get(ref, -1, &object, &err));
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == 1000 && ((const char *)data)[0] == 'a' && memcmp((const char *)data + 998, "yz", 2) == 0);
  CHECK_OK(park_object_release(object, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_object_release(object, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_object_data(object, &data, &len, &err));
  park_object_free(object);
  CHECK_OK(park_object_ref_release(ref, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_object_ref_release(ref, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_object_get(ref, 0, &object, &err));
  park_object_ref_free(ref);

  CHECK_OK(park_object_create(session, 1000, &writing, &err));
  CHECK_OK(park_mutable_object_abort(writing, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_mutable_object_seal(writing, &ref, &err));
  park_mutable_object_free(writing);
  CHECK_OK(park_object_create(session, 1000, &writing, &err));
  park_mutable_object_free(writing); // gives it up, too
  CHECK(stats_of(session).objects == 0 && stats_of(session).used == 0);
}

static void references_and_ids(park_session *session) {
  park_object_ref *ref = NULL, *clone = NULL, *found = NULL, *shown = NULL;
  park_object *object = NULL;
  park_object_id id, parsed;
  char text[PARK_OBJECT_ID_TEXT];
  bool ready = false;
  CHECK_OK(park_object_put(session, "hello", 5, &ref, &err));
  CHECK_OK(park_object_ref_id(ref, &id, &err));
  CHECK_OK(park_object_id_format(&id, text, &err));
  CHECK(strlen(text) == PARK_OBJECT_ID_TEXT - 1);
  CHECK_OK(park_object_id_parse(text, &parsed, &err));
  CHECK(memcmp(&id, &parsed, sizeof id) == 0);
  CHECK_OK(park_object_ref_clone(ref, &clone, &err));
  park_object_ref_free(ref);
  CHECK_OK(park_object_ref_resolve(session, &id, &found, &err));
  park_object_ref_free(clone);
  CHECK_OK(park_object_ref_is_ready(found, &ready, &err));
  CHECK(ready);
  CHECK_OK(park_object_get(found, 0, &object, &err));
  CHECK_OK(park_object_reference(object, &shown, &err));
  park_object_free(object);
  park_object_ref_free(found);
  park_object_ref_free(shown);
  CHECK_STATUS(PARK_NOT_FOUND, park_object_ref_resolve(session, &id, &found, &err));

  park_session *other = open_small();
  CHECK_OK(park_object_put(session, "hello", 5, &ref, &err));
  CHECK_OK(park_object_ref_id(ref, &id, &err));
  CHECK_STATUS(PARK_FOREIGN_SESSION, park_object_ref_resolve(other, &id, &found, &err));
  park_object_ref_free(ref);
  park_session_free(other);
}

static void waiting(park_session *session) {
  park_object_ref *refs[3] = {NULL, NULL, NULL};
  park_mutable_object *writing = NULL;
  bool ready[3] = {false, true, false};
  size_t count = 99;
  for (int i = 0; i < 3; ++i) {
    CHECK_OK(park_object_put(session, "x", 1, &refs[i], &err));
  }
  CHECK_OK(park_object_wait((const park_object_ref *const *)refs, 3, 2, -1, ready, &count, &err));
  CHECK(count == 3 && ready[0] && ready[1] && ready[2]);
  CHECK_OK(park_object_wait((const park_object_ref *const *)refs, 3, 3, 0, NULL, &count, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_wait((const park_object_ref *const *)refs, 3, 4, 0, NULL, &count, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_wait((const park_object_ref *const *)refs, 3, 0, 0, NULL, &count, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_object_wait(NULL, 0, 0, 0, NULL, &count, &err));
  for (int i = 0; i < 3; ++i) {
    park_object_ref_free(refs[i]);
  }
  park_mutable_object_free(writing); // NULL is fine
}

static void full(park_session *session) {
  park_object_ref *held[100] = {NULL}, *ref = NULL;
  park_object *views[100] = {NULL};
  park_mutable_object *writing = NULL;
  size_t count = 0;
  char *bytes = calloc(1, 1 << 20);
  park_error *err = NULL;
  // What nobody looks at would go to disk.
  while (count < 100 && park_object_put(session, bytes, 1 << 20, &held[count], &err) == PARK_OK) {
    CHECK_OK(park_object_get(held[count], 0, &views[count], &err));
    ++count;
  }
  CHECK(count >= 6 && count < 9 && park_error_status(err) == PARK_STORE_FULL && strstr(park_error_message(err), "bytes"));
  park_error_free(err);
  CHECK_STATUS(PARK_STORE_FULL, park_object_create(session, (size_t)1 << 40, &writing, &err));
  CHECK_STATUS(PARK_STORE_FULL, park_object_create(session, SIZE_MAX, &writing, &err));
  for (size_t i = 0; i < count; ++i) {
    park_object_free(views[i]);
    park_object_ref_free(held[i]);
  }
  CHECK_OK(park_object_put(session, bytes, 1 << 20, &ref, &err));
  park_object_ref_free(ref);
  free(bytes);
}

static void closing(void) {
  park_session *session = open_small(), *peer = NULL;
  park_object_ref *ref = NULL, *other = NULL;
  park_object *object = NULL;
  const char *address = NULL;
  const void *data = NULL;
  size_t len = 0;
  CHECK_OK(park_session_address(session, &address, &err));
  CHECK_OK(park_session_attach(address, &peer, &err));
  CHECK_OK(park_object_put(session, "still here", 10, &ref, &err));
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  CHECK_OK(park_session_close(session, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_session_close(session, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_object_put(session, "x", 1, &other, &err));
  CHECK_STATUS(PARK_SESSION_CLOSED, park_object_put(peer, "x", 1, &other, &err));
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == 10 && memcmp(data, "still here", 10) == 0);
  park_session_free(session);
  park_session_free(peer);
  CHECK(memcmp(data, "still here", 10) == 0);
  park_object_free(object);
  park_object_ref_free(ref);
}

// A session of 8 MiB whose memory is all taken, and whose objects are in memory or nowhere; and one that goes to disk.
static void memory(void) {
  park_session_options options;
  park_session *session = NULL;
  park_object_ref *held[16] = {NULL};
  char *bytes = calloc(1, 1 << 20);
  uint64_t freed = 1;
  size_t count = 0;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.capacity = 8u << 20;
  options.full_timeout_ms = 20;
  options.reserve = 1;
  options.no_spill = 1;
  CHECK_OK(park_session_open(&options, &session, &err));
  CHECK(stats_of(session).resident >= 8u << 20);
  CHECK_OK(park_session_trim(session, &freed, &err));
  CHECK(freed == 0 && stats_of(session).resident >= 8u << 20);
  while (count < 16 && park_object_put(session, bytes, 1 << 20, &held[count], NULL) == PARK_OK) {
    ++count;
  }
  CHECK(count >= 6 && count < 9 && stats_of(session).objects == count && stats_of(session).spilled == 0);
  for (size_t i = 0; i < count; ++i) {
    park_object_ref_free(held[i]);
  }
  park_session_free(session);

  options.reserve = options.no_spill = 0;
  options.huge_pages = 1;
  options.spill_directory = "/tmp";
  options.spill_limit = 4u << 20;
  session = NULL;
  CHECK_OK(park_session_open(&options, &session, &err));
  count = 0;
  while (count < 16 && park_object_put(session, bytes, 1 << 20, &held[count], NULL) == PARK_OK) {
    ++count;
  }
  park_session_stats stats = stats_of(session);
  CHECK(count >= 9 && count < 13 && stats.objects_spilled >= 2);
  CHECK(stats.spilled >= 2u << 20 && stats.spilled <= 4u << 20);
  for (size_t i = 0; i < count; ++i) {
    park_object_ref_free(held[i]);
  }
  CHECK_OK(park_session_trim(session, &freed, &err));
  CHECK(freed > 0 && stats_of(session).largest_free > 7u << 20);
  CHECK_OK(park_session_trim(session, NULL, &err));
  free(bytes);
  park_session_free(session);
}

int main(void) {
  park_session *session = open_small();
  CHECK(park_abi_version() == PARK_ABI_VERSION);
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", PARK_VERSION_MAJOR, PARK_VERSION_MINOR, PARK_VERSION_PATCH);
  CHECK(strcmp(version, park_version()) == 0);
  put_and_get(session);
  write_in_place(session);
  references_and_ids(session);
  waiting(session);
  full(session);
  closing();
  memory();
  park_session_free(session);
  return finish("objects");
}
