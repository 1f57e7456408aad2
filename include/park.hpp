// park for C++17: RAII over park.h, header only. Link with libpark.
//
// A call that can fail returns park::Result<T>: `if (result) use(*result); else report(result.error())`. No exception is thrown
// unless value() is called on a failure. What park.h calls shared, movable or pinned is so here; handles move and do not copy.
//
//   auto session = park::Session::attach(address).value();
//   auto object = session.resolve(id).value().get().value();
//   for (float x : object.tensor<float>().value().elements()) ...
#ifndef PARK_HPP
#define PARK_HPP

#include "park_values.hpp"

namespace park {

// --- objects ---------------------------------------------------------------------------------------------------------------------

// A tensor of T, read in place; valid while the object it came from is.
template <class T> class Tensor {
public:
  explicit Tensor(const park_tensor &raw) : raw_(raw) {}

  std::size_t ndim() const { return raw_.ndim; }
  Shape shape() const { return Shape(raw_.shape, raw_.shape + raw_.ndim); }
  // In elements.
  Shape strides() const { return Shape(raw_.strides, raw_.strides + raw_.ndim); }
  park_view view() const { return raw_.view; }
  // All elements, in memory order.
  Span<const T> elements() const { return Span<const T>(static_cast<const T *>(raw_.data), raw_.nbytes / sizeof(T)); }
  // One element, by one index a dimension.
  template <class... Index> const T &operator()(Index... index) const {
    const std::array<std::int64_t, sizeof...(Index)> at{static_cast<std::int64_t>(index)...};
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < at.size(); ++i) {
      offset += at[i] * raw_.strides[i];
    }
    return static_cast<const T *>(raw_.data)[offset];
  }

private:
  park_tensor raw_;
};

namespace detail {

// Has a function of park.h describe a tensor, which must be one of T.
template <class T, class F> Result<Tensor<T>> tensor_of(F &&function) {
  park_tensor raw{};
  raw.struct_size = sizeof raw;
  auto done = call([&](park_error **err) { return function(&raw, err); });
  if (!done) {
    return done.error();
  }
  if (raw.dtype != dtype_of<T>::value) {
    return Error(PARK_WRONG_FORMAT, "the tensor has dtype " + std::to_string(raw.dtype) + ", asked for " +
                                        std::to_string(dtype_of<T>::value));
  }
  return Tensor<T>(raw);
}

} // namespace detail
class ObjectRef;

// A look at a sealed object that somebody else keeps.
class ObjectView {
public:
  explicit ObjectView(const park_object *raw) : raw_(raw) {}

  Result<Bytes> bytes() const {
    const void *data = nullptr;
    std::size_t size = 0;
    auto done = detail::call([&](park_error **err) { return park_object_data(raw_, &data, &size, err); });
    return done ? Result<Bytes>(Bytes(static_cast<const std::byte *>(data), size)) : Result<Bytes>(done.error());
  }

  Result<park_format> format() const {
    park_format format = 0;
    auto done = detail::call([&](park_error **err) { return park_object_format(raw_, &format, err); });
    return done ? Result<park_format>(format) : Result<park_format>(done.error());
  }

  // The references that the object holds.
  inline Result<std::vector<ObjectRef>> nested() const;

  // The object as a tensor of T; PARK_WRONG_FORMAT if it is no tensor, or one of another type.
  template <class T> Result<Tensor<T>> tensor() const {
    return detail::tensor_of<T>([&](park_tensor *out, park_error **err) { return park_tensor_read(raw_, out, err); });
  }

  const park_object *raw() const { return raw_; }

private:
  const park_object *raw_;
};

// A sealed object, kept alive as long as this is.
class Object : public ObjectView {
public:
  explicit Object(park_object *raw) : ObjectView(raw), handle_(raw) {}

private:
  detail::Handle<park_object, &park_object_free> handle_;
};

// A counted reference to an object, made already or promised.
class ObjectRef {
public:
  explicit ObjectRef(park_object_ref *raw) : handle_(raw) {}

