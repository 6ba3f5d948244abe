#include "native/packed.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "base/error.h"
#include "kernels/panels.h"

namespace revenant {

size_t Packed::bytes() const {
  const size_t n = size_t(rows), k = size_t(columns);
  return is_quantised(format) ? panels_bytes(format, n, k) : n * row_bytes(format, k);
}

WeightView Packed::view(size_t begin, size_t end) const {
  const size_t k = size_t(columns);
  if (is_quantised(format)) {
    CHECK(begin % panel_outputs == 0);
    return {format,      data + begin / panel_outputs * panel_sizes(format, k).panel,
            end - begin, k,
            false,       per_channel};
  }
  const size_t block = size_t(map.block), together = (begin / block + 1) * block;
  return {format, data + size_t(map(int64_t(begin))) * row_bytes(format, k),
          std::min(end, together) - begin, k, brain_inputs};
}

void Packed::unpack_row(int row, float* out) const {
  const size_t k = size_t(columns);
  if (is_quantised(format)) return unpack_panel_row(format, data, k, size_t(row), out);
  const auto* stored = static_cast<const std::byte*>(view(size_t(row), size_t(row) + 1).data);
  revenant::unpack_row(format, stored, {out, k});
}

Packed pack(Format format, int rows, int columns, Threads& threads,
            const std::function<const std::byte*(int, std::byte*)>& get) {
  const size_t k = size_t(columns), row_size = row_bytes(format, k);
  const size_t panel = panel_sizes(format, k).panel, bytes = panels_bytes(format, size_t(rows), k);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, bytes));
  if (!memory) throw std::bad_alloc();
  Packed packed{format, rows, columns, {0, rows, 0}, memory, {memory, std::free}, false};
  threads.parallel_for(bytes / panel, 1, [&](size_t begin, size_t end) {
    std::vector<std::byte> room(panel_outputs * row_size);
    const std::byte* lines[panel_outputs];
    for (size_t p = begin; p < end; ++p) {
      const size_t first = p * panel_outputs, count = std::min(panel_outputs, size_t(rows) - first);
      for (size_t i = 0; i < count; ++i) lines[i] = get(int(first + i), room.data() + i * row_size);
      pack_panel(format, lines, count, k, memory + p * panel);
    }
  });
  return packed;
}

Packed packed_floats(Format format, int rows, int columns, Threads& threads,
                     const std::function<void(int, float*)>& get) {
  if (!is_quantised(format)) {
    const size_t size = row_bytes(format, size_t(columns));
    auto owner = std::make_shared<std::vector<float>>((size * size_t(rows) + 3) / 4);
    auto* const memory = reinterpret_cast<std::byte*>(owner->data());
    threads.parallel_for(size_t(rows), 16, [&](size_t begin, size_t end) {
      std::vector<float> x(static_cast<size_t>(columns));
      for (size_t row = begin; row < end; ++row) {
        get(int(row), x.data());
        pack_row(format, x, memory + row * size);
      }
    });
    return {format, rows, columns, {0, rows, 0}, memory, owner, false};
  }
  return pack(format, rows, columns, threads, [&](int row, std::byte* room) {
    std::vector<float> x(static_cast<size_t>(columns));
    get(row, x.data());
    pack_row(format, x, room);
    return room;
  });
}

Packed packed_channels(int rows, int columns, Threads& threads,
                       const std::function<void(int, float*)>& get) {
  Packed packed = pack(Format::q8_0, rows, columns, threads, [&](int row, std::byte* room) {
    std::vector<float> x(static_cast<size_t>(columns));
    get(row, x.data());
    pack_channel(x, room);
    return room;
  });
  packed.per_channel = true;
  return packed;
}

}  // namespace revenant
