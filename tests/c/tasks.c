// Native tasks and actors written in C: results, failures, order, destructors.
#include "check.h"

#include <pthread.h>
#include <stdlib.h>

static int destroyed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void destroy(void *user_data) {
  pthread_mutex_lock(&lock);
  ++destroyed;
  pthread_mutex_unlock(&lock);
  free(user_data);
}

static int destroyed_so_far(void) {
  pthread_mutex_lock(&lock);
  int count = destroyed;
  pthread_mutex_unlock(&lock);
  return count;
}

// Adds `*user_data` to each byte of the argument.
static park_status add(park_task_call *call, void *user_data, park_error **err) {
  const park_object *argument = NULL;
  const void *data = NULL;
  void *room = NULL;
  size_t len = 0;
  park_mutable_object *writing = NULL;
  park_status status = park_task_call_arg(call, 0, &argument, err);
  if (status == PARK_OK) {
    status = park_object_data(argument, &data, &len, err);
  }
  if (status == PARK_OK) {
    status = park_task_call_create(call, 0, len, &writing, err);
  }
  if (status == PARK_OK) {
    status = park_mutable_object_data(writing, &room, &len, err);
  }
  for (size_t i = 0; status == PARK_OK && i < len; ++i) {
    ((unsigned char *)room)[i] = (unsigned char)(((const unsigned char *)data)[i] + *(unsigned char *)user_data);
  }
  if (status == PARK_OK) {
    status = park_mutable_object_seal(writing, NULL, err);
  }
  park_mutable_object_free(writing);
  return status;
}

static park_status fail_with_text(park_task_call *call, void *user_data, park_error **err) {
  (void)call, (void)user_data;
  *err = park_error_new(PARK_NOT_FOUND, "no such flavour");
  return PARK_NOT_FOUND;
}

static park_status fail_without_text(park_task_call *call, void *user_data, park_error **err) {
  (void)call, (void)user_data, (void)err;
  return 12345;
}

static park_status forget(park_task_call *call, void *user_data, park_error **err) {
  size_t args = 99, returns = 99;
  (void)user_data;
  park_status status = park_task_call_num_args(call, &args, err);
  return status == PARK_OK ? park_task_call_num_returns(call, &returns, err) : status;
}

static void *use_elsewhere(void *call) {
  park_error *err = NULL;
  park_status status = park_task_call_put(call, 0, "x", 1, &err);
  park_error_free(err);
  return (void *)(intptr_t)status;
}

// Lends its pinned handle to another thread, which must be refused; returns the status that thread saw.
static park_status unpin(park_task_call *call, void *user_data, park_error **err) {
  pthread_t thread;
  void *seen = NULL;
  (void)user_data;
  if (pthread_create(&thread, NULL, use_elsewhere, call) != 0 || pthread_join(thread, &seen) != 0) {
    return PARK_IO;
  }
  const unsigned char status = (unsigned char)(intptr_t)seen;
  return park_task_call_put(call, 0, &status, 1, err);
}

static park_status ramp(park_task_call *call, void *user_data, park_error **err) {
  const int64_t shape[1] = {5};
  park_tensor_spec spec = {0};
  park_mutable_object *writing = NULL;
  (void)user_data;
  spec.struct_size = sizeof spec;
  spec.dtype = PARK_INT64;
  spec.ndim = 1;
  spec.shape = shape;
  park_status status = park_task_call_create_tensor(call, 0, &spec, &writing, err);
  for (int64_t i = 0; status == PARK_OK && i < 5; ++i) {
    status = park_mutable_object_write(writing, (size_t)i * 8, &i, 8, err);
  }
  if (status == PARK_OK) {
    status = park_mutable_object_seal(writing, NULL, err);
  }
  park_mutable_object_free(writing);
  return status;
}

static void expect_bytes(park_object_ref *ref, const void *expected, size_t size) {
  park_object *object = NULL;
  const void *data = NULL;
  size_t len = 0;
  CHECK_OK(park_object_get(ref, -1, &object, &err));
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == size && memcmp(data, expected, size) == 0);
  park_object_free(object);
}

static void expect_failure(park_object_ref *ref, const char *text) {
  park_object *object = NULL;
  park_error *err = NULL;
  CHECK(park_object_get(ref, -1, &object, &err) == PARK_TASK_FAILED);
  if (strstr(park_error_message(err), text) == NULL) {
    fprintf(stderr, "expected \"%s\" in \"%s\"\n", text, park_error_message(err));
  }
  CHECK(strstr(park_error_message(err), text) != NULL && object == NULL);
  park_error_free(err);
}