  Result<ObjectId> id() const {
    ObjectId id;
    auto done = detail::call([&](park_error **err) { return park_object_ref_id(raw(), &id.raw, err); });
    return done ? Result<ObjectId>(id) : Result<ObjectId>(done.error());
  }

  Result<bool> is_ready() const {
    bool ready = false;
    auto done = detail::call([&](park_error **err) { return park_object_ref_is_ready(raw(), &ready, err); });
    return done ? Result<bool>(ready) : Result<bool>(done.error());
  }

  Result<ObjectRef> clone() const {
    return detail::make<ObjectRef, park_object_ref>(
        [&](park_object_ref **out, park_error **err) { return park_object_ref_clone(raw(), out, err); });
  }

  // Waits for the object. What a failed task raised is the error.
  Result<Object> get(std::chrono::milliseconds timeout = forever) const {
    return detail::make<Object, park_object>(
        [&](park_object **out, park_error **err) { return park_object_get(raw(), timeout.count(), out, err); });
  }

  const park_object_ref *raw() const { return handle_.get(); }

private:
  detail::Handle<park_object_ref, &park_object_ref_free> handle_;
};

inline Result<std::vector<ObjectRef>> ObjectView::nested() const {
  std::size_t count = 0;
  auto done = detail::call([&](park_error **err) { return park_object_num_nested(raw_, &count, err); });
  if (!done) {
    return done.error();
  }
  std::vector<ObjectRef> refs;
  for (std::size_t i = 0; i < count; ++i) {
    auto ref = detail::make<ObjectRef, park_object_ref>(
        [&](park_object_ref **out, park_error **err) { return park_object_nested(raw_, i, out, err); });
    if (!ref) {
      return ref.error();
    }
    refs.push_back(std::move(*ref));
  }
  return refs;
}

// References as the arguments of a call: `{a, b}`, or a vector.
class Refs {
public:
  Refs() = default;
  Refs(std::initializer_list<std::reference_wrapper<const ObjectRef>> refs) {
    for (const ObjectRef &ref : refs) {
      raw_.push_back(ref.raw());
    }
  }
  Refs(const std::vector<ObjectRef> &refs) {
    for (const ObjectRef &ref : refs) {
      raw_.push_back(ref.raw());
    }
  }

  const park_object_ref *const *data() const { return raw_.data(); }
  std::size_t size() const { return raw_.size(); }

private:
  std::vector<const park_object_ref *> raw_;
};

// Waits until `need` of the objects are ready or time is up; says of each whether it is.
inline Result<std::vector<bool>> wait(const Refs &refs, std::size_t need, std::chrono::milliseconds timeout = forever) {
  std::unique_ptr<bool[]> ready(new bool[refs.size() + 1]());
  std::size_t count = 0;
  auto done = detail::call([&](park_error **err) {
    return park_object_wait(refs.data(), refs.size(), need, timeout.count(), ready.get(), &count, err);
  });
  return done ? Result<std::vector<bool>>(std::vector<bool>(ready.get(), ready.get() + refs.size()))
              : Result<std::vector<bool>>(done.error());
}

// Memory for one object that is being written. Given up unless it is sealed.
class MutableObject {
public:
  explicit MutableObject(park_mutable_object *raw) : handle_(raw) {}

  // The payload, or the elements of a tensor, as values of T to be written.
  template <class T = std::byte> Result<Span<T>> elements() {
    void *data = nullptr;
    std::size_t size = 0;
    auto done = detail::call([&](park_error **err) { return park_mutable_object_data(handle_.get(), &data, &size, err); });
    return done ? Result<Span<T>>(Span<T>(static_cast<T *>(data), size / sizeof(T))) : Result<Span<T>>(done.error());
  }

  Result<void> write(std::size_t offset, Bytes bytes) {
    return detail::call([&](park_error **err) {
      return park_mutable_object_write(handle_.get(), offset, bytes.data(), bytes.size(), err);
    });
  }

  // Makes the object immutable and visible to every process. Afterwards everything else fails with PARK_HANDLE_CLOSED.
  Result<ObjectRef> seal() {
    return detail::make<ObjectRef, park_object_ref>(
        [&](park_object_ref **out, park_error **err) { return park_mutable_object_seal(handle_.get(), out, err); });
  }

