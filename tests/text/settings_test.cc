// Every setting of tokenizer.json that changes ids: what Hugging Face's library makes of a small
// file with one change. docs/tokenizers.md has the settings as a table.
#include "small_tokenizers.h"

namespace revenant {
namespace {

using small::Ids;
using small::Json;

// Parts of the small file in another form; of "model" a merge patch (RFC 7386). "QWEN2" stands for
// the word pattern.
struct Case {
  const char *patch, *text;
  Ids ids;
};

const Case sentencepiece_cases[] = {
    {R"({"model": {"fuse_unk": true, "byte_fallback": false}})", "axyb", {260, 0, 261}},
    {R"({"model": {"fuse_unk": false, "byte_fallback": false}})", "axyb", {260, 0, 0, 261}},
    {R"({"model": {"fuse_unk": true, "byte_fallback": false}})", "xyaxy", {0, 260, 0}},
    {R"({"model": {"byte_fallback": false}})", "\u20ac", {0}},
    {R"({"model": {"byte_fallback": true, "fuse_unk": true}})", "\u20acx", {229, 133, 175, 123}},
    {R"({"model": {"dropout": 0.0}})", "abc", {264}},
    {R"({"model": {"dropout": 0}})", "abc", {264}},
    {R"({"model": {"continuing_subword_prefix": "", "end_of_word_suffix": ""}})", "abc", {264}},
    {R"({"model": {"merges": [["a", "b"], ["ab", "c"]]}})", "abc", {264}},
    {R"({"model": {"merges": ["ab c", "a b"]}})", "abcab", {264, 263}},
    {R"({"model": {"vocab": {"bc": 269}, "merges": ["a b", "b c", "a b"]}})", "abc", {260, 269}},
    {R"({"model": {"vocab": {"bc": 269, "abcb": 270}, "merges": ["b c", "a b"]}})",
     "abcbc",
     {260, 269, 269}},
    {R"({"model": {"vocab": {"aa": 269, "aaa": 270}, "merges": ["a a"]}})",
     "aaaaa",
     {269, 269, 260}},
    {R"({"model": {"vocab": {"aa": 269, "aaaa": 270}, "merges": ["a a", "aa aa"]}})",
     "aaaaaaa",
     {270, 269, 260}},
    {R"({"model": {"vocab": {"ba": 269, "aba": 270}, "merges": ["a b", "b a", "a ba"]}})",
     "ababa",
     {263, 263, 260}},
    {R"({"model": {"vocab": {"cab": 269}, "ignore_merges": true}})", "cab", {269}},
    {R"({"model": {"vocab": {"cab": 269}, "ignore_merges": false}})", "cab", {262, 263}},
    {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}]}, {"type": "Sequence", "normalizers": []}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}})",
     "a b",
     {259, 260, 259, 261}},
    {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}})",
     " a<s>b</s>",
     {259, 259, 260, 1, 259, 261, 2}},
    {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "bc"}, "content": "a"}, {"type": "Replace", "pattern": {"String": "aa"}, "content": "c"}]}})",
     "abcbcb",
     {262, 263}},
    {R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "split": false, "prepend_scheme": "first"}})",
     "a<s>a b",
     {259, 260, 1, 260, 259, 261}},
    {R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "split": false, "prepend_scheme": "always"}})",
     "a<s>a b",
     {259, 260, 1, 259, 260, 259, 261}},
    {R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "split": false, "prepend_scheme": "never"}})",
     "a<s> a",
     {260, 1, 259, 260}},
    {R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "split": false, "prepend_scheme": "first"}})",
     " a",
     {259, 260}},
    {R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "split": false, "prepend_scheme": "first"}})",
     "<s>a",
     {1, 260}},
    {R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "split": false, "add_prefix_space": true, "str_rep": "\u2581"}})",
     "a",
     {259, 260}},
    {R"({"truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}, "padding": null})",
     "abab",
     {263, 263}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false}]})",
     "a \t[T] \n b",
     {260, 259, 12, 269, 259, 13, 259, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "lstrip": true}]})",
     "a \t[T] \n b",
     {260, 269, 259, 13, 259, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "rstrip": true}]})",
     "a \t[T] \n b",
     {260, 259, 12, 269, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "lstrip": true, "rstrip": true}]})",
     " [T] [T] ",
     {269, 269}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "lstrip": true, "rstrip": true}]})",
     "a\u3000[T]\u00a0\u2028b",
     {260, 269, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "rstrip": true}]})",
     "[T]\u200ba",
     {269, 229, 131, 142, 260}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "single_word": true}]})",
     "a [T] b",
     {260, 259, 269, 259, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "single_word": true}]})",
     "a[T] [T]_ \u732b[T] 1[T] [T]",
     {260, 94, 87, 96, 259, 94, 87, 96, 98, 259, 234, 143,
      174, 94, 87, 96, 259, 52, 94, 87, 96, 259, 269}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "single_word": true}]})",
     "-[T].[T]",
     {48, 269, 49, 269}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "single_word": true}]})",
     "\u0301[T] [T]\u0301 \u00b2[T] \u200d[T]",
     {207, 132, 94,  87,  96,  259, 94,  87,  96, 207, 132,
      259, 197, 181, 269, 259, 229, 131, 144, 94, 87,  96}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false, "single_word": true, "lstrip": true}]})",
     "a [T]b [T]",
     {260, 259, 94, 87, 96, 261, 269}},
    {R"({"added_tokens": [{"id": 269, "content": "[T]", "normalized": false}, {"id": 270, "content": "[T][T]", "normalized": false}, {"id": 271, "content": "[", "normalized": false}]})",
     "[T][T][T][[",
     {270, 269, 271, 271}},
    {R"({"added_tokens": [{"id": 263, "content": "ab", "normalized": false}, {"id": 269, "content": "abca", "normalized": false}]})",
     "abcabcb",
     {269, 261, 262, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "[ T]", "normalized": true}]})",
     "a[ T]b[\u2581T]",
     {260, 269, 261, 269}},
    {R"({"added_tokens": [{"id": 269, "content": "[ T]", "normalized": false}]})",
     "a[ T]b[\u2581T]",
     {260, 269, 261, 94, 259, 87, 96}},
    {R"({"added_tokens": [{"id": 261, "content": "b", "normalized": true}, {"id": 269, "content": "[b]", "normalized": false}]})",
     "ab[b]b",
     {260, 261, 269, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "a b", "normalized": true}]})",
     "a ba\u2581b",
     {269, 269}},
    {R"({"added_tokens": [{"id": 269, "content": " ", "normalized": false}]})",
     "a  b",
     {260, 269, 269, 261}},
    {R"({"added_tokens": [{"id": 269, "content": "\n", "normalized": false, "rstrip": true}]})",
     "a\n\n\nb",
     {260, 269, 269, 269, 261}},
};

