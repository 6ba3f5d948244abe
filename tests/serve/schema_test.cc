// Schemas: what is made under them keeps them, and what cannot be kept is refused.
#include "serve/schema.h"

#include "harness.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

bool matches(const JsonGrammar& grammar, const std::string& text) {
  Matcher matcher(grammar.grammar, grammar.start);
  Matcher::State state = matcher.start();
  for (const char c : text)
    if ((state = matcher.after(state, uint8_t(c))) == Matcher::none) return false;
  return matcher.complete(state);
}

struct Texts {
  const char* schema;
  std::vector<std::string> good, bad;
};

TEST(Schema, KeptTextsAndOthers) {
  const Texts all[] = {
      {R"({"type": "integer"})",
       {"0", "-7", "123456789012345"},
       {"", "01", "1.5", "-", "-0", "+1", "1 "}},
      {R"({"type": "number"})",
       {"0", "-0.5", "10.25e-3", "1E9"},
       {".5", "1.", "1e", "1e999", "NaN"}},
      {R"({"type": "boolean"})", {"true", "false"}, {"True", "tru"}},
      {R"({"type": "null"})", {"null"}, {"nil"}},
      {R"({"type": "string"})",
       {R"("")", R"("a\n\"\u00e9 é€😀")"},
       {"\"\n\"", R"("\x")", R"("\ud800")", "\"\xc3\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"a"}},
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("éé€")"},
       {R"("a")", R"("abcd")"}},
      {R"({"enum": ["a", 1, null, {"b": [2]}]})",
       {R"("a")", "1", "null", R"({"b":[2]})"},
       {"2", "a"}},
      {R"({"const": "x y"})", {R"("x y")"}, {R"("x")"}},
      {R"({"type": ["integer", "null"]})", {"5", "null"}, {"true"}},
      {R"({"anyOf": [{"type": "boolean"}, {"const": 3}]})", {"true", "3"}, {"4"}},
      {R"({"type": "array", "items": {"type": "integer"}})",
       {"[]", "[1]", "[1, 2]", "[1,2,3]"},
       {"[1,]", "[,1]", "[1 ,2]", "[\"a\"]"}},
      {R"({"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 3})",
       {"[1,1]", "[1,1,1]"},
       {"[]", "[1]", "[1,1,1,1]"}},
      {R"({"type": "array", "items": {"const": 1}, "maxItems": 1})", {"[]", "[1]"}, {"[1,1]"}},
      {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
      {R"({"type": "object", "properties": {"b": {"const": 1}, "a": {"const": 2}},
           "required": ["b", "a"], "additionalProperties": false})",
       {R"({"b":1,"a":2})", R"({"b": 1, "a": 2})"},
       {R"({"a":2,"b":1})", R"({"b":1})", "{}", R"({"b":1,"a":2,"c":3})", R"({"b":1,"a":2,})"}},
      {R"({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}},
           "required": ["b"]})",
       {R"({"b":2})", R"({"b":2,"a":1})", R"({"b":2,"c":3})", R"({"b":2,"a":1,"c":3})"},
       {"{}", R"({"a":1})", R"({"b":2,"c":3,"a":1})"}},
      {R"({"type": "object", "properties": {"a": {"const": 1}}})",
       {"{}", R"({"a":1})"},
       {R"({"a":1,"a":1})"}},
      {R"({"type": "object"})",
       {"{}", R"({"x":{"y":[1,true,null,"z",-0.5]}})"},
       {"[]", R"({x:1})", R"({"x":})"}},
      {R"({"type": "object", "additionalProperties": false})", {"{}"}, {R"({"a":1})"}},
      {R"({"$defs": {"n": {"type": "object", "properties": {"v": {"type": "integer"},
           "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
           "required": ["v", "next"], "additionalProperties": false}}, "$ref": "#/$defs/n"})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})", R"({"v":1,"next":{}})"}},
  };
  for (const Texts& texts : all) {
    const JsonGrammar grammar = schema_grammar(json::parse(texts.schema), "schema");
    for (const std::string& text : texts.good)
      EXPECT_TRUE(matches(grammar, text)) << texts.schema << text;
    for (const std::string& text : texts.bad)
      EXPECT_FALSE(matches(grammar, text)) << texts.schema << text;
  }
}

