// What must not bring the process down: NULL in every place of every function, misaligned pointers, lengths that cannot be, bytes
// that are not UTF-8, timeouts that make no sense. Each is a status, outputs stay as they were, and the session goes on.
//
// run.sh checks that every function of park.h is named here.
#include "check.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static park_status never_called(park_task_call *call, void *user_data, park_error **err) {
  (void)call, (void)user_data, (void)err;
  return PARK_INTERNAL;
}

static park_status never_called_either(park_task_call *call, const char *method, void *user_data, park_error **err) {
  (void)call, (void)method, (void)user_data, (void)err;
  return PARK_INTERNAL;
}

static atomic_int gate_open;

// Returns when the gate is opened.
static park_status gate(park_task_call *call, void *user_data, park_error **err) {
  (void)user_data;
  while (!gate_open) {
    sched_yield();
  }
  return park_task_call_put(call, 0, "open", 4, err);
}

#define REFUSED(call) CHECK_STATUS(PARK_INVALID_ARGUMENT, call)

// A pointer that no object of more than one byte can have.
#define ODD(type) ((type)(void *)((char *)odd_storage + 1))
static uint64_t odd_storage[64];

static void nulls(void) {
  REFUSED(park_session_open(NULL, NULL, &err));
  REFUSED(park_session_attach(NULL, NULL, &err));
  REFUSED(park_session_address(NULL, NULL, &err));
  REFUSED(park_session_read_stats(NULL, NULL, &err));
  REFUSED(park_session_trim(NULL, NULL, &err));
  REFUSED(park_session_close(NULL, &err));
  REFUSED(park_object_put(NULL, NULL, 0, NULL, &err));
  REFUSED(park_object_create(NULL, 0, NULL, &err));
  REFUSED(park_object_get(NULL, 0, NULL, &err));
  REFUSED(park_object_wait(NULL, 0, 0, 0, NULL, NULL, &err));
  REFUSED(park_object_contains(NULL, NULL, NULL, &err));
  REFUSED(park_object_data(NULL, NULL, NULL, &err));
  REFUSED(park_object_format(NULL, NULL, &err));
  REFUSED(park_object_reference(NULL, NULL, &err));
  REFUSED(park_object_release(NULL, &err));
  REFUSED(park_object_id_format(NULL, NULL, &err));
  REFUSED(park_object_id_parse(NULL, NULL, &err));
  REFUSED(park_object_ref_id(NULL, NULL, &err));
  REFUSED(park_object_ref_resolve(NULL, NULL, NULL, &err));
  REFUSED(park_object_ref_clone(NULL, NULL, &err));
  REFUSED(park_object_ref_is_ready(NULL, NULL, &err));
  REFUSED(park_object_ref_release(NULL, &err));
  REFUSED(park_mutable_object_data(NULL, NULL, NULL, &err));
  REFUSED(park_mutable_object_write(NULL, 0, NULL, 0, &err));
  REFUSED(park_mutable_object_id(NULL, NULL, &err));
  REFUSED(park_mutable_object_seal(NULL, NULL, &err));
  REFUSED(park_mutable_object_abort(NULL, &err));
  REFUSED(park_tensor_create(NULL, NULL, NULL, &err));
  REFUSED(park_tensor_put(NULL, NULL, NULL, 0, NULL, &err));
  REFUSED(park_tensor_read(NULL, NULL, &err));
  REFUSED(park_task_register(NULL, NULL, NULL, NULL, NULL, &err));
  REFUSED(park_task_submit(NULL, NULL, NULL, 0, 0, NULL, &err));
  REFUSED(park_task_call_num_args(NULL, NULL, &err));
  REFUSED(park_task_call_num_returns(NULL, NULL, &err));
  REFUSED(park_task_call_arg(NULL, 0, NULL, &err));
  REFUSED(park_task_call_put(NULL, 0, NULL, 0, &err));
  REFUSED(park_task_call_create(NULL, 0, 0, NULL, &err));
  REFUSED(park_task_call_create_tensor(NULL, 0, NULL, NULL, &err));
  REFUSED(park_actor_spawn(NULL, NULL, NULL, NULL, NULL, NULL, &err));
  REFUSED(park_actor_call(NULL, NULL, NULL, 0, 0, NULL, &err));
  REFUSED(park_actor_clone(NULL, NULL, &err));
  REFUSED(park_channel_create(NULL, NULL, NULL, &err));
  REFUSED(park_channel_open(NULL, NULL, &err));
  REFUSED(park_channel_reference(NULL, NULL, &err));
  REFUSED(park_channel_writer_open(NULL, NULL, &err));
  REFUSED(park_channel_writer_write(NULL, NULL, 0, 0, &err));
  REFUSED(park_channel_writer_write_tensor(NULL, NULL, NULL, 0, 0, &err));
  REFUSED(park_channel_writer_begin(NULL, 0, 0, NULL, &err));
  REFUSED(park_channel_writer_begin_tensor(NULL, NULL, 0, NULL, &err));
  REFUSED(park_channel_writer_publish(NULL, &err));
  REFUSED(park_channel_writer_close(NULL, &err));
  REFUSED(park_channel_reader_open(NULL, NULL, &err));
  REFUSED(park_channel_reader_read(NULL, 0, NULL, &err));
  REFUSED(park_channel_message_data(NULL, NULL, NULL, &err));
  REFUSED(park_channel_message_format(NULL, NULL, &err));
  REFUSED(park_channel_message_tensor(NULL, NULL, &err));
  REFUSED(park_channel_message_release(NULL, &err));
  REFUSED(park_session_attach_read_only(NULL, NULL, &err));
  REFUSED(park_session_read_info(NULL, NULL, &err));
  REFUSED(park_object_create_with(NULL, NULL, NULL, &err));
  REFUSED(park_object_num_nested(NULL, NULL, &err));
  REFUSED(park_object_nested(NULL, 0, NULL, &err));
  REFUSED(park_promise_make(NULL, NULL, NULL, &err));
  REFUSED(park_promise_put(NULL, NULL, 0, &err));
  REFUSED(park_promise_create(NULL, NULL, NULL, &err));
  REFUSED(park_promise_create_tensor(NULL, NULL, NULL, &err));
  REFUSED(park_promise_fail(NULL, NULL, &err));
  REFUSED(park_promise_release(NULL, &err));
  REFUSED(park_task_call_create_with(NULL, 0, NULL, NULL, &err));
  REFUSED(park_task_call_fail(NULL, 0, NULL, &err));
  REFUSED(park_error_detail(NULL, NULL, NULL, &err));

  // Nowhere to put the error is fine.
  CHECK(park_session_close(NULL, NULL) == PARK_INVALID_ARGUMENT);

  park_error_free(NULL);
  park_session_free(NULL);
  park_object_free(NULL);
  park_object_ref_free(NULL);
  park_mutable_object_free(NULL);
  park_actor_free(NULL);
  park_channel_free(NULL);
  park_channel_writer_free(NULL);
  park_channel_reader_free(NULL);
  park_channel_message_free(NULL);
  park_promise_free(NULL);
  CHECK(park_status_is_retryable(PARK_TIMEOUT) && !park_status_is_retryable(PARK_OK) && !park_status_is_retryable(-1));
  CHECK(park_error_status(NULL) == PARK_OK && strcmp(park_error_message(NULL), "") == 0);
  park_error *error = park_error_new(PARK_OK, NULL);
  CHECK(park_error_status(error) == PARK_TASK_FAILED && strcmp(park_error_message(error), "") == 0);
  park_error_free(error);
  error = park_error_new(-5, "\xff\xfe");
  CHECK(park_error_status(error) == PARK_TASK_FAILED && strlen(park_error_message(error)) > 0);
  park_error_free(error);
  CHECK(strcmp(park_status_name(-1), "Unknown") == 0 && strcmp(park_status_name(PARK_TIMEOUT), "Timeout") == 0);
  CHECK(park_abi_version() == PARK_ABI_VERSION && park_version() != NULL);
}

