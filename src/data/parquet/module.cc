// Parquet rows as JSON, by Apache Arrow: the one file that includes it.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/parquet.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
namespace ar = arrow;

constexpr int64_t batch_rows = 64;

Json json_of(const ar::Array& array, int64_t i);

template <class A>
Json list_of(const ar::Array& array, int64_t i) {
  const auto& list = static_cast<const A&>(array);
  Json values = Json::array();
  for (int64_t k = 0; k < list.value_length(i); ++k)
    values.push_back(json_of(*list.values(), list.value_offset(i) + k));
  return values;
}

template <class A>
Json text_of(const ar::Array& array, int64_t i) {
  return std::string(static_cast<const A&>(array).GetView(i));
}

template <class A>
Json bytes_of(const ar::Array& array, int64_t i) {
  const std::string_view view = static_cast<const A&>(array).GetView(i);
  return Json::binary({view.begin(), view.end()});
}

Json object_of(const ar::StructArray& array, int64_t i) {
  Json object = Json::object();
  for (int f = 0; f < array.num_fields(); ++f)
    object[array.type()->field(f)->name()] = json_of(*array.field(f), i);
  return object;
}

Json json_of(const ar::Array& array, int64_t i) {
  if (array.IsNull(i)) return nullptr;
  switch (array.type_id()) {
    case ar::Type::BOOL:
      return static_cast<const ar::BooleanArray&>(array).Value(i);
    case ar::Type::INT32:
      return static_cast<const ar::Int32Array&>(array).Value(i);
    case ar::Type::INT64:
      return static_cast<const ar::Int64Array&>(array).Value(i);
    case ar::Type::STRING:
      return text_of<ar::StringArray>(array, i);
    case ar::Type::LARGE_STRING:
      return text_of<ar::LargeStringArray>(array, i);
    case ar::Type::BINARY:
      return bytes_of<ar::BinaryArray>(array, i);
    case ar::Type::LARGE_BINARY:
      return bytes_of<ar::LargeBinaryArray>(array, i);
    case ar::Type::LIST:
      return list_of<ar::ListArray>(array, i);
    case ar::Type::LARGE_LIST:
      return list_of<ar::LargeListArray>(array, i);
    case ar::Type::FIXED_SIZE_LIST:
      return list_of<ar::FixedSizeListArray>(array, i);
    case ar::Type::STRUCT:
      return object_of(static_cast<const ar::StructArray&>(array), i);
    case ar::Type::DICTIONARY: {
      const auto& words = static_cast<const ar::DictionaryArray&>(array);
      return json_of(*words.dictionary(), words.GetValueIndex(i));
    }
    default:  // numbers, dates: no field of ours; their words are for messages
      return array.GetScalar(i).ValueOrDie()->ToString();
  }
}

void add_leaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
  if (field.is_leaf()) leaves.push_back(field.column_index);
  for (const auto& child : field.children) add_leaves(child, leaves);
}

class ArrowRows : public ParquetRows {
 public:
  explicit ArrowRows(const Path& file) : file_(file.string()) {
    const auto opened = ar::io::ReadableFile::Open(file_);
    check(opened.status());
    parquet::arrow::FileReaderBuilder builder;
    check(builder.Open(*opened));
    parquet::ArrowReaderProperties properties(false);  // no threads of Arrow's own
    properties.set_batch_size(batch_rows);
    check(builder.properties(properties)->Build(&reader_));
  }

  uint64_t rows() const override {
    return uint64_t(reader_->parquet_reader()->metadata()->num_rows());
  }

  void scan(const std::function<bool(const Json&)>& take) override {
    const auto batches = reader_->GetRecordBatchReader();
    check(batches.status());
    for (std::shared_ptr<ar::RecordBatch> batch;;) {
      check((*batches)->ReadNext(&batch));
      if (!batch) return;
      check(batch->ValidateFull());
      for (int64_t i = 0; i < batch->num_rows(); ++i) {
        Json row = Json::object();
        for (int c = 0; c < batch->num_columns(); ++c)
          row[batch->column_name(c)] = json_of(*batch->column(c), i);
        if (!take(row)) return;
      }
    }
  }

  Json field(uint64_t row, const std::string& name) override {
    const auto metadata = reader_->parquet_reader()->metadata();
    int group = 0;
    for (; group < metadata->num_row_groups(); ++group) {
      const auto rows = uint64_t(metadata->RowGroup(group)->num_rows());
      if (row < rows) break;
      row -= rows;
    }
    if (group != kept_group_ || name != kept_name_) keep(group, name);
    const ar::ChunkedArray& column = *kept_->column(0);
    for (const auto& chunk : column.chunks()) {
      if (row < uint64_t(chunk->length())) return {{name, json_of(*chunk, int64_t(row))}};
      row -= uint64_t(chunk->length());
    }
    throw Error("data", file_, "the rows that were there before", "fewer");
  }

 private:
  void check(const ar::Status& status) const {
    if (!status.ok()) throw Error("data", file_, status.ToStringWithoutContextLines());
  }

  void keep(int group, const std::string& name) {
    kept_group_ = -1;
    std::vector<int> leaves;
    for (const auto& field : reader_->manifest().schema_fields)
      if (field.field->name() == name) add_leaves(field, leaves);
    const auto table = reader_->ReadRowGroup(group, leaves);
    check(table.status());
    kept_ = *table;
    check(kept_->ValidateFull());
    if (kept_->num_columns() != 1) throw Error("data", file_, "a field " + name, "none");
    kept_group_ = group;
    kept_name_ = name;
  }

  std::string file_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  int kept_group_ = -1;
  std::string kept_name_;
  std::shared_ptr<ar::Table> kept_;
};

// Arrow throws here and there; everybody else throws Error.
template <class F>
auto guarded(const std::string& file, const F& work) {
  try {
    return work();
  } catch (const parquet::ParquetException& error) {
    throw Error("data", file, error.what());
  }
}

// Every call into Arrow, guarded.
class Guarded : public ParquetRows {
 public:
  explicit Guarded(const Path& file)
      : file_(file.string()),
        rows_(guarded(file_, [&] { return std::make_unique<ArrowRows>(file); })) {}
  uint64_t rows() const override { return rows_->rows(); }
  void scan(const std::function<bool(const Json&)>& take) override {
    guarded(file_, [&] { rows_->scan(take); });
  }
  Json field(uint64_t row, const std::string& name) override {
    return guarded(file_, [&] { return rows_->field(row, name); });
  }

 private:
  std::string file_;
  std::unique_ptr<ArrowRows> rows_;
};

}  // namespace
}  // namespace revenant

extern "C" revenant::ParquetRows* revenant_open_parquet(const char* file) {
  return new revenant::Guarded(file);
}
