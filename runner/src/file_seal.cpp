#include "file_seal.h"

#include "checksum.h"

namespace ptefoundry {

Result<FileSeal> make_seal(const FileHandle& file, const std::string& path) {
  ASSIGN_OR_RETURN(const FileStamp stamp, read_stamp(file, path));
  ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::map(file, path));
  return FileSeal{stamp, checksum(mapped.bytes())};
}

bool matches(const FileHandle& file, const std::string& path, FileSeal& seal) {
  const auto stamp = read_stamp(file, path);
  if (!stamp.ok() || stamp.value().size != seal.stamp.size) {
    return false;
  }
  if (stamp.value() == seal.stamp) {
    return true;
  }
  const auto now = make_seal(file, path);
  if (!now.ok() || now.value().checksum != seal.checksum) {
    return false;
  }
  seal = now.value();
  return true;
}

}  // namespace ptefoundry
