// A zip archive of stored (uncompressed) entries, as torch.save writes it.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>

namespace revenant {

using ZipEntries = std::map<std::string, std::span<const std::byte>>;

bool is_zip(std::span<const std::byte> bytes);

// Checks the central directory against the local headers, the ranges against each other, and each
// entry's CRC; throws Error that names the entry. Compression, encryption and entries beyond 4 GB
// are errors.
ZipEntries read_zip(std::span<const std::byte> bytes, const std::string& subject);

// Entries in the order given, each one's data at a multiple of 64 bytes, as torch aligns them.
// `subject` is named in the Error if it does not fit.
std::string write_zip(std::span<const std::pair<std::string, std::string>> entries,
                      const std::string& subject);

}  // namespace revenant
