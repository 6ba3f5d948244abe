#!/usr/bin/env python3
"""Plants the faults of tests/mutants.list one by one and says which the tests notice.

    tools/mutants.py                  all faults outside src/train, and those in it with --torch
    tools/mutants.py 405 702          these;  --room text: those of a room
    tools/mutants.py --check          only whether every fault still fits its file
    tools/mutants.py --write          writes the table into docs/testing.md
    tools/mutants.py --keep ...       what older sources and tests found counts too; the table says which

Works on a copy of the tree in build/mutants, never on the tree itself. A fault is caught when a test
of its room fails or hangs; only the programs of the room are built and run. What was found is kept
until sources or tests change, so an interrupted run goes on. Exit 1 if a fault survived, no longer
fits or does not compile, or if the tests fail without any.
"""
import argparse, filecmp, hashlib, json, os, re, shutil, signal, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build/mutants"
TREE, RESULTS = WORK / "tree", WORK / "results.json"
SECONDS = 600  # for one program; longer is a hang


class Fault:
    def __init__(self, name, title):
        self.name, self.title, self.file, self.hunks, self.runs = name, title, None, [], None

    @property
    def room(self):
        return self.file.split("/")[1]

    @property
    def torch(self):
        return self.room == "train" or any(run.startswith(("test_train", "test_cross", "test_sweep")) for run in self.runs)

    def planted(self, text):
        """The file's text with the fault, or None if a hunk does not stand in it exactly once."""
        for old, new in self.hunks:
            if text.count(old) != 1:
                return None
            text = text.replace(old, new)
        return text

    def key(self):
        return hashlib.sha256(repr((self.file, self.hunks, self.runs)).encode()).hexdigest()[:16]


def read_list(path):
    """Rooms' programs and the faults; the list's head explains its form."""
    rooms, faults, side = {}, [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("@"):
            faults.append(Fault(*line[1:].strip().split(" ", 1)))
        elif line.startswith("room "):
            name, programs = line[5:].split(":", 1)
            rooms[name] = [p.strip() for p in programs.split(";")]
        elif line.startswith("src/"):
            faults[-1].file = line.strip()
        elif line.startswith("run:"):
            faults[-1].runs = [p.strip() for p in line[4:].split(";")]
        elif line[:1] in "-+" and line and faults:
            hunks = faults[-1].hunks
            if line[0] == "-" and side != "-":
                hunks.append(([], []))
            hunks[-1]["-+".index(line[0])].append(line[1:])
        elif line and not line.startswith("#"):
            sys.exit(f"{path}:{number}: not understood: {line}")
        side = line[:1]
    for fault in faults:
        fault.hunks = [("\n".join(old), "\n".join(new)) for old, new in fault.hunks]
        fault.runs = fault.runs or rooms[fault.room]
    names = [f.name for f in faults]
    if len(set(names)) < len(names):
        sys.exit(f"{path}: a name stands twice")
    return faults


def files_of_tree():
    out = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    return sorted({f for f in out.stdout.decode().split("\0") if f and (ROOT / f).is_file()})


def copy_tree():
    """Only files that differ are written, so that only they are built again."""
    wanted = files_of_tree()
    for file in wanted:
        to = TREE / file
        if not to.exists() or not filecmp.cmp(ROOT / file, to, shallow=False):
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, to)
            shutil.copymode(ROOT / file, to)
    kept = set(wanted)
    for old in TREE.rglob("*"):
        place = old.relative_to(TREE)
        if place.parts[0] not in ("build", ".venv") and old.is_file() and str(place) not in kept:
            old.unlink()
    if (ROOT / ".venv").exists() and not (TREE / ".venv").exists():
        (TREE / ".venv").symlink_to((ROOT / ".venv").resolve())


def hash_of_tree():
    """Of all that can change what a test says."""
    digest = hashlib.sha256()
    for file in files_of_tree():
        if re.match(r"src/|tests/|cmake/|models/|recipes/|web/|CMakeLists", file) and file != "tests/mutants.list":
            digest.update(file.encode() + b"\0" + hashlib.sha256((ROOT / file).read_bytes()).digest())
    return digest.hexdigest()[:16]