  Result<void> abort() {
    return detail::call([&](park_error **err) { return park_mutable_object_abort(handle_.get(), err); });
  }

  park_mutable_object *raw() const { return handle_.get(); }

private:
  detail::Handle<park_mutable_object, &park_mutable_object_free> handle_;
};

namespace detail {

inline park_object_spec spec_of(std::size_t size, park_format format, const Refs &nested) {
  park_object_spec spec{};
  spec.struct_size = sizeof spec;
  spec.len = size;
  spec.nested = nested.data();
  spec.num_nested = nested.size();
  spec.format = format;
  return spec;
}

template <class T> park_tensor_spec spec_of(const Shape &shape, park_view view) {
  park_tensor_spec spec{};
  spec.struct_size = sizeof spec;
  spec.dtype = dtype_of<T>::value;
  spec.view = view;
  spec.ndim = shape.size();
  spec.shape = shape.data();
  return spec;
}

} // namespace detail

// --- channels --------------------------------------------------------------------------------------------------------------------

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

// An object that is promised now and made later. Given up when destroyed, unless it was kept: its readers get PARK_OBJECT_LOST.
class Promise {
public:
  explicit Promise(park_promise *raw) : handle_(raw) {}

  Result<void> put(Bytes bytes) const {
    return detail::call([&](park_error **err) { return park_promise_put(raw(), bytes.data(), bytes.size(), err); });
  }

  Result<MutableObject> create(std::size_t size, park_format format = PARK_FORMAT_RAW, const Refs &nested = {}) const {
    const park_object_spec spec = detail::spec_of(size, format, nested);
    return detail::make<MutableObject, park_mutable_object>(
        [&](park_mutable_object **out, park_error **err) { return park_promise_create(raw(), &spec, out, err); });
  }

  template <class T> Result<MutableObject> create_tensor(const Shape &shape, park_view view = PARK_VIEW_NUMPY) const {
    const park_tensor_spec spec = detail::spec_of<T>(shape, view);
    return detail::make<MutableObject, park_mutable_object>(
        [&](park_mutable_object **out, park_error **err) { return park_promise_create_tensor(raw(), &spec, out, err); });
  }

  // Whoever reads the object gets this error.
  Result<void> fail(park_status status, const std::string &message) const {
    park_error *reason = park_error_new(status, message.c_str());
    auto done = detail::call([&](park_error **err) { return park_promise_fail(raw(), reason, err); });
    park_error_free(reason);
    return done;
  }

  const park_promise *raw() const { return handle_.get(); }

private:
  detail::Handle<park_promise, &park_promise_free> handle_;
};

// --- tasks and actors ------------------------------------------------------------------------------------------------------------

// What a task or an actor sees of one call: valid until it returns, on its thread.
class Call {
public:
  explicit Call(park_task_call *raw) : raw_(raw) {}

  std::size_t num_args() const {
    std::size_t count = 0;
    park_task_call_num_args(raw_, &count, nullptr);
    return count;
  }

  std::size_t num_returns() const {
    std::size_t count = 0;
    park_task_call_num_returns(raw_, &count, nullptr);
    return count;
  }

  Result<ObjectView> arg(std::size_t index) const {
    return detail::make<ObjectView, const park_object>(
        [&](const park_object **out, park_error **err) { return park_task_call_arg(raw_, index, out, err); });
  }

  Result<void> put(std::size_t index, Bytes bytes) {
    return detail::call(
        [&](park_error **err) { return park_task_call_put(raw_, index, bytes.data(), bytes.size(), err); });
  }

  Result<MutableObject> create(std::size_t index, std::size_t size) {
    return detail::make<MutableObject, park_mutable_object>([&](park_mutable_object **out, park_error **err) {
      return park_task_call_create(raw_, index, size, out, err);
    });
  }

