// What the rest of park.hpp is made of: results, handles, spans, dtypes and object ids. Included by park.hpp; header only.
#ifndef PARK_VALUES_HPP
#define PARK_VALUES_HPP

#include <array>
#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "park.h"

#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

namespace park {

// Pass as a timeout to wait for as long as it takes. A timeout of 0 only looks.
inline constexpr std::chrono::milliseconds forever{-1};

// --- errors ----------------------------------------------------------------------------------------------------------------------

// What went wrong: one of park.h's PARK_... numbers, and a text.
class Error {
public:
  Error(park_status status, std::string message) : status_(status), message_(std::move(message)) {}

  // Takes over an error that a function of park.h made.
  static Error take(park_status status, park_error *raw) {
    Error error(status, park_error_message(raw));
    const void *data = nullptr;
    std::size_t size = 0;
    if (park_error_detail(raw, &data, &size, nullptr) == PARK_OK && size != 0) {
      error.detail_.assign(static_cast<const char *>(data), size);
    }
    park_error_free(raw);
    return error;
  }

  park_status status() const { return status_; }
  const char *name() const { return park_status_name(status_); }
  const std::string &message() const { return message_; }
  // Bytes that only one language understands, such as a pickled exception; empty if there are none.
  const std::string &detail() const { return detail_; }
  // Whether the same call can succeed later without a change by the caller.
  bool is_retryable() const { return park_status_is_retryable(status_); }
  std::string text() const { return std::string(name()) + ": " + message_; }

private:
  park_status status_;
  std::string message_;
  std::string detail_;
};

#if defined(__cpp_exceptions)
// What value() throws.
class Exception : public std::runtime_error {
public:
  explicit Exception(Error error) : std::runtime_error(error.text()), error_(std::move(error)) {}
  const Error &error() const { return error_; }

private:
  Error error_;
};
#endif

namespace detail {

[[noreturn]] inline void fail(const Error &error) {
#if defined(__cpp_exceptions)
  throw Exception(error);
#else
  std::fprintf(stderr, "park: value() of a failed result: %s\n", error.text().c_str());
  std::abort();
#endif
}

} // namespace detail

// A value, or the error that there is instead of it.
template <class T> class [[nodiscard]] Result {
public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  // The value; throws park::Exception, or aborts where exceptions are off, if there is none.
  T &value() & { return *this ? std::get<0>(state_) : (detail::fail(error()), std::get<0>(state_)); }
  T value() && { return *this ? std::get<0>(std::move(state_)) : (detail::fail(error()), std::get<0>(std::move(state_))); }
  // The value, which must be there.
  T &operator*() & { return *std::get_if<0>(&state_); }
  T operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T *operator->() { return std::get_if<0>(&state_); }
  // The error, which must be there.
  const Error &error() const { return *std::get_if<1>(&state_); }

private:
  std::variant<T, Error> state_;
};

// Success, or an error.
template <> class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_; }
  void value() const {
    if (error_) {
      detail::fail(*error_);
    }
  }
  const Error &error() const { return *error_; }

private:
  std::optional<Error> error_;
};

namespace detail {

template <auto Free> struct Deleter {
  template <class T> void operator()(T *handle) const { Free(handle); }
};
template <class T, auto Free> using Handle = std::unique_ptr<T, Deleter<Free>>;

// Calls a function of park.h with a place for its error.
template <class F> Result<void> call(F &&function) {
  park_error *err = nullptr;
  park_status status = function(&err);
  return status == PARK_OK ? Result<void>() : Result<void>(Error::take(status, err));
}

// Calls a function of park.h that makes a handle, and wraps it.
template <class Wrapper, class Raw, class F> Result<Wrapper> make(F &&function) {
  Raw *raw = nullptr;
  auto done = call([&](park_error **err) { return function(&raw, err); });
  return done ? Result<Wrapper>(Wrapper(raw)) : Result<Wrapper>(done.error());
}

} // namespace detail

// --- values ----------------------------------------------------------------------------------------------------------------------