static void kv_nulls(void) {
  REFUSED(park_kv_cache_defaults(NULL, &err));
  REFUSED(park_kv_cache_open(NULL, NULL, &err));
  REFUSED(park_kv_cache_add_tenant(NULL, 0, NULL, &err));
  REFUSED(park_kv_cache_add(NULL, NULL, NULL, &err));
  REFUSED(park_kv_cache_extend(NULL, 0, NULL, 0, &err));
  REFUSED(park_kv_cache_fork(NULL, 0, NULL, &err));
  REFUSED(park_kv_cache_finish(NULL, 0, &err));
  REFUSED(park_kv_cache_detach(NULL, 0, &err));
  REFUSED(park_kv_cache_renew(NULL, 0, &err));
  REFUSED(park_kv_cache_trim(NULL, 0, &err));
  REFUSED(park_kv_cache_lookup(NULL, 0, 0, NULL, &err));
  REFUSED(park_kv_cache_attach(NULL, 0, 0, NULL, &err));
  REFUSED(park_kv_cache_prefill(NULL, NULL, NULL, 0, NULL, NULL, &err));
  REFUSED(park_kv_cache_decode(NULL, NULL, NULL, 0, NULL, NULL, &err));
  REFUSED(park_kv_cache_fill(NULL, NULL, NULL, NULL, 0, NULL, &err));
  REFUSED(park_kv_cache_settle(NULL, &err));
  REFUSED(park_kv_cache_grow(NULL, 0, 0, NULL, &err));
  REFUSED(park_kv_cache_advance(NULL, 0, 0, &err));
  REFUSED(park_kv_cache_rewind(NULL, 0, 0, &err));
  REFUSED(park_kv_cache_set_epoch(NULL, 1, &err));
  REFUSED(park_kv_cache_reset(NULL, NULL, &err));
  REFUSED(park_kv_cache_retain(NULL, 0, 0, 0, &err));
  REFUSED(park_kv_cache_set_time(NULL, 0, &err));
  REFUSED(park_kv_cache_audit(NULL, &err));
  REFUSED(park_kv_cache_read_sequence(NULL, 0, NULL, &err));
  REFUSED(park_kv_cache_read_stats(NULL, NULL, &err));
  REFUSED(park_kv_cache_read_metrics(NULL, NULL, &err));
  REFUSED(park_kv_cache_take_events(NULL, NULL, NULL, &err));
  REFUSED(park_kv_scheduler_defaults(NULL, &err));
  REFUSED(park_kv_scheduler_open(NULL, NULL, &err));
  REFUSED(park_kv_scheduler_add_tenant(NULL, 0, NULL, &err));
  REFUSED(park_kv_scheduler_add(NULL, NULL, NULL, &err));
  REFUSED(park_kv_scheduler_fork(NULL, 0, NULL, &err));
  REFUSED(park_kv_scheduler_abort(NULL, 0, &err));
  REFUSED(park_kv_scheduler_step(NULL, NULL, NULL, &err));
  REFUSED(park_kv_scheduler_fill(NULL, NULL, NULL, &err));
  REFUSED(park_kv_scheduler_commit(NULL, NULL, 0, NULL, NULL, 0, &err));
  REFUSED(park_kv_scheduler_abandon(NULL, &err));
  REFUSED(park_kv_scheduler_pause(NULL, &err));
  REFUSED(park_kv_scheduler_resume(NULL, &err));
  REFUSED(park_kv_scheduler_sleep(NULL, &err));
  REFUSED(park_kv_scheduler_set_epoch(NULL, 1, &err));
  REFUSED(park_kv_scheduler_reset(NULL, NULL, &err));
  REFUSED(park_kv_scheduler_retain(NULL, 0, 0, 0, &err));
  REFUSED(park_kv_scheduler_set_time(NULL, 0, &err));
  REFUSED(park_kv_scheduler_audit(NULL, &err));
  REFUSED(park_kv_scheduler_read_sequence(NULL, 0, NULL, &err));
  REFUSED(park_kv_scheduler_read_cache_stats(NULL, NULL, &err));
  REFUSED(park_kv_scheduler_read_stats(NULL, NULL, &err));
  REFUSED(park_kv_scheduler_read_metrics(NULL, NULL, &err));
  REFUSED(park_kv_scheduler_read_cache_metrics(NULL, NULL, &err));
  REFUSED(park_kv_scheduler_take_events(NULL, NULL, NULL, &err));
  park_kv_cache_free(NULL);
  park_kv_scheduler_free(NULL);
}