  // Room for a return of another format, or one that holds references.
  Result<MutableObject> create(std::size_t index, std::size_t size, park_format format, const Refs &nested = {}) {
    const park_object_spec spec = detail::spec_of(size, format, nested);
    return detail::make<MutableObject, park_mutable_object>([&](park_mutable_object **out, park_error **err) {
      return park_task_call_create_with(raw_, index, &spec, out, err);
    });
  }

  // One return raises an error in whoever reads it; the others are not touched.
  Result<void> fail(std::size_t index, park_status status, const std::string &message) {
    park_error *reason = park_error_new(status, message.c_str());
    auto done = detail::call([&](park_error **err) { return park_task_call_fail(raw_, index, reason, err); });
    park_error_free(reason);
    return done;
  }

  template <class T>
  Result<MutableObject> create_tensor(std::size_t index, const Shape &shape, park_view view = PARK_VIEW_NUMPY) {
    const park_tensor_spec spec = detail::spec_of<T>(shape, view);
    return detail::make<MutableObject, park_mutable_object>([&](park_mutable_object **out, park_error **err) {
      return park_task_call_create_tensor(raw_, index, &spec, out, err);
    });
  }

private:
  park_task_call *raw_;
};

namespace detail {

// Runs a user's function, whatever leaves it, and reports it the way of park.h.
template <class F> park_status run(F &&function, park_error **err) noexcept {
  auto report = [&](park_status status, const char *message) {
    *err = park_error_new(status, message);
    return status;
  };
#if defined(__cpp_exceptions)
  try {
#endif
    Result<void> done = function();
    return done ? PARK_OK : report(done.error().status(), done.error().message().c_str());
#if defined(__cpp_exceptions)
  } catch (const Exception &e) {
    return report(e.error().status(), e.error().message().c_str());
  } catch (const std::exception &e) {
    return report(PARK_TASK_FAILED, e.what());
  } catch (...) {
    return report(PARK_TASK_FAILED, "an exception that is not a std::exception");
  }
#endif
}

template <class F> void destroy(void *function) { delete static_cast<F *>(function); }

inline Result<std::vector<ObjectRef>> wrap(Result<void> done, std::vector<park_object_ref *> raw) {
  if (!done) {
    return done.error();
  }
  std::vector<ObjectRef> refs;
  refs.reserve(raw.size());
  for (park_object_ref *ref : raw) {
    refs.emplace_back(ref);
  }
  return refs;
}

} // namespace detail

// A caller of an actor; see park_actor. The actor ends with its last caller.
class Actor {
public:
  explicit Actor(park_actor *raw) : handle_(raw) {}

  Result<std::vector<ObjectRef>> call(const std::string &method, const Refs &args = {}, std::size_t num_returns = 1) const {
    std::vector<park_object_ref *> returns(num_returns);
    auto done = detail::call([&](park_error **err) {
      return park_actor_call(handle_.get(), method.c_str(), args.data(), args.size(), num_returns, returns.data(), err);
    });
    return detail::wrap(std::move(done), std::move(returns));
  }

  // A caller of its own, with its own order.
  Result<Actor> clone() const {
    return detail::make<Actor, park_actor>(
        [&](park_actor **out, park_error **err) { return park_actor_clone(handle_.get(), out, err); });
  }

private:
  detail::Handle<park_actor, &park_actor_free> handle_;
};

// --- the session -----------------------------------------------------------------------------------------------------------------

// How to open a session; 0 is the default of each.
struct Options {
  std::uint64_t capacity = 0;
  std::chrono::milliseconds full_timeout{0};
  std::uint32_t max_objects = 0;
  std::uint32_t native_threads = 0;
  // Take the memory of the whole capacity at once; fill in the page tables too; ask for huge pages.
  bool reserve = false, prefault = false, huge_pages = false;
  // Objects that do not fit into memory go below `spill_directory`, at most `spill_limit` bytes of them, unless `spill` is false.
  bool spill = true;
  std::string spill_directory;
  std::uint64_t spill_limit = 0;
};

// A process's membership in a session. Closes it when destroyed.
class Session {
public:
  explicit Session(park_session *raw) : handle_(raw) {}

