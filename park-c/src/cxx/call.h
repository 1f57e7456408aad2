// Typed access to the tensors of a call, over the byte slices of the bridge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "park-c/src/cxx/actor.h"
#include "park-c/src/cxx/bridge.rs.h"

namespace park {
namespace cxx {

// The park_dtype of a C++ type.
template <class T> struct dtype_of;
template <> struct dtype_of<std::int8_t> { static constexpr std::uint32_t value = 0x008; };
template <> struct dtype_of<std::int16_t> { static constexpr std::uint32_t value = 0x010; };
template <> struct dtype_of<std::int32_t> { static constexpr std::uint32_t value = 0x020; };
template <> struct dtype_of<std::int64_t> { static constexpr std::uint32_t value = 0x040; };
template <> struct dtype_of<std::uint8_t> { static constexpr std::uint32_t value = 0x108; };
template <> struct dtype_of<std::uint16_t> { static constexpr std::uint32_t value = 0x110; };
template <> struct dtype_of<std::uint32_t> { static constexpr std::uint32_t value = 0x120; };
template <> struct dtype_of<std::uint64_t> { static constexpr std::uint32_t value = 0x140; };
template <> struct dtype_of<float> { static constexpr std::uint32_t value = 0x220; };
template <> struct dtype_of<double> { static constexpr std::uint32_t value = 0x240; };
template <> struct dtype_of<bool> { static constexpr std::uint32_t value = 0x608; };

// The elements of a tensor argument, in place and in memory order. Throws if it is no tensor, or one of another type.
template <class T> rust::Slice<const T> tensor(const Call &call, std::size_t index) {
  if (call.tensor_info(index).dtype != dtype_of<T>::value) {
    throw std::invalid_argument("the tensor has another element type than the one asked for");
  }
  rust::Slice<const std::uint8_t> bytes = call.tensor_bytes(index);
  return rust::Slice<const T>(reinterpret_cast<const T *>(bytes.data()), bytes.size() / sizeof(T));
}

// A return is a tensor with a copy of these elements.
template <class T>
void put_tensor(Call &call, std::size_t index, const std::vector<std::uint64_t> &shape, const std::vector<T> &elements,
                bool torch = false) {
  rust::Slice<const std::uint64_t> extents(shape.data(), shape.size());
  rust::Slice<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t *>(elements.data()),
                                        elements.size() * sizeof(T));
  call.put_tensor(index, dtype_of<T>::value, extents, bytes, torch);
}

} // namespace cxx
} // namespace park