static void nulls_in_one_place(park_session *session, park_object_ref *ref, park_object *object) {
  park_object_id id;
  park_object_ref *out_ref = NULL;
  park_object *out_object = NULL;
  park_actor *actor = NULL;
  bool flag = true;
  size_t count = 0;
  const void *data = NULL;
  char text[PARK_OBJECT_ID_TEXT];
  CHECK_OK(park_object_ref_id(ref, &id, &err));
  REFUSED(park_session_address(session, NULL, &err));
  REFUSED(park_session_read_stats(session, NULL, &err));
  REFUSED(park_object_put(session, "x", 1, NULL, &err));
  REFUSED(park_object_put(session, NULL, 1, &out_ref, &err));
  REFUSED(park_object_create(session, 1, NULL, &err));
  REFUSED(park_object_get(ref, 0, NULL, &err));
  REFUSED(park_object_get(NULL, 0, &out_object, &err));
  REFUSED(park_object_contains(session, &id, NULL, &err));
  REFUSED(park_object_contains(session, NULL, &flag, &err));
  REFUSED(park_object_data(object, NULL, &count, &err));
  REFUSED(park_object_data(object, &data, NULL, &err));
  REFUSED(park_object_id_format(&id, NULL, &err));
  REFUSED(park_object_id_format(NULL, text, &err));
  REFUSED(park_object_ref_resolve(session, NULL, &out_ref, &err));
  REFUSED(park_object_ref_resolve(session, &id, NULL, &err));
  REFUSED(park_tensor_read(object, NULL, &err));
  REFUSED(park_task_register(session, "task", NULL, NULL, NULL, &err));
  REFUSED(park_task_register(session, NULL, never_called, NULL, NULL, &err));
  REFUSED(park_task_submit(session, "task", NULL, 3, 0, NULL, &err));
  REFUSED(park_task_submit(session, "task", NULL, 0, 3, NULL, &err));
  REFUSED(park_actor_spawn(session, "actor", NULL, NULL, NULL, &actor, &err));
  REFUSED(park_actor_spawn(session, "actor", never_called_either, NULL, NULL, NULL, &err));
  const park_object_ref *refs[2] = {ref, NULL};
  REFUSED(park_object_wait(refs, 2, 1, 0, NULL, &count, &err));
  REFUSED(park_object_wait(refs, 1, 1, 0, NULL, NULL, &err));
  REFUSED(park_task_submit(session, "task", refs, 2, 0, NULL, &err));
  CHECK(out_ref == NULL && out_object == NULL && actor == NULL && flag && count == 0 && data == NULL);
}