  static Result<Session> open(const Options &options = {}) {
    park_session_options raw{};
    raw.struct_size = sizeof raw;
    raw.capacity = options.capacity;
    raw.full_timeout_ms = static_cast<std::uint64_t>(options.full_timeout.count());
    raw.max_objects = options.max_objects;
    raw.native_threads = options.native_threads;
    raw.reserve = options.reserve ? 1 : 0;
    raw.prefault = options.prefault ? 1 : 0;
    raw.huge_pages = options.huge_pages ? 1 : 0;
    raw.no_spill = options.spill ? 0 : 1;
    raw.spill_directory = options.spill_directory.empty() ? nullptr : options.spill_directory.c_str();
    raw.spill_limit = options.spill_limit;
    return detail::make<Session, park_session>(
        [&](park_session **out, park_error **err) { return park_session_open(&raw, out, err); });
  }

  // `address` is what address() gives, or Python's park.init().address_info["session"].
  static Result<Session> attach(const std::string &address) {
    return detail::make<Session, park_session>(
        [&](park_session **out, park_error **err) { return park_session_attach(address.c_str(), out, err); });
  }

  // Joins to look only: whatever would make an object or run a task is PARK_PERMISSION_DENIED.
  static Result<Session> attach_read_only(const std::string &address) {
    return detail::make<Session, park_session>(
        [&](park_session **out, park_error **err) { return park_session_attach_read_only(address.c_str(), out, err); });
  }

  Result<park_session_info> info() const {
    park_session_info info{};
    info.struct_size = sizeof info;
    auto done = detail::call([&](park_error **err) { return park_session_read_info(raw(), &info, err); });
    return done ? Result<park_session_info>(info) : Result<park_session_info>(done.error());
  }

  std::string address() const {
    const char *text = "";
    park_session_address(raw(), &text, nullptr);
    return text;
  }

  Result<park_session_stats> stats() const {
    park_session_stats stats{};
    stats.struct_size = sizeof stats;
    auto done = detail::call([&](park_error **err) { return park_session_read_stats(raw(), &stats, err); });
    return done ? Result<park_session_stats>(stats) : Result<park_session_stats>(done.error());
  }

  // Gives the memory of free parts of the store back to the system; how many bytes that were.
  Result<std::uint64_t> trim() const {
    std::uint64_t bytes = 0;
    auto done = detail::call([&](park_error **err) { return park_session_trim(raw(), &bytes, err); });
    return done ? Result<std::uint64_t>(bytes) : Result<std::uint64_t>(done.error());
  }

  Result<ObjectRef> put(Bytes bytes) const {
    return detail::make<ObjectRef, park_object_ref>([&](park_object_ref **out, park_error **err) {
      return park_object_put(raw(), bytes.data(), bytes.size(), out, err);
    });
  }

  // A copy of a row-major tensor.
  template <class T>
  Result<ObjectRef> put_tensor(const Shape &shape, Span<const T> elements, park_view view = PARK_VIEW_NUMPY) const {
    const park_tensor_spec spec = detail::spec_of<T>(shape, view);
    return detail::make<ObjectRef, park_object_ref>([&](park_object_ref **out, park_error **err) {
      return park_tensor_put(raw(), &spec, elements.data(), elements.size() * sizeof(T), out, err);
    });
  }

  // Room for `size` bytes, to be written in place and sealed.
  Result<MutableObject> create(std::size_t size) const {
    return detail::make<MutableObject, park_mutable_object>(
        [&](park_mutable_object **out, park_error **err) { return park_object_create(raw(), size, out, err); });
  }

  // Room for an object of another format, or one that holds references: those live as long as it does.
  Result<MutableObject> create(std::size_t size, park_format format, const Refs &nested = {}) const {
    const park_object_spec spec = detail::spec_of(size, format, nested);
    return detail::make<MutableObject, park_mutable_object>(
        [&](park_mutable_object **out, park_error **err) { return park_object_create_with(raw(), &spec, out, err); });
  }

