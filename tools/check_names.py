#!/usr/bin/env python3
"""No type's name has two homes: `check_names.py SRC` fails where two files define one name in one
namespace. The linker would keep one of their members silently, and the other type would be destroyed
by it. `check_names.py --self-test` plants such names and must catch them."""
import collections
import re

from source_check import check_tree, main

# What opens or closes a namespace, and what defines a type outside another (clang-format indents
# everything but namespaces).
PART = re.compile(r"""^(?:
    namespace\ ?(?P<open>[\w:]*)\ ?\{
  | (?P<close>\}\ {1,2}//\ namespace)
  | (?:template\ ?<[^\n]*>\ ?)?(?:struct|class|enum|enum\ class|union)\ (?P<name>\w+)(?:\ final)?
    (?:\ :\ [^{;]*)?\ ?\{)""", re.M | re.X)


def complaints(source):
    homes = collections.defaultdict(set)
    for file in sorted(source.rglob("*.h")) + sorted(source.rglob("*.cc")):
        spaces = []
        for part in PART.finditer(file.read_text()):
            if part["name"] is None:
                spaces.append(part["open"]) if part["close"] is None else spaces.pop()
            elif "" not in spaces:  # a nameless namespace is its file's own
                homes["::".join(spaces + [part["name"]])].add(file.relative_to(source).as_posix())
    for name, files in sorted(homes.items()):
        if len(files) > 1:
            yield f"{name} is defined in {' and in '.join('src/' + f for f in sorted(files))}"


def self_test():
    def within(text, space="revenant"):
        return f"namespace {space} {{\n{text}\n}}  // namespace {space}\n"

    good = {"a.h": within("struct A {\n  struct Inner {};\n};\nclass B;")}
    free = ["class A;", "namespace {\nstruct A {};\n}  // namespace", "struct AB {\n  struct A {};\n};",
            "template <>\nstruct A<int> {};"]
    bad = ["class A {\n};", "struct A final : public B, C {\n};", "enum class A { one };",
           "namespace {\nint x;\n}  // namespace\nclass A {};", "template <class T>\nstruct A {};"]
    failed = [f"refused: {text}" for text in free if check_tree(complaints, {**good, "b.cc": within(text)})]
    failed += check_tree(complaints, {**good, "b.h": within("struct A {};", "revenant::other")})
    failed += [f"passed: {text}" for text in bad if len(check_tree(complaints, {**good, "b.h": within(text)})) != 1]
    return failed, f"{len(bad)} planted names caught"


main(__doc__, complaints, "each name has one home", self_test)
