// Channels: messages by copy and in place, tensors, the ends and what they say to each other, and every size that has to be refused.
#include "check.h"

#include <stdlib.h>

static park_channel *channel_of(park_session *session, uint64_t slots, uint64_t slot_bytes, uint64_t readers) {
  park_channel_options options = {sizeof options, slots, slot_bytes, readers};
  park_channel *channel = NULL;
  CHECK_OK(park_channel_create(session, &options, &channel, &err));
  return channel;
}

// The next message, which must have these bytes.
static void reads(park_channel_reader *reader, const void *expected, size_t len) {
  park_channel_message *message = NULL;
  const void *data = NULL;
  size_t got = 0;
  park_format format = 99;
  CHECK_OK(park_channel_reader_read(reader, 0, &message, &err));
  CHECK_OK(park_channel_message_data(message, &data, &got, &err));
  CHECK_OK(park_channel_message_format(message, &format, &err));
  CHECK(got == len && memcmp(data, expected, len) == 0 && (size_t)data % 64 == 0 && format == PARK_FORMAT_RAW);
  park_channel_message_free(message);
}

static void bytes_in_order(park_session *session) {
  park_channel *channel = channel_of(session, 2, 16, 1);
  park_channel_writer *writer = NULL, *second = NULL;
  park_channel_reader *reader = NULL;
  park_channel_message *held[2] = {NULL, NULL}, *more = NULL;
  CHECK_OK(park_channel_writer_open(channel, &writer, &err));
  CHECK_STATUS(PARK_ALREADY_EXISTS, park_channel_writer_open(channel, &second, &err));
  CHECK_OK(park_channel_reader_open(channel, &reader, &err));
  park_channel_free(channel); // the ends stay
  CHECK_STATUS(PARK_TIMEOUT, park_channel_reader_read(reader, 0, &more, &err));
  CHECK_OK(park_channel_writer_write(writer, "a", 1, 0, &err));
  CHECK_OK(park_channel_writer_write(writer, NULL, 0, -1, &err));
  CHECK_STATUS(PARK_TIMEOUT, park_channel_writer_write(writer, "c", 1, 5, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_writer_write(writer, "seventeen letters", 17, 0, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_writer_write(writer, "c", 1, -2, &err));
  reads(reader, "a", 1);
  reads(reader, "", 0);

  CHECK_OK(park_channel_writer_write(writer, "d", 1, 0, &err));
  CHECK_OK(park_channel_writer_write(writer, "e", 1, 0, &err));
  CHECK_OK(park_channel_reader_read(reader, 0, &held[0], &err));
  CHECK_OK(park_channel_reader_read(reader, 0, &held[1], &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_reader_read(reader, -1, &more, &err)); // it holds every slot
  CHECK_OK(park_channel_message_release(held[0], &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_channel_message_release(held[0], &err));
  CHECK_OK(park_channel_writer_write(writer, "f", 1, 0, &err));
  park_channel_message_free(held[0]);
  park_channel_message_free(held[1]);

  CHECK_OK(park_channel_writer_close(writer, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_channel_writer_close(writer, &err));
  CHECK_STATUS(PARK_HANDLE_CLOSED, park_channel_writer_write(writer, "g", 1, 0, &err));
  reads(reader, "f", 1);
  CHECK_STATUS(PARK_CHANNEL_CLOSED, park_channel_reader_read(reader, -1, &more, &err));
  CHECK(more == NULL && second == NULL);
  park_channel_writer_free(writer);
  park_channel_reader_free(reader);
}

static void in_place(park_session *session) {
  park_channel *channel = channel_of(session, 0, 24, 1);
  park_channel_writer *writer = NULL;
  park_channel_reader *reader = NULL;
  park_channel_message *message = NULL;
  park_tensor_spec spec = {0};
  park_tensor tensor = {0};
  const int64_t shape[2] = {2, 3};
  void *room = NULL;
  spec.struct_size = sizeof spec;
  tensor.struct_size = sizeof tensor;
  spec.dtype = PARK_FLOAT32;
  spec.view = PARK_VIEW_TORCH;
  spec.ndim = 2;
  spec.shape = shape;
  CHECK_OK(park_channel_writer_open(channel, &writer, &err));
  CHECK_OK(park_channel_reader_open(channel, &reader, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_writer_publish(writer, &err)); // nothing was begun
  CHECK_OK(park_channel_writer_begin(writer, 5, 0, &room, &err));
  memcpy(room, "given up", 5);
  CHECK_OK(park_channel_writer_begin_tensor(writer, &spec, 0, &room, &err));
  for (int i = 0; i < 6; ++i) {
    ((float *)room)[i] = (float)i;
  }
  CHECK_OK(park_channel_writer_publish(writer, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_writer_publish(writer, &err));
  CHECK_OK(park_channel_reader_read(reader, 0, &message, &err));
  CHECK_OK(park_channel_message_tensor(message, &tensor, &err));
  CHECK(tensor.dtype == PARK_FLOAT32 && tensor.view == PARK_VIEW_TORCH && tensor.ndim == 2 && tensor.shape[1] == 3);
  CHECK(tensor.nbytes == 24 && ((const float *)tensor.data)[5] == 5 && (size_t)tensor.data % 64 == 0);
  park_channel_message_free(message);

  const float values[6] = {9, 8, 7, 6, 5, 4};
  CHECK_OK(park_channel_writer_write_tensor(writer, &spec, values, sizeof values, 0, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_writer_write_tensor(writer, &spec, values, 20, 0, &err));
  CHECK_OK(park_channel_writer_begin(writer, 24, 0, &room, &err));
  memset(room, 'x', 24);
  CHECK_OK(park_channel_writer_publish(writer, &err));
  CHECK_OK(park_channel_reader_read(reader, 0, &message, &err));
  CHECK_OK(park_channel_message_tensor(message, &tensor, &err));
  CHECK(memcmp(tensor.data, values, sizeof values) == 0);
  park_channel_message_free(message);
  CHECK_OK(park_channel_reader_read(reader, 0, &message, &err));
  CHECK_STATUS(PARK_WRONG_FORMAT, park_channel_message_tensor(message, &tensor, &err));
  park_channel_message_free(message);
  park_channel_reader_free(reader);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_writer_begin(writer, 25, 0, &room, &err));
  park_channel_writer_free(writer);
  park_channel_free(channel);
}

static void ends(park_session *session) {
  park_channel *channel = channel_of(session, 1, 8, 1), *opened = NULL;
  park_channel_writer *writer = NULL;
  park_channel_reader *reader = NULL;
  park_object_ref *ref = NULL;
  CHECK_OK(park_channel_reference(channel, &ref, &err));
  CHECK_OK(park_channel_open(ref, &opened, &err));
  park_object_ref_free(ref);
  CHECK_OK(park_channel_writer_open(opened, &writer, &err));
  CHECK_OK(park_channel_reader_open(channel, &reader, &err));
  park_channel_reader_free(reader);
  CHECK_STATUS(PARK_CHANNEL_CLOSED, park_channel_writer_write(writer, "x", 1, -1, &err)); // every reader has left
  CHECK_OK(park_channel_reader_open(opened, &reader, &err));
  CHECK_OK(park_channel_writer_write(writer, "y", 1, -1, &err));
  park_channel_writer_free(writer); // closes
  reads(reader, "y", 1);
  park_channel_reader_free(reader);
  CHECK_STATUS(PARK_CHANNEL_CLOSED, park_channel_writer_open(channel, &writer, &err));
  park_channel_free(channel);
  park_channel_free(opened);

  CHECK_OK(park_object_put(session, "no channel", 10, &ref, &err));
  CHECK_STATUS(PARK_WRONG_FORMAT, park_channel_open(ref, &opened, &err));
  park_object_ref_free(ref);
}

static void sizes(park_session *session) {
  park_channel *channel = NULL;
  park_channel_options options = {sizeof options, 1, 8, 65};
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_create(session, &options, &channel, &err));
  options.readers = 1;
  options.slots = UINT64_MAX;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_create(session, &options, &channel, &err));
  options.slots = 1;
  options.slot_bytes = UINT64_MAX;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_create(session, &options, &channel, &err));
  options.slot_bytes = 1u << 30;
  CHECK_STATUS(PARK_STORE_FULL, park_channel_create(session, &options, &channel, &err));
  options.struct_size = 3;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_channel_create(session, &options, &channel, &err));
  CHECK(channel == NULL);
}

int main(void) {
  park_session *session = open_small();
  bytes_in_order(session);
  in_place(session);
  ends(session);
  sizes(session);
  CHECK(stats_of(session).objects == 0 && stats_of(session).used == 0);
  park_session_free(session);
  return finish("channels");
}