  // An object to be made later: a reference for its readers, and the promise for its maker.
  Result<std::pair<ObjectRef, Promise>> promise() const {
    park_object_ref *ref = nullptr;
    auto promise = detail::make<Promise, park_promise>(
        [&](park_promise **out, park_error **err) { return park_promise_make(raw(), out, &ref, err); });
    if (!promise) {
      return promise.error();
    }
    return std::pair<ObjectRef, Promise>(ObjectRef(ref), std::move(*promise));
  }

  // Room for a row-major tensor, to be written in place and sealed.
  template <class T> Result<MutableObject> create_tensor(const Shape &shape, park_view view = PARK_VIEW_NUMPY) const {
    const park_tensor_spec spec = detail::spec_of<T>(shape, view);
    return detail::make<MutableObject, park_mutable_object>(
        [&](park_mutable_object **out, park_error **err) { return park_tensor_create(raw(), &spec, out, err); });
  }

  // A channel in the session's store, whose memory it takes at once.
  Result<Channel> create_channel(const ChannelOptions &options) const {
    park_channel_options raw_options{};
    raw_options.struct_size = sizeof raw_options;
    raw_options.slots = options.slots;
    raw_options.slot_bytes = options.slot_bytes;
    raw_options.readers = options.readers;
    return detail::make<Channel, park_channel>(
        [&](park_channel **out, park_error **err) { return park_channel_create(raw(), &raw_options, out, err); });
  }

  // A reference by id, as long as something keeps the object alive.
  Result<ObjectRef> resolve(const ObjectId &id) const {
    return detail::make<ObjectRef, park_object_ref>(
        [&](park_object_ref **out, park_error **err) { return park_object_ref_resolve(raw(), &id.raw, out, err); });
  }

  Result<bool> contains(const ObjectId &id) const {
    bool found = false;
    auto done = detail::call([&](park_error **err) { return park_object_contains(raw(), &id.raw, &found, err); });
    return done ? Result<bool>(found) : Result<bool>(done.error());
  }

  // Gives a function a name: `Result<void>(park::Call &)`, called by several threads at a time. An exception fails the call.
  template <class F> Result<void> register_task(const std::string &name, F function) const {
    static_assert(std::is_invocable_r_v<Result<void>, F &, Call &>, "a task is called as Result<void>(park::Call &)");
    auto run = [](park_task_call *call, void *data, park_error **err) {
      return detail::run([&] { Call lent(call); return (*static_cast<F *>(data))(lent); }, err);
    };
    F *data = new F(std::move(function));
    return detail::call([&](park_error **err) {
      return park_task_register(raw(), name.c_str(), run, data, detail::destroy<F>, err);
    });
  }

  // Calls a task by name, once its arguments are there.
  Result<std::vector<ObjectRef>> submit(const std::string &name, const Refs &args = {}, std::size_t num_returns = 1) const {
    std::vector<park_object_ref *> returns(num_returns);
    auto done = detail::call([&](park_error **err) {
      return park_task_submit(raw(), name.c_str(), args.data(), args.size(), num_returns, returns.data(), err);
    });
    return detail::wrap(std::move(done), std::move(returns));
  }

  // Starts an actor: `Result<void>(std::string_view method, park::Call &)`, with state, called by one thread of its own.
  template <class F> Result<Actor> spawn(const std::string &name, F function) const {
    static_assert(std::is_invocable_r_v<Result<void>, F &, std::string_view, Call &>,
                  "an actor is called as Result<void>(std::string_view method, park::Call &)");
    auto run = [](park_task_call *call, const char *method, void *data, park_error **err) {
      return detail::run([&] { Call lent(call); return (*static_cast<F *>(data))(std::string_view(method), lent); }, err);
    };
    F *data = new F(std::move(function));
    return detail::make<Actor, park_actor>([&](park_actor **out, park_error **err) {
      return park_actor_spawn(raw(), name.c_str(), run, data, detail::destroy<F>, out, err);
    });
  }

  // Closes the session before this is destroyed. Objects that are held stay readable.
  Result<void> close() {
    return detail::call([&](park_error **err) { return park_session_close(handle_.get(), err); });
  }

  const park_session *raw() const { return handle_.get(); }

private:
  detail::Handle<park_session, &park_session_free> handle_;
};

} // namespace park

#endif // PARK_HPP
