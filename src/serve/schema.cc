#include "serve/schema.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "base/json.h"
#include "serve/failure.h"

namespace revenant {

using nlohmann::json;

namespace {

using Sequence = Grammar::Sequence;
using Symbol = Grammar::Symbol;

// What is said of a value and decides nothing about it.
const std::set<std::string> annotations = {"title",       "description", "default",  "examples",
                                           "$schema",     "$id",         "$comment", "$defs",
                                           "definitions", "deprecated",  "readOnly", "writeOnly"};

class Compiler {
 public:
  explicit Compiler(const SchemaLimits& limits, const json& root = {}, std::string path = "")
      : limits_(limits), root_(root), path_(std::move(path)) {
    digit_ = g_.set(bytes_between('0', '9'));
  }

  JsonGrammar compile(const std::function<uint32_t(Compiler&)>& start) {
    const uint32_t rule = start(*this);
    check_size();
    if (!g_.sound()) refuse(path_, "no value, or none that ends, keeps this schema");
    return {std::move(g_), rule};
  }
  uint32_t root() { return value(root_, path_, 0); }

  // --- JSON of any kind

  uint32_t any_object() {
    return once("object", [&](uint32_t rule) {
      const uint32_t pairs = g_.add_rule();
      const Sequence pair = joined({use(any_string()), one(':'), use(space()), use(any_value())});
      g_.add(pairs, pair);
      g_.add(pairs, joined({pair, one(','), use(space()), use(pairs)}));
      g_.add(rule, g_.text("{}"));
      g_.add(rule, joined({one('{'), use(pairs), one('}')}));
    });
  }
  uint32_t any_array() {
    return once("array", [&](uint32_t rule) {
      g_.add(rule, g_.text("[]"));
      g_.add(rule, joined({one('['), use(list_of(any_value())), one(']')}));
    });
  }
  uint32_t any_value() {
    return once("value", [&](uint32_t rule) {
      for (const uint32_t kind : {any_object(), any_array(), any_string(), number(), boolean()})
        g_.add(rule, use(kind));
      g_.add(rule, g_.text("null"));
    });
  }

 private:
  // --- pieces