static void tasks(park_session *session) {
  unsigned char *one = malloc(1);
  park_object_ref *argument = NULL, *result = NULL;
  *one = 1;
  CHECK_OK(park_task_register(session, "add", add, one, destroy, &err));
  CHECK(destroyed_so_far() == 0);
  // Refused, and the destructor has been called all the same.
  CHECK_STATUS(PARK_ALREADY_EXISTS, park_task_register(session, "add", add, malloc(1), destroy, &err));
  CHECK(destroyed_so_far() == 1);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_task_register(session, "", add, malloc(1), destroy, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_task_register(session, "n", NULL, malloc(1), destroy, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_task_register(NULL, "n", add, malloc(1), destroy, &err));
  CHECK(destroyed_so_far() == 4);

  // A chain: each waits for the one before it.
  CHECK_OK(park_object_put(session, "abc", 3, &argument, &err));
  for (int i = 0; i < 10; ++i) {
    const park_object_ref *args[1] = {argument};
    CHECK_OK(park_task_submit(session, "add", args, 1, 1, &result, &err));
    park_object_ref_free(argument);
    argument = result;
  }
  expect_bytes(argument, "klm", 3);
  park_object_ref_free(argument);

  CHECK_OK(park_task_register(session, "text", fail_with_text, NULL, NULL, &err));
  CHECK_OK(park_task_register(session, "no text", fail_without_text, NULL, NULL, &err));
  CHECK_OK(park_task_register(session, "forget", forget, NULL, NULL, &err));
  CHECK_OK(park_task_register(session, "unpin", unpin, NULL, NULL, &err));
  CHECK_OK(park_task_register(session, "ramp", ramp, NULL, NULL, &err));
  static const char *const failures[][2] = {{"text", "NotFound: no such flavour"},
                                            {"no text", "status 12345"},
                                            {"forget", "without writing return 0"},
                                            {"add", "has 0 arguments, asked for number 0"}};
  for (int i = 0; i < 3; ++i) {
    CHECK_OK(park_task_submit(session, failures[i][0], NULL, 0, 1, &result, &err));
    expect_failure(result, failures[i][1]);
    // A failed argument fails the call with the first cause.
    const park_object_ref *args[1] = {result};
    park_object_ref *next = NULL;
    CHECK_OK(park_task_submit(session, "add", args, 1, 1, &next, &err));
    expect_failure(next, failures[i][1]);
    park_object_ref_free(next);
    park_object_ref_free(result);
  }
  CHECK_OK(park_task_submit(session, "unpin", NULL, 0, 1, &result, &err));
  expect_bytes(result, "\x01", 1); // PARK_INVALID_ARGUMENT
  park_object_ref_free(result);

  park_object *object = NULL;
  park_tensor tensor = {0};
  tensor.struct_size = sizeof tensor;
  CHECK_OK(park_task_submit(session, "ramp", NULL, 0, 1, &result, &err));
  CHECK_OK(park_object_get(result, -1, &object, &err));
  CHECK_OK(park_tensor_read(object, &tensor, &err));
  CHECK(tensor.dtype == PARK_INT64 && tensor.nbytes == 40 && ((const int64_t *)tensor.data)[4] == 4);
  park_object_free(object);
  park_object_ref_free(result);

  CHECK_STATUS(PARK_NOT_FOUND, park_task_submit(session, "nobody", NULL, 0, 0, NULL, &err));
  park_object_ref **many = calloc(2000, sizeof *many);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_task_submit(session, "text", NULL, 0, 2000, many, &err));
  CHECK(many[0] == NULL && many[1999] == NULL);
  free(many);
  CHECK_OK(park_task_submit(session, "text", NULL, 0, 0, NULL, &err));
}

// A counter: `*user_data` is its state.
static park_status count(park_task_call *call, const char *method, void *user_data, park_error **err) {
  int *state = user_data;
  if (strcmp(method, "increment") == 0) {
    ++*state;
    return PARK_OK;
  }
  if (strcmp(method, "read") == 0) {
    return park_task_call_put(call, 0, state, sizeof *state, err);
  }
  *err = park_error_new(PARK_OK, method); // PARK_OK is no failure: becomes PARK_TASK_FAILED
  return PARK_NOT_FOUND;
}

static void actors(park_session *session) {
  int before = destroyed_so_far();
  park_actor *actor = NULL, *clone = NULL;
  park_object_ref *result = NULL;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_actor_spawn(session, NULL, count, malloc(1), destroy, &actor, &err));
  CHECK(destroyed_so_far() == before + 1 && actor == NULL);
  CHECK_OK(park_actor_spawn(session, "counter", count, calloc(1, sizeof(int)), destroy, &actor, &err));
  for (int i = 0; i < 100; ++i) {
    CHECK_OK(park_actor_call(actor, "increment", NULL, 0, 0, NULL, &err));
  }
  CHECK_OK(park_actor_clone(actor, &clone, &err));
  CHECK_OK(park_actor_call(actor, "read", NULL, 0, 1, &result, &err));
  const int hundred = 100;
  expect_bytes(result, &hundred, sizeof hundred);
  park_object_ref_free(result);
  park_actor_free(actor);
  CHECK_OK(park_actor_call(clone, "dance", NULL, 0, 1, &result, &err));
  expect_failure(result, "dance");
  park_object_ref_free(result);
  park_actor_free(clone);
  while (destroyed_so_far() == before + 1) {
  }
  CHECK(destroyed_so_far() == before + 2);
}

int main(void) {
  park_session *session = open_small();
  tasks(session);
  actors(session);
  int before = destroyed_so_far();
  park_session_free(session);
  CHECK(destroyed_so_far() == before + 1); // that of the task "add"
  return finish("tasks");
}
