// The part of park.hpp about objects: references, views, tensors, objects being written, promises. Included by park.hpp; header only.
#ifndef PARK_OBJECTS_HPP
#define PARK_OBJECTS_HPP

#include "park_values.hpp"

namespace park {

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

} // namespace park

#endif
