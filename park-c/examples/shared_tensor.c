// A C process shares tensors with a Python session, without a copy in either direction.
//
//   shared_tensor SESSION OBJECT
//
// SESSION is what Python's park.init().address_info["session"] says, OBJECT the hex id of a numpy array of float64. The program
// attaches, sums the array where it lies, makes a torch tensor of float32 with every element doubled, and prints its id and the
// sum. It then holds the tensor until a line arrives on its standard input: an object lives as long as somebody refers to it, and
// by then Python does. shared_tensor.cpp, .rs and .py in the other languages' examples are the same program and its counterpart.
#include <park.h>
#include <stdio.h>
#include <stdlib.h>

// Ends the program if a call failed.
static void check(park_status status, park_error *err) {
  if (status != PARK_OK) {
    fprintf(stderr, "%s: %s\n", park_status_name(status), park_error_message(err));
    park_error_free(err);
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: shared_tensor SESSION OBJECT\n");
    return 2;
  }
  park_error *err = NULL;
  park_session *session = NULL;
  park_object_id id;
  park_object_ref *ref = NULL;
  park_object *object = NULL;
  park_tensor in = {.struct_size = sizeof in};

  check(park_session_attach(argv[1], &session, &err), err);
  check(park_object_id_parse(argv[2], &id, &err), err);
  check(park_object_ref_resolve(session, &id, &ref, &err), err);
  check(park_object_get(ref, 10000, &object, &err), err);
  check(park_tensor_read(object, &in, &err), err);
  if (in.dtype != PARK_FLOAT64) {
    fprintf(stderr, "expected an array of float64\n");
    return 1;
  }

  // The array, in the very memory that Python wrote it to; and room for ours, in the store.
  const double *values = in.data;
  const size_t count = in.nbytes / sizeof *values;
  park_tensor_spec spec = {.struct_size = sizeof spec, .dtype = PARK_FLOAT32, .view = PARK_VIEW_TORCH, .ndim = in.ndim,
                           .shape = in.shape, .strides = in.strides};
  park_mutable_object *writing = NULL;
  void *room = NULL;
  size_t size = 0;
  check(park_tensor_create(session, &spec, &writing, &err), err);
  check(park_mutable_object_data(writing, &room, &size, &err), err);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += values[i];
    ((float *)room)[i] = (float)(2 * values[i]);
  }
  park_object_ref *made = NULL;
  char text[PARK_OBJECT_ID_TEXT];
  check(park_mutable_object_seal(writing, &made, &err), err);
  check(park_object_ref_id(made, &id, &err), err);
  check(park_object_id_format(&id, text, &err), err);
  printf("%s %.17g\n", text, sum);
  fflush(stdout);
  getchar();

  park_object_ref_free(made);
  park_mutable_object_free(writing);
  park_object_free(object);
  park_object_ref_free(ref);
  park_session_free(session);
  return 0;
}