  Sequence one(char c) { return {g_.set(bytes_of({&c, 1}))}; }
  static Sequence use(uint32_t rule) { return {Grammar::use(rule)}; }
  static Sequence joined(std::initializer_list<Sequence> parts) {
    Sequence all;
    for (const Sequence& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
  // A rule by name, made when it is first asked for; may ask for itself.
  template <class F>
  uint32_t once(const std::string& name, const F& fill) {
    const auto [at, fresh] = named_.try_emplace(name, 0);
    if (!fresh) return at->second;
    const uint32_t rule = named_[name] = g_.add_rule();
    fill(rule);
    return rule;
  }
  uint32_t space() {
    return once("space", [&](uint32_t rule) {
      g_.add(rule, {});
      g_.add(rule, one(' '));
    });
  }
  uint32_t boolean() {
    return once("boolean", [&](uint32_t rule) {
      g_.add(rule, g_.text("true"));
      g_.add(rule, g_.text("false"));
    });
  }
  // From `least` to `most` times; most below 0: any number.
  uint32_t repeated(const Sequence& what, int least, int most) {
    uint32_t rule = g_.add_rule();
    g_.add(rule, {});
    if (most < 0)
      g_.add(rule, joined({what, use(rule)}));
    else
      for (int i = least; i < most; ++i) {
        const uint32_t longer = g_.add_rule();
        g_.add(longer, {});
        g_.add(longer, joined({what, use(rule)}));
        rule = longer;
      }
    for (int i = 0; i < least; ++i) {
      const uint32_t longer = g_.add_rule();
      g_.add(longer, joined({what, use(rule)}));
      rule = longer;
    }
    check_size();
    return rule;
  }
  uint32_t list_of(uint32_t item) {
    const uint32_t list = g_.add_rule();
    g_.add(list,
           joined({use(item), use(repeated(joined({one(','), use(space()), use(item)}), 0, -1))}));
    return list;
  }

  // One character of a string: UTF-8 without controls, or an escape; no halves of pairs.
  uint32_t character() {
    return once("character", [&](uint32_t rule) {
      const auto range = [&](int a, int b) { return Sequence{g_.set(bytes_between(a, b))}; };
      const Sequence more = range(0x80, 0xBF);
      ByteSet plain = bytes_between(0x20, 0x7F);
      plain.reset('"'), plain.reset('\\'), plain.reset(0x7F);
      g_.add(rule, {g_.set(plain)});
      g_.add(rule, joined({range(0xC2, 0xDF), more}));
      g_.add(rule, joined({range(0xE0, 0xE0), range(0xA0, 0xBF), more}));
      g_.add(rule, joined({range(0xE1, 0xEC), more, more}));
      g_.add(rule, joined({range(0xED, 0xED), range(0x80, 0x9F), more}));
      g_.add(rule, joined({range(0xEE, 0xEF), more, more}));
      g_.add(rule, joined({range(0xF0, 0xF0), range(0x90, 0xBF), more, more}));
      g_.add(rule, joined({range(0xF1, 0xF3), more, more, more}));
      g_.add(rule, joined({range(0xF4, 0xF4), range(0x80, 0x8F), more, more}));
      g_.add(rule, joined({one('\\'), {g_.set(bytes_of("\"\\/bfnrt"))}}));
      const Sequence hex = {g_.set(bytes_of("0123456789abcdefABCDEF"))};
      const Sequence escape = g_.text("\\u");
      g_.add(rule, joined({escape, {g_.set(bytes_of("0123456789abcefABCEF"))}, hex, hex, hex}));
      g_.add(rule, joined({escape, {g_.set(bytes_of("dD"))}, range('0', '7'), hex, hex}));
    });
  }
  uint32_t any_string() { return string(0, -1); }
  uint32_t string(int least, int most) {
    return once("string " + std::to_string(least) + " " + std::to_string(most), [&](uint32_t rule) {
      g_.add(rule, joined({one('"'), use(repeated(use(character()), least, most)), one('"')}));
    });
  }
  uint32_t whole() {
    return once("whole", [&](uint32_t rule) {
      const Sequence rest = use(repeated({digit_}, 0, 14));
      for (const Sequence& sign : {Sequence{}, one('-')})
        g_.add(rule, joined({sign, {g_.set(bytes_between('1', '9'))}, rest}));
      g_.add(rule, one('0'));
    });
  }
  uint32_t number() {
    return once("number", [&](uint32_t rule) {
      const uint32_t whole_part = g_.add_rule(), fraction = g_.add_rule(), power = g_.add_rule();
      g_.add(whole_part,
             joined({{g_.set(bytes_between('1', '9'))}, use(repeated({digit_}, 0, 14))}));
      g_.add(whole_part, one('0'));
      g_.add(fraction, {});
      g_.add(fraction, joined({one('.'), use(repeated({digit_}, 1, 15))}));
      g_.add(power, {});
      for (const Sequence& sign : {Sequence{}, {g_.set(bytes_of("+-"))}})
        g_.add(power, joined({{g_.set(bytes_of("eE"))}, sign, use(repeated({digit_}, 1, 2))}));
      for (const Sequence& sign : {Sequence{}, one('-')})
        g_.add(rule, joined({sign, use(whole_part), use(fraction), use(power)}));
    });
  }

  // --- schemas

  [[noreturn]] static void refuse(const std::string& path, const std::string& why) {
    throw invalid(path, why, "unsupported_schema");
  }
  void check_size() const {
    if (g_.size() > limits_.elements) refuse(path_, "the schema is too large");
  }
  void only_keywords(const json& schema, const std::string& path,
                     std::initializer_list<const char*> keywords) const {
    for (const auto& [name, value] : schema.items())
      if (!annotations.contains(name) &&
          std::find(keywords.begin(), keywords.end(), name) == keywords.end())
        refuse(path + "." + name, "this server cannot promise to keep this");
  }
  int count_of(const json& schema, const std::string& path, const char* name, int otherwise) const {
    const auto at = schema.find(name);
    if (at == schema.end()) return otherwise;
    if (!at->is_number_integer() || *at < 0 || *at > limits_.length)
      refuse(path + "." + name, "expected a number from 0 to " + std::to_string(limits_.length));
    return at->get<int>();
  }
  static std::pair<int, int> checked(int least, int most, const std::string& path) {
    if (most >= 0 && most < least) refuse(path, "no value is so short and so long");
    return {least, most};
  }

  uint32_t value(const json& schema, const std::string& path, int level) {
    if (level > limits_.levels) refuse(path, "the schema is nested too deeply");
    check_size();
    if (schema == true) return any_value();
    if (!schema.is_object()) refuse(path, "expected a schema");
    if (const auto reference = schema.find("$ref"); reference != schema.end()) {
      only_keywords(schema, path, {"$ref"});
      return referred(*reference, path, level);
    }
    for (const char* name : {"enum", "const", "anyOf", "allOf"})
      if (schema.contains(name)) return combined(schema, name, path, level);
    const auto type = schema.find("type");
    if (type == schema.end()) {
      only_keywords(schema, path, {});
      return any_value();
    }
    if (type->is_string()) return typed(schema, *type, path, level);
    if (!type->is_array() || type->empty()) refuse(path + ".type", "expected a type");
    const uint32_t rule = g_.add_rule();
    for (const json& one : *type) {
      json alternative = schema;
      alternative["type"] = one;
      g_.add(rule, use(typed(alternative, one, path, level)));
    }
    return rule;
  }

  // #/$defs/NAME, also of the schema that it stands in.
  uint32_t referred(const json& reference, const std::string& path, int level) {
    const std::string name = reference.is_string() ? reference.get<std::string>() : "";
    if (!name.starts_with('#')) refuse(path + ".$ref", "expected #/$defs/NAME");
    const auto [at, fresh] = references_.try_emplace(name, 0);
    if (!fresh) return at->second;
    const json* target = nullptr;
    try {
      target = &root_.at(json::json_pointer(name.substr(1)));
    } catch (const json::exception&) {
      refuse(path + ".$ref", "there is nothing under " + shown(reference));
    }
    const uint32_t rule = references_[name] = g_.add_rule();
    g_.add(rule, use(value(*target, path_ + name.substr(1), level + 1)));
    return rule;
  }

  uint32_t combined(const json& schema, const std::string& name, const std::string& path,
                    int level) {
    const json& of = schema[name];
    const uint32_t rule = g_.add_rule();
    if (name == "const") {
      only_keywords(schema, path, {"const", "type"});
      check_type(of, schema, path);
      g_.add(rule, g_.text(of.dump()));
      return rule;
    }
    if (!of.is_array() || of.empty() || (name == "allOf" && of.size() > 1))
      refuse(path + "." + name, name == "allOf" ? "this server keeps one of them only"
                                                : "expected a list that is not empty");
    if (name == "enum") {
      only_keywords(schema, path, {"enum", "type"});
      for (const json& one : of) {
        check_type(one, schema, path);
        g_.add(rule, g_.text(one.dump()));
      }
      check_size();
      return rule;
    }
    only_keywords(schema, path, {name.c_str()});
    for (size_t i = 0; i < of.size(); ++i)
      g_.add(rule, use(value(of[i], path + "." + name + "[" + std::to_string(i) + "]", level + 1)));
    return rule;
  }

  static void check_type(const json& value, const json& schema, const std::string& path) {
    const json type = schema.value("type", json());
    if (type.is_null()) return;
    const json types = type.is_array() ? type : json::array({type});
    const std::string name = value.is_number_integer() ? "integer" : value.type_name();
    for (const json& one : types)
      if (one == name || (one == "number" && value.is_number())) return;
    refuse(path, shown(value) + " is not of the type");
  }

  uint32_t typed(const json& schema, const json& type, const std::string& path, int level) {
    if (type == "object") return object(schema, path, level);
    if (type == "array") return array(schema, path, level);
    if (type == "string") {
      only_keywords(schema, path, {"type", "minLength", "maxLength"});
      const auto [least, most] = checked(count_of(schema, path, "minLength", 0),
                                         count_of(schema, path, "maxLength", -1), path);
      return string(least, most);
    }
    only_keywords(schema, path, {"type"});
    if (type == "integer") return whole();
    if (type == "number") return number();
    if (type == "boolean") return boolean();
    if (type != "null")
      refuse(path + ".type", "expected object, array, string, integer, number, boolean or null");
    const uint32_t rule = g_.add_rule();
    g_.add(rule, g_.text("null"));
    return rule;
  }

  uint32_t array(const json& schema, const std::string& path, int level) {
    only_keywords(schema, path, {"type", "items", "minItems", "maxItems"});
    const auto [least, most] = checked(count_of(schema, path, "minItems", 0),
                                       count_of(schema, path, "maxItems", -1), path);
    const uint32_t item =
        schema.contains("items") ? value(schema["items"], path + ".items", level + 1) : any_value();
    const uint32_t rule = g_.add_rule();
    if (least == 0) g_.add(rule, g_.text("[]"));
    if (most == 0) return rule;
    const Sequence next = joined({one(','), use(space()), use(item)});
    g_.add(rule, joined({one('['), use(item),
                         use(repeated(next, std::max(0, least - 1), most < 0 ? -1 : most - 1)),
                         one(']')}));
    return rule;
  }

  uint32_t object(const json& schema, const std::string& path, int level) {
    only_keywords(schema, path, {"type", "properties", "required", "additionalProperties"});
    const json properties = schema.value("properties", json::object());
    const json required = schema.value("required", json::array());
    const json more = schema.value("additionalProperties", json(true));
    if (!properties.is_object()) refuse(path + ".properties", "expected an object");
    if (!required.is_array()) refuse(path + ".required", "expected a list of names");
    if (!more.is_boolean()) refuse(path + ".additionalProperties", "expected true or false");
    for (const json& name : required)
      if (!name.is_string() || !properties.contains(name.get<std::string>()))
        refuse(path + ".required", "expected names of properties, found " + shown(name));
    if (properties.empty()) {
      if (more == true) return any_object();
      const uint32_t rule = g_.add_rule();
      g_.add(rule, g_.text("{}"));
      return rule;
    }
    // From the last member to the first: the rest of the object, if something stands before it or
    // not.
    uint32_t rest = end_of_object(), rest_first = rest;
    std::vector<std::string> names = names_of(schema);
    for (auto name = names.rbegin(); name != names.rend(); ++name) {
      const Sequence pair =
          joined({g_.text(json(*name).dump()), one(':'), use(space()),
                  use(value(properties[*name], path + ".properties." + *name, level + 1))});
      const bool must = std::find(required.begin(), required.end(), *name) != required.end();
      const uint32_t first = g_.add_rule(), later = g_.add_rule();
      g_.add(first, joined({pair, use(rest)}));
      g_.add(later, joined({one(','), use(space()), pair, use(rest)}));
      if (!must) {
        g_.add(first, use(rest_first));
        g_.add(later, use(rest));
      }
      rest_first = first, rest = later;
    }
    const uint32_t rule = g_.add_rule();
    g_.add(rule, joined({one('{'), use(rest_first)}));
    return rule;
  }
  uint32_t end_of_object() {
    return once("end of object", [&](uint32_t rule) { g_.add(rule, one('}')); });
  }
  // In the order of `required`, then the others: the parser sorts an object's members, lists keep
  // their order.
  static std::vector<std::string> names_of(const json& schema) {
    std::vector<std::string> names;
    const auto add = [&](const std::string& name) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    };
    for (const json& name : schema.value("required", json::array())) add(name);
    for (const auto& [name, of] : schema["properties"].items()) add(name);
    return names;
  }

  const SchemaLimits limits_;
  const json& root_;
  const std::string path_;
  Grammar g_;
  Symbol digit_{};
  std::map<std::string, uint32_t> named_, references_;
};

}  // namespace

JsonGrammar object_grammar() {
  const json nothing;
  return Compiler({}, nothing).compile([](Compiler& c) { return c.any_object(); });
}

JsonGrammar schema_grammar(const json& schema, const std::string& path,
                           const SchemaLimits& limits) {
  return Compiler(limits, schema, path).compile([](Compiler& c) { return c.root(); });
}

}  // namespace revenant