TEST(Schema, WhatCannotBeKeptIsNamed) {
  const std::pair<const char*, const char*> all[] = {
      {R"({"type": "string", "pattern": "a*"})", "s.pattern"},
      {R"({"type": "integer", "minimum": 3})", "s.minimum"},
      {R"({"type": "object", "properties": {"a": {"format": "date"}}})", "s.properties.a.format"},
      {R"({"type": "object", "required": ["a"]})", "s.required"},
      {R"({"type": "object", "additionalProperties": {"type": "integer"}})",
       "s.additionalProperties"},
      {R"({"type": "thing"})", "s.type"},
      {R"({"oneOf": [{"type": "integer"}]})", "s.oneOf"},
      {R"({"not": {}})", "s.not"},
      {R"({"$ref": "#/$defs/x"})", "s.$ref"},
      {R"({"$ref": "http://x/y"})", "s.$ref"},
      {R"({"$ref": "#"})", "s"},
      {R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})", "s"},
      {R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "s"},
      {R"({"enum": []})", "s.enum"},
      {R"({"type": "string", "enum": [1]})", "s"},
      {R"({"type": "string", "minLength": 5, "maxLength": 2})", "s"},
      {R"({"type": "string", "maxLength": 100000})", "s.maxLength"},
      {R"({"type": "array", "minItems": -1})", "s.minItems"},
      {"false", "s"},
      {"5", "s"},
  };
  for (const auto& [schema, part] : all) try {
      schema_grammar(json::parse(schema), "s");
      ADD_FAILURE() << schema;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, 400);
      EXPECT_EQ(failure.param, part) << schema;
      EXPECT_EQ(failure.code, "unsupported_schema") << schema;
    }
  json deep = {{"type", "integer"}};
  for (int i = 0; i < 100; ++i) deep = {{"type", "array"}, {"items", deep}};
  EXPECT_THROW(schema_grammar(deep, "s"), Failure);
}

// A model that says anything at all, as far as it is let.
TEST(Schema, WhatIsMadeKeepsIt) {
  Temporary place;
  write_random_phantom(place.path / "model", 7);
  ApiOptions options;
  options.context = 3000;
  Harness server(options, place.path / "model");
  const json schema = json::parse(R"({"type": "object", "properties": {
      "name": {"type": "string", "maxLength": 12}, "count": {"type": "integer"},
      "kind": {"enum": ["red", "green"]}, "more": {"type": "array", "maxItems": 3,
      "items": {"type": "object", "properties": {"x": {"type": "number"}, "ok": {"type": "boolean"}},
                "required": ["x"], "additionalProperties": false}}},
      "required": ["kind", "name", "more"], "additionalProperties": false})");
  int with_count = 0;
  for (int seed = 0; seed < 30; ++seed) {
    const json body =
        with(question("x"),
             {{"temperature", 2.0},
              {"seed", seed},
              {"max_tokens", 1000},
              {"response_format",
               {{"type", "json_schema"}, {"json_schema", {{"name", "n"}, {"schema", schema}}}}}});
    const json got = server.chat(body);
    EXPECT_EQ(got["choices"][0]["finish_reason"], "stop");
    const std::string text = got["choices"][0]["message"]["content"];
    const json made = json::parse(text, nullptr, false);
    ASSERT_TRUE(made.is_object()) << text;
    for (const auto& [name, value] : made.items())
      EXPECT_TRUE(schema["properties"].contains(name)) << text;
    ASSERT_TRUE(made.contains("kind") && made.contains("name") && made.contains("more")) << text;
    EXPECT_TRUE(made["kind"] == "red" || made["kind"] == "green") << text;
    EXPECT_TRUE(made["name"].is_string()) << text;
    EXPECT_LE(made["more"].size(), 3u) << text;
    for (const json& one : made["more"]) EXPECT_TRUE(one.at("x").is_number()) << text;
    if (made.contains("count")) {
      ++with_count;
      EXPECT_TRUE(made["count"].is_number_integer()) << text;
    }
  }
  EXPECT_GT(with_count, 0);
  EXPECT_LT(with_count, 30);
  // Any object; cut by its length it is the beginning of one.
  const json any =
      server.chat(with(question("x"), {{"temperature", 1.0},
                                       {"seed", 3},
                                       {"max_tokens", 40},
                                       {"response_format", {{"type", "json_object"}}}}));
  EXPECT_EQ(any["choices"][0]["message"]["content"].get<std::string>()[0], '{');
}

}  // namespace
}  // namespace revenant
