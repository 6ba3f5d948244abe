"""What the checks of the sources share: planted trees, and a program that says what it found."""
import pathlib
import sys
import tempfile


def check_tree(complaints, files):
    """What `complaints` says of a tree of these files."""
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory)
        for name, text in files.items():
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(text)
        return list(complaints(source))


def main(usage, complaints, clean, self_test):
    """`PROGRAM SRC` or `PROGRAM --self-test`; 1 if anything was found. `clean`: what is said else."""
    if sys.argv[1:] == ["--self-test"]:
        found, good = self_test()
    elif len(sys.argv) == 2:
        found, good = list(complaints(pathlib.Path(sys.argv[1]))), clean
    else:
        sys.exit(usage)
    print("\n".join(found) or good)
    sys.exit(1 if found else 0)
