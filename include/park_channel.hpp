// The part of park.hpp about channels: one writer, many readers, messages read in place. Included by park.hpp; header only.
#ifndef PARK_CHANNEL_HPP
#define PARK_CHANNEL_HPP

#include "park_objects.hpp"

namespace park {

// How large a channel is; see park_channel_options.
struct ChannelOptions {
  std::uint64_t slot_bytes = 0;
  std::uint64_t slots = 0; // 0 is 8
  std::uint64_t readers = 1;
};

// A message, read in place; its slot is given back to the writer when this is destroyed.
class ChannelMessage {
public:
  explicit ChannelMessage(park_channel_message *raw) : handle_(raw) {}

  Result<Bytes> bytes() const {
    const void *data = nullptr;
    std::size_t size = 0;
    auto done = detail::call([&](park_error **err) { return park_channel_message_data(raw(), &data, &size, err); });
    return done ? Result<Bytes>(Bytes(static_cast<const std::byte *>(data), size)) : Result<Bytes>(done.error());
  }

  Result<park_format> format() const {
    park_format format = 0;
    auto done = detail::call([&](park_error **err) { return park_channel_message_format(raw(), &format, err); });
    return done ? Result<park_format>(format) : Result<park_format>(done.error());
  }

  // The message as a tensor of T, valid while this is; PARK_WRONG_FORMAT if it is no tensor, or one of another type.
  template <class T> Result<Tensor<T>> tensor() const {
    return detail::tensor_of<T>(
        [&](park_tensor *out, park_error **err) { return park_channel_message_tensor(raw(), out, err); });
  }

  // Gives the slot back before this is destroyed.
  Result<void> release() {
    return detail::call([&](park_error **err) { return park_channel_message_release(handle_.get(), err); });
  }

  const park_channel_message *raw() const { return handle_.get(); }

private:
  detail::Handle<park_channel_message, &park_channel_message_free> handle_;
};

// A seat among the readers of a channel. Given back when destroyed, after its last message.
class ChannelReader {
public:
  explicit ChannelReader(park_channel_reader *raw) : handle_(raw) {}

  // Waits for the next message. PARK_CHANNEL_CLOSED when none can come any more.
  Result<ChannelMessage> read(std::chrono::milliseconds timeout = forever) {
    return detail::make<ChannelMessage, park_channel_message>([&](park_channel_message **out, park_error **err) {
      return park_channel_reader_read(handle_.get(), timeout.count(), out, err);
    });
  }

private:
  detail::Handle<park_channel_reader, &park_channel_reader_free> handle_;
};

// The one end of a channel that writes. Closes the channel when destroyed.
class ChannelWriter {
public:
  explicit ChannelWriter(park_channel_writer *raw) : handle_(raw) {}

  // Writes a copy of the bytes, once the slowest reader has given a slot back.
  Result<void> write(Bytes bytes, std::chrono::milliseconds timeout = forever) {
    return detail::call([&](park_error **err) {
      return park_channel_writer_write(handle_.get(), bytes.data(), bytes.size(), timeout.count(), err);
    });
  }

  // Writes a copy of a row-major tensor.
  template <class T>
  Result<void> write_tensor(const Shape &shape, Span<const T> elements, std::chrono::milliseconds timeout = forever,
                            park_view view = PARK_VIEW_NUMPY) {
    const park_tensor_spec spec = detail::spec_of<T>(shape, view);
    return detail::call([&](park_error **err) {
      return park_channel_writer_write_tensor(handle_.get(), &spec, elements.data(), elements.size() * sizeof(T),
                                              timeout.count(), err);
    });
  }

  // Lends the next slot for `size` bytes, to be written in place and published.
  Result<Span<std::byte>> begin(std::size_t size, std::chrono::milliseconds timeout = forever) {
    void *data = nullptr;
    auto done = detail::call([&](park_error **err) {
      return park_channel_writer_begin(handle_.get(), size, timeout.count(), &data, err);
    });
    return done ? Result<Span<std::byte>>(Span<std::byte>(static_cast<std::byte *>(data), size))
                : Result<Span<std::byte>>(done.error());
  }

  // Lends the next slot for a row-major tensor, whose elements are to be written in place and published.
  template <class T>
  Result<Span<T>> begin_tensor(const Shape &shape, std::chrono::milliseconds timeout = forever,
                               park_view view = PARK_VIEW_NUMPY) {
    const park_tensor_spec spec = detail::spec_of<T>(shape, view);
    void *data = nullptr;
    auto done = detail::call([&](park_error **err) {
      return park_channel_writer_begin_tensor(handle_.get(), &spec, timeout.count(), &data, err);
    });
    std::size_t size = 1;
    for (std::int64_t extent : shape) {
      size *= static_cast<std::size_t>(extent);
    }
    return done ? Result<Span<T>>(Span<T>(static_cast<T *>(data), size)) : Result<Span<T>>(done.error());
  }

  // Makes what was begun visible to every reader.
  Result<void> publish() {
    return detail::call([&](park_error **err) { return park_channel_writer_publish(handle_.get(), err); });
  }

  // No more messages. Afterwards everything else fails with PARK_HANDLE_CLOSED.
  Result<void> close() {
    return detail::call([&](park_error **err) { return park_channel_writer_close(handle_.get(), err); });
  }

private:
  detail::Handle<park_channel_writer, &park_channel_writer_free> handle_;
};

// A ring of slots in shared memory that one process writes and up to 64 read in place; an object of the store.
class Channel {
public:
  explicit Channel(park_channel *raw) : handle_(raw) {}

  // The channel that an object is, in any process of its session.
  static Result<Channel> open(const ObjectRef &ref) {
    return detail::make<Channel, park_channel>(
        [&](park_channel **out, park_error **err) { return park_channel_open(ref.raw(), out, err); });
  }

  // Claims the writer's end; PARK_ALREADY_EXISTS while another writer lives.
  Result<ChannelWriter> writer() const {
    return detail::make<ChannelWriter, park_channel_writer>(
        [&](park_channel_writer **out, park_error **err) { return park_channel_writer_open(handle_.get(), out, err); });
  }

  // Takes a seat among the readers; PARK_TABLE_FULL if all are taken.
  Result<ChannelReader> reader() const {
    return detail::make<ChannelReader, park_channel_reader>(
        [&](park_channel_reader **out, park_error **err) { return park_channel_reader_open(handle_.get(), out, err); });
  }

  // A reference to the channel's object, to pass to other processes.
  Result<ObjectRef> reference() const {
    return detail::make<ObjectRef, park_object_ref>(
        [&](park_object_ref **out, park_error **err) { return park_channel_reference(handle_.get(), out, err); });
  }

private:
  detail::Handle<park_channel, &park_channel_free> handle_;
};

} // namespace park

#endif