static void misaligned(park_session *session, park_object_ref *ref, park_object *object) {
  const void *data = NULL;
  size_t count = 0;
  REFUSED(park_session_close(ODD(park_session *), &err));
  REFUSED(park_session_open(ODD(const park_session_options *), ODD(park_session **), &err));
  REFUSED(park_session_read_stats(session, ODD(park_session_stats *), &err));
  REFUSED(park_session_trim(session, ODD(uint64_t *), &err));
  REFUSED(park_object_put(ODD(const park_session *), "x", 1, ODD(park_object_ref **), &err));
  REFUSED(park_object_put(session, "x", 1, ODD(park_object_ref **), &err));
  REFUSED(park_object_get(ODD(const park_object_ref *), 0, ODD(park_object **), &err));
  REFUSED(park_object_get(ref, 0, ODD(park_object **), &err));
  REFUSED(park_object_wait(ODD(const park_object_ref *const *), 2, 1, 0, NULL, &count, &err));
  REFUSED(park_object_data(object, &data, ODD(size_t *), &err));
  REFUSED(park_object_release(ODD(park_object *), &err));
  REFUSED(park_mutable_object_write(ODD(park_mutable_object *), 0, "x", 1, &err));
  REFUSED(park_tensor_create(session, ODD(const park_tensor_spec *), ODD(park_mutable_object **), &err));
  REFUSED(park_task_submit(session, "task", NULL, 0, 1, ODD(park_object_ref **), &err));
  REFUSED(park_actor_call(ODD(const park_actor *), "m", NULL, 0, 0, NULL, &err));
  // An error that cannot be written down.
  CHECK(park_session_close(session, ODD(park_error **)) == PARK_INVALID_ARGUMENT);
  // Freeing what cannot be a handle frees nothing.
  park_object_free(ODD(park_object *));
  park_error_free(ODD(park_error *));
}

static void lengths_and_texts(park_session *session, park_object_ref *ref) {
  park_object_ref *out = NULL;
  park_session *other = NULL;
  park_mutable_object *writing = NULL;
  park_object_id id;
  REFUSED(park_object_put(session, "x", SIZE_MAX, &out, &err));
  REFUSED(park_object_put(session, "x", SIZE_MAX / 2 + 1, &out, &err));
  const park_object_ref *refs[1] = {ref};
  size_t count = 0;
  REFUSED(park_object_wait(refs, SIZE_MAX, 1, 0, NULL, &count, &err));
  REFUSED(park_object_wait(refs, SIZE_MAX / 8, 1, 0, NULL, &count, &err));
  REFUSED(park_task_submit(session, "task", refs, SIZE_MAX, 0, NULL, &err));
  REFUSED(park_task_submit(session, "task", NULL, 0, SIZE_MAX, &out, &err));
  CHECK_STATUS(PARK_STORE_FULL, park_object_create(session, SIZE_MAX, &writing, &err));

  REFUSED(park_session_attach("\xc3\x28", &other, &err));
  REFUSED(park_session_attach("", &other, &err));
  REFUSED(park_session_attach("park-0123", &other, &err));
  REFUSED(park_task_register(session, "\xff", never_called, NULL, NULL, &err));
  REFUSED(park_task_submit(session, "\xff", NULL, 0, 0, NULL, &err));
  char *name = calloc(1, 70001);
  memset(name, 'n', 70000);
  REFUSED(park_task_register(session, name, never_called, NULL, NULL, &err));
  REFUSED(park_session_attach(name, &other, &err));
  REFUSED(park_object_id_parse(name, &id, &err));
  free(name);
  static const char *const ids[] = {"", "0", "g0000000000000000000000000000000", "000000000000000000000000000000000",
                                    "\xc3\xa9", "+0000000000000000000000000000000"};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; ++i) {
    REFUSED(park_object_id_parse(ids[i], &id, &err));
  }
  // A well-formed address at which nobody listens.
  park_error *err = NULL;
  CHECK(park_session_attach("park-00000000000000000000000000000000", &other, &err) != PARK_OK && other == NULL);
  CHECK(strlen(park_error_message(err)) > 0);
  park_error_free(err);
}