def commit():
    """Of the tree, with a + if it differs from it."""
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return git("rev-parse", "--short=8", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")


class Build:
    def __init__(self, torch, options):
        self.folder = TREE / "build" / ("torch" if torch else "notorch")
        self.jobs = 1 if torch else os.cpu_count()
        command = ["cmake", "-S", TREE, "-B", self.folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                   f"-DREVENANT_TORCH={'ON' if torch else 'OFF'}", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def make(self, runs):
        """What the compiler complains of; empty: all is built."""
        targets = sorted({word for run in runs for word in [run.split()[0], *re.findall(r"\+(\S+)", run)]})
        done = subprocess.run(["cmake", "--build", self.folder, "-j", str(self.jobs), "--target", *targets],
                              capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stdout[-3000:] + done.stderr[-1000:]

    def failure(self, runs):
        """The first test that fails; empty: none does."""
        for run in runs:
            words = [w for w in run.split() if not w.startswith("+")]
            extra = ["--gtest_fail_fast", "--gtest_brief=1"] if words[0].startswith("test_") else []
            environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
            process = subprocess.Popen([self.folder / "bin" / words[0], *words[1:], *extra], cwd=TREE, env=environment,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                out = process.communicate(timeout=SECONDS)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return f"{words[0]} (does not end)"
            if "[  PASSED  ] 0 tests" in out and process.returncode == 0:
                sys.exit(f"{run}: no test runs")
            if process.returncode != 0:
                failed = re.search(r"\[  FAILED  \] ([\w./]+)", out)
                return failed.group(1) if failed else f"{' '.join(words[:2])} (exit {process.returncode})"
        return ""


def try_fault(build, fault):
    file = TREE / fault.file
    original = file.read_text()
    try:
        file.write_text(fault.planted(original))
        if complaint := build.make(fault.runs):
            return {"result": "does not compile", "by": complaint}
        by = build.failure(fault.runs)
        return {"result": "caught" if by else "SURVIVED", "by": by}
    finally:
        file.write_text(original)


def table(faults, results):
    lines = ["| fault | where | result | first test that failed |", "| --- | --- | --- | --- |"]
    for f in faults:
        r = results.get(f.key(), {"result": "not run", "by": ""})
        by = r["by"] if r["result"] == "caught" else ""
        lines.append(f"| {f.name} {f.title} | {f.file[4:]} | {r['result']} | {'`' + by + '`' if by else ''} |")
    return "\n".join(lines)


def count(faults, results):
    found = [results.get(f.key(), {"result": "not run"})["result"] for f in faults]
    return ", ".join(f"{found.count(word)} {word}" for word in dict.fromkeys(["caught", *found]))


def commits(faults, results):
    """Which commits' sources and tests the results are of, and how many of each."""
    found = [results[f.key()]["at"] for f in faults if f.key() in results]
    return ", ".join(f"{found.count(at)} " + (f"at {at}" if at else "earlier") for at in dict.fromkeys(found))


def as_the_page_has_them(faults, results, old):
    """What is not known here, of faults whose name and title the page has."""
    rows = dict(re.findall(r"^\| (\d+ .+?) \| \S+ \| (.+) \|$", old, re.MULTILINE))
    for f in faults:
        result, by = (rows.get(f"{f.name} {f.title}", "not run | ").split(" | ") + [""])[:2]
        if f.key() not in results and result != "not run":
            results[f.key()] = {"result": result, "by": by.strip("` "), "at": ""}
    return results


def write_docs(faults, results):
    page = ROOT / "docs/testing.md"
    head, rest = page.read_text().split("<!-- mutants begin -->\n")
    old, tail = rest.split("<!-- mutants end -->")
    results = as_the_page_has_them(faults, results, old)
    page.write_text(f"{head}<!-- mutants begin -->\n{len(faults)} faults: {count(faults, results)} ({commits(faults, results)}).\n\n"
                    f"{table(faults, results)}\n<!-- mutants end -->{tail}")


def demand_green(build, runs):
    """Without a fault everything must build and pass, or a caught fault would mean nothing."""
    print(f"without a fault: {'; '.join(runs)}", flush=True)
    if complaint := build.make(runs) or build.failure(runs):
        sys.exit(f"the tree without a fault fails: {complaint}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="faults; without names all")
    parser.add_argument("--list", type=Path, default=ROOT / "tests/mutants.list")
    parser.add_argument("--room")
    parser.add_argument("--torch", action="store_true", help="those in src/train too; needs libtorch")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--keep", action="store_true", help="keep what was found before sources or tests changed")
    parser.add_argument("--check", action="store_true", help="only whether every fault fits its file")
    parser.add_argument("--cmake", default="", help="more options for cmake, as one argument")
    parser.add_argument("--write", action="store_true", help="write the table into docs/testing.md; of faults without a result here its rows stay")
    args = parser.parse_args()

    every = read_list(args.list)
    unfit = [f for f in every if not (ROOT / f.file).is_file() or f.planted((ROOT / f.file).read_text()) is None]
    for f in unfit:
        print(f"{f.name} {f.title}: no longer fits {f.file}", file=sys.stderr)
    if unfit or args.check:
        sys.exit(f"{len(unfit)} of {len(every)} faults do not fit" if unfit else 0)

    WORK.mkdir(parents=True, exist_ok=True)
    stamp, at = hash_of_tree(), commit()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() and not args.fresh else {}
    results = known.get("results", {}) if args.keep or known.get("tree") == stamp else {}
    chosen = [f for f in every if (not args.names or f.name in args.names) and args.room in (None, f.room)
              and (args.torch or not f.torch or f.name in args.names)]
    if unknown := set(args.names) - {f.name for f in every}:
        sys.exit(f"no such fault: {' '.join(sorted(unknown))}")
    waiting = [f for f in chosen if f.key() not in results]
    if waiting:
        copy_tree()
    for torch in (False, True):
        group = sorted((f for f in waiting if f.torch == torch), key=lambda f: (f.runs, f.file))
        if not group:
            continue
        build, green = Build(torch, args.cmake.split()), set()
        for fault in group:
            if unknown := [run for run in fault.runs if run not in green]:
                demand_green(build, unknown)
                green.update(unknown)
            began = time.time()
            results[fault.key()] = found = {**try_fault(build, fault), "at": at}
            print(f"{fault.name} {fault.title} ({fault.file}): {found['result']} {found['by']}"
                  f" [{time.time() - began:.0f} s]", flush=True)
            RESULTS.write_text(json.dumps({"tree": stamp, "results": results}, indent=1))
    print("\n" + table(chosen, results) + f"\n\n{len(chosen)} faults: {count(chosen, results)}")
    if args.write:
        write_docs(every, results)
    sys.exit(any(results[f.key()]["result"] != "caught" for f in chosen))


if __name__ == "__main__":
    main()