// Elements that lie in a row, owned by somebody else.
template <class T> class Span {
public:
  Span() = default;
  Span(T *data, std::size_t size) : data_(data), size_(size) {}
  // All of a vector, an array, or whatever else has its elements in a row and outlives this.
  template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
  Span(C &elements) : data_(elements.data()), size_(elements.size()) {}

  T *data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T *begin() const { return data_; }
  T *end() const { return data_ + size_; }
  T &operator[](std::size_t index) const { return data_[index]; }

private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

using Bytes = Span<const std::byte>;

// The bytes of a text.
inline Bytes bytes_of(std::string_view text) { return Bytes(reinterpret_cast<const std::byte *>(text.data()), text.size()); }

// The bytes of a vector of plain values.
template <class T> Bytes bytes_of(const std::vector<T> &values) {
  static_assert(std::is_trivially_copyable_v<T>, "only plain values have bytes that mean something in another process");
  return Bytes(reinterpret_cast<const std::byte *>(values.data()), values.size() * sizeof(T));
}

// The park_dtype of a C++ type.
template <class T> struct dtype_of;
template <> struct dtype_of<std::int8_t> { static constexpr park_dtype value = PARK_INT8; };
template <> struct dtype_of<std::int16_t> { static constexpr park_dtype value = PARK_INT16; };
template <> struct dtype_of<std::int32_t> { static constexpr park_dtype value = PARK_INT32; };
template <> struct dtype_of<std::int64_t> { static constexpr park_dtype value = PARK_INT64; };
template <> struct dtype_of<std::uint8_t> { static constexpr park_dtype value = PARK_UINT8; };
template <> struct dtype_of<std::uint16_t> { static constexpr park_dtype value = PARK_UINT16; };
template <> struct dtype_of<std::uint32_t> { static constexpr park_dtype value = PARK_UINT32; };
template <> struct dtype_of<std::uint64_t> { static constexpr park_dtype value = PARK_UINT64; };
template <> struct dtype_of<float> { static constexpr park_dtype value = PARK_FLOAT32; };
template <> struct dtype_of<double> { static constexpr park_dtype value = PARK_FLOAT64; };
template <> struct dtype_of<std::complex<float>> { static constexpr park_dtype value = PARK_COMPLEX64; };
template <> struct dtype_of<std::complex<double>> { static constexpr park_dtype value = PARK_COMPLEX128; };
template <> struct dtype_of<bool> { static constexpr park_dtype value = PARK_BOOL; };

// An element type that C++17 has no name for: its bits, to be converted by whoever knows how.
template <park_dtype Type, class Bits> struct Narrow {
  Bits bits;
  friend bool operator==(Narrow a, Narrow b) noexcept { return a.bits == b.bits; }
  friend bool operator!=(Narrow a, Narrow b) noexcept { return a.bits != b.bits; }
};
template <park_dtype Type, class Bits> struct dtype_of<Narrow<Type, Bits>> { static constexpr park_dtype value = Type; };
using Float16 = Narrow<PARK_FLOAT16, std::uint16_t>;
using BFloat16 = Narrow<PARK_BFLOAT16, std::uint16_t>;
using Float8E3M4 = Narrow<PARK_FLOAT8_E3M4, std::uint8_t>;
using Float8E4M3 = Narrow<PARK_FLOAT8_E4M3, std::uint8_t>;
using Float8E4M3B11FNUZ = Narrow<PARK_FLOAT8_E4M3B11FNUZ, std::uint8_t>;
using Float8E4M3FN = Narrow<PARK_FLOAT8_E4M3FN, std::uint8_t>;
using Float8E4M3FNUZ = Narrow<PARK_FLOAT8_E4M3FNUZ, std::uint8_t>;
using Float8E5M2 = Narrow<PARK_FLOAT8_E5M2, std::uint8_t>;
using Float8E5M2FNUZ = Narrow<PARK_FLOAT8_E5M2FNUZ, std::uint8_t>;
using Float8E8M0FNU = Narrow<PARK_FLOAT8_E8M0FNU, std::uint8_t>;

using Shape = std::vector<std::int64_t>;

// The name of an object: keeps nothing alive.
struct ObjectId {
  park_object_id raw{};

  // 32 hexadecimal digits.
  std::string hex() const {
    char text[PARK_OBJECT_ID_TEXT] = {};
    park_object_id_format(&raw, text, nullptr);
    return text;
  }

  static Result<ObjectId> parse(const std::string &hex) {
    ObjectId id;
    auto done = detail::call([&](park_error **err) { return park_object_id_parse(hex.c_str(), &id.raw, err); });
    return done ? Result<ObjectId>(id) : Result<ObjectId>(done.error());
  }

  friend bool operator==(const ObjectId &a, const ObjectId &b) { return std::memcmp(&a.raw, &b.raw, sizeof a.raw) == 0; }
  friend bool operator!=(const ObjectId &a, const ObjectId &b) { return !(a == b); }
  friend bool operator<(const ObjectId &a, const ObjectId &b) { return std::memcmp(&a.raw, &b.raw, sizeof a.raw) < 0; }
};

} // namespace park

#endif // PARK_VALUES_HPP