static void timeouts(park_session *session, park_object_ref *ref) {
  static const int64_t bad[] = {-2, INT64_MIN};
  park_object *object = NULL;
  const park_object_ref *refs[1] = {ref};
  size_t count = 0;
  for (int i = 0; i < 2; ++i) {
    REFUSED(park_object_get(ref, bad[i], &object, &err));
    REFUSED(park_object_wait(refs, 1, 1, bad[i], NULL, &count, &err));
  }
  CHECK_OK(park_object_wait(refs, 1, 1, INT64_MAX, NULL, &count, &err));
  CHECK(count == 1 && object == NULL);

  // An object that is not there yet: 0 only looks, a little waits a little.
  park_object_ref *pending = NULL;
  bool ready = true;
  gate_open = 0;
  CHECK_OK(park_task_register(session, "gate", gate, NULL, NULL, &err));
  CHECK_OK(park_task_submit(session, "gate", NULL, 0, 1, &pending, &err));
  refs[0] = pending;
  CHECK_STATUS(PARK_TIMEOUT, park_object_get(pending, 0, &object, &err));
  CHECK_STATUS(PARK_TIMEOUT, park_object_get(pending, 5, &object, &err));
  CHECK_OK(park_object_wait(refs, 1, 1, 5, &ready, &count, &err));
  CHECK(count == 0 && !ready && object == NULL);
  gate_open = 1;
  CHECK_OK(park_object_wait(refs, 1, 1, -1, &ready, &count, &err));
  CHECK(count == 1 && ready);
  park_object_ref_free(pending);
}

static void bad_options(void) {
  park_session *session = NULL;
  park_session_options options;
  memset(&options, 0, sizeof options);
  REFUSED(park_session_open(&options, &session, &err)); // struct_size is 0
  options.struct_size = sizeof options;
  options.capacity = 1;
  REFUSED(park_session_open(&options, &session, &err));
  options.capacity = UINT64_MAX;
  REFUSED(park_session_open(&options, &session, &err));
  options.capacity = 2 << 20;
  options.max_objects = 1;
  REFUSED(park_session_open(&options, &session, &err));
  options.max_objects = UINT32_MAX;
  REFUSED(park_session_open(&options, &session, &err));
  options.max_objects = 1024;
  options.native_threads = UINT32_MAX;
  REFUSED(park_session_open(&options, &session, &err));
  options.native_threads = 1;
  options.reserve = 2;
  REFUSED(park_session_open(&options, &session, &err));
  options.reserve = 0;
  options.no_spill = UINT32_MAX;
  REFUSED(park_session_open(&options, &session, &err));
  options.no_spill = 0;
  options.spill_directory = "\xff";
  REFUSED(park_session_open(&options, &session, &err));
  options.spill_directory = NULL;
  CHECK(session == NULL);
  options.full_timeout_ms = UINT64_MAX;
  CHECK_OK(park_session_open(&options, &session, &err));
  park_session_free(session);
}

int main(void) {
  park_session *session = open_small();
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  CHECK_OK(park_object_put(session, "fine", 4, &ref, &err));
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  nulls();
  kv_nulls();
  nulls_in_one_place(session, ref, object);
  misaligned(session, ref, object);
  lengths_and_texts(session, ref);
  timeouts(session, ref);
  bad_options();

  // After all that, everything is as it was.
  const void *data = NULL;
  size_t len = 0;
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == 4 && memcmp(data, "fine", 4) == 0);
  park_object_free(object);
  park_object_ref_free(ref);
  // A thread that ran a task may be letting go of its last reference yet.
  for (int look = 0; look < 2000 && (stats_of(session).used != 0 || stats_of(session).objects != 0); look++) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  CHECK(stats_of(session).objects == 0 && stats_of(session).used == 0);
  park_session_free(session);
  return finish("hostile");
}
