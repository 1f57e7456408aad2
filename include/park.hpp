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

#include "park_channel.hpp"
#include "park_kv.hpp"
#include "park_objects.hpp"
#include "park_values.hpp"

namespace park {

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