const Case byte_level_cases[] = {
    {R"({})", "ab abc", {256, 32, 256, 99}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "QWEN2"}, "behavior": "Removed", "invert": true}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}})",
     "ab 12\n",
     {256, 32, 49, 50, 10}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "QWEN2"}, "behavior": "MergedWithPrevious", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}})",
     "ab abc 12",
     {256, 32, 256, 99, 32, 49, 50}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "QWEN2"}, "behavior": "MergedWithNext", "invert": true}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}})",
     "ab abc 12",
     {256, 32, 256, 99, 32, 49, 50}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "QWEN2"}, "behavior": "Isolated", "invert": true}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}})",
     "ab abc 12",
     {256, 32, 256, 99, 32, 49, 50}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]}})",
     "ab",
     {32, 256}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]}})",
     " ab",
     {32, 256}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]}})",
     "\nab",
     {32, 10, 256}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]}})",
     "\u00a0ab",
     {32, 194, 160, 256}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false}]}})",
     "ab ab",
     {32, 256, 32, 256}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}})",
     "'S's",
     {39, 83, 39, 115}},
    {R"({})", "'S's", {39, 83, 39, 115}},
    {R"({"normalizer": null})", "e\u0301", {101, 204, 129}},
    {R"({})", "e\u0301", {195, 169}},
    {R"({})", "q\u0307\u0323", {113, 204, 163, 204, 135}},
    {R"({"added_tokens": [{"id": 260, "content": "e\u0301", "normalized": true}]})",
     "\u00e9e\u0301a",
     {260, 260, 97}},
    {R"({"added_tokens": [{"id": 260, "content": "e\u0301", "normalized": false}]})",
     "\u00e9e\u0301a",
     {195, 169, 260, 97}},
    {R"({"added_tokens": [{"id": 260, "content": "[T]", "normalized": false}]})",
     "ab[T]ab",
     {256, 260, 256}},
    {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]}, "added_tokens": [{"id": 260, "content": "[T]", "normalized": false}]})",
     "ab[T]ab",
     {32, 256, 260, 32, 256}},
};

Ids encoded(Json file, const Case& c) {
  std::string patch = c.patch;
  const std::string_view name = "\"QWEN2\"";
  if (const size_t at = patch.find(name); at != patch.npos)
    patch.replace(at, name.size(), Json(qwen2_expression).dump());
  const Json parts = Json::parse(patch);
  for (const auto& [key, value] : parts.items())
    key == "model" ? file[key].merge_patch(value) : void(file[key] = value);
  return small::opened(file).encode(c.text, Specials::as_tokens);
}

TEST(Settings, OfASentencePieceFile) {
  for (const Case& c : sentencepiece_cases)
    EXPECT_EQ(encoded(small::sentencepiece(), c), c.ids) << c.patch << c.text;
}

TEST(Settings, OfAByteLevelFile) {
  for (const Case& c : byte_level_cases)
    EXPECT_EQ(encoded(small::byte_level(), c), c.ids) << c.patch << c.text;
}

}  // namespace
}  // namespace revenant
