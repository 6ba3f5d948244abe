#!/usr/bin/env python3
"""Which room may include which: `check_includes.py SRC` fails on any other edge (design: rooms form
a ladder, nobody looks up); `check_includes.py --self-test` plants such edges and must catch them."""
import re

from source_check import check_tree, main

# A room may know these rooms, and whatever those may know.
KNOWS = {
    "base": "",
    "client": "base",
    "quant": "base",
    "kernels": "quant",
    "io": "quant",
    "text": "base",
    "image": "base",
    "model": "base",
    "trace": "model",
    "store": "model io kernels",
    "native": "store",
    "engine": "native text image trace",
    "data": "text image",
    "serve": "engine client",  # client: pictures of requests that lie elsewhere
    "eval": "engine data",
    "triples": "client data",
    "train": "store data trace",
    "cli": "eval serve triples",  # the program `revenant`: never train
}
# The one program that links libtorch lives beside the other.
EXTRA = {"cli/train_main.cc": "train", "cli/graft.cc": "train"}  # of revenant-train

# "room/file.h", or the same in angle brackets, which would work too.
INCLUDE = re.compile(
    rf'^\s*#\s*include\s*(?:"([^"]*)"|<((?:{"|".join(KNOWS)})/[^>]*)>)', re.M)
ROOM = re.compile(r"^\s*room\(\s*(\w+)\s*([^)]*)\)", re.M)


def known(room):
    """The rooms that `room` may include, itself too."""
    return {room}.union(*(known(other) for other in KNOWS[room].split()))


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def complaints(source):
    for room in sorted(p.name for p in source.iterdir() if p.is_dir() and any(p.iterdir())):
        if room not in KNOWS:
            yield f"src/{room}: a room that tools/check_includes.py does not know"
            continue
        for file in sorted((source / room).rglob("*")):
            name = file.relative_to(source).as_posix()
            may = known(room) | (known(EXTRA[name]) if name in EXTRA else set())
            if file.suffix in (".h", ".cc"):
                text = file.read_text()
                for match in INCLUDE.finditer(text):
                    where, target = f"src/{name}:{line_of(text, match.start())}", match[1] or match[2]
                    other, slash, _ = target.partition("/")
                    if not slash or other not in KNOWS:
                        yield f'{where}: "{target}": write "room/file.h"'
                    elif other not in may:
                        yield f'{where}: {room} may not include "{target}"'
            elif file.name == "CMakeLists.txt":
                for match in ROOM.finditer(file.read_text()):
                    for other in match[2].split():
                        if other not in may:
                            yield f"src/{name}: {room} may not link {other}"


def self_test():
    good = {
        "base/a.h": "#include <vector>\n",
        "engine/a.cc": '#include "engine/a.h"\n#include "kernels/k.h"\n#include "base/a.h"\n',
        "cli/train_main.cc": '#include "train/loop.h"\n',
        "native/CMakeLists.txt": "room(native model kernels io)\n",
    }
    bad = {
        "base/a.cc": '#include "io/tensor.h"\n',  # from the bottom up
        "model/a.h": '\n  #  include "native/tensor.h"\n',  # indented
        "io/a.cc": '#include "kernels/k.h"\n',  # sideways
        "text/a.cc": '#include "model/config.h"\n',
        "native/b.cc": '#include "trace/trace.h"\n',
        "quant/a.cc": "#include <io/tensor.h>\n",
        "image/a.cc": '#include "../engine/a.h"\n',  # around the rule
        "cli/run.cc": '#include "train/loop.h"\n',  # only those of revenant-train may
        "engine/a.cc": '#include "data/dataset.h"\n',
        "native/a.cc": '#include "text/tokenizer.h"\n',
        "train/a.cc": '#include "cli/x.h"\n',
        "kernels/CMakeLists.txt": "room(kernels base io)\n",
        "attic/a.cc": "\n",  # no such room
    }
    failed = [f"refused: {c}" for c in check_tree(complaints, good)]
    for name, text in bad.items():
        found = check_tree(complaints, {**good, name: text})
        if len(found) != 1 or name.split("/")[0] not in found[0]:
            failed.append(f"planted in src/{name}, found {found}")
    return failed, f"{len(bad)} planted edges caught"


main(__doc__, complaints, "no upward edge", self_test)
