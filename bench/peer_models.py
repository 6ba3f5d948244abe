"""The peers' programs and packages, and the models that they and ours are measured with (bench/peers.py): made when first asked for, into WORK."""
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from finetune import BIN, HERE, png
from load import run

LLAMA = "llama_cpp_python==0.3.36"
PROGRAMS = ("llama-bench", "llama-batched-bench", "llama-mtmd-cli")
PACKAGES = ("gguf", "numpy", "torch==2.15.0", "onnx", "onnxruntime")
OPENVINO = ("openvino", "nncf")
SMALL = "phantom-0.5b"
TYPES = {"phantom-1.8b": ("Q8_0", "Q4_K"), "phantom-3.8b": ("Q8_0", "Q4_K"), "trol-1.8b": ("Q8_0",)}  # of what takes much room


@functools.cache
def python_of(work, *more):
    """A Python with PACKAGES and more."""
    python = work / "venv/bin/python"
    if not python.exists():
        run(sys.executable, "-m", "venv", work / "venv")
    have = run(python, "-m", "pip", "list", "--format=freeze").lower()
    missing = [p for p in PACKAGES + more if f"{p.split('=')[0]}==" not in have]
    if missing:
        run(python, "-m", "pip", "install", "-q", *missing)
    return python


def versions(work):
    freeze = run(python_of(work), "-m", "pip", "list", "--format=freeze").splitlines()
    shown = [line for line in freeze if line.split("==")[0] in ("torch", "onnxruntime", *OPENVINO)]
    return ", ".join(line.replace("==", " ") for line in [LLAMA, *shown])


def llama_of(work, avx2=False):
    """Folder of llama.cpp's programs: those of this machine's instructions, or of AVX2 and no more."""
    build = work / "llama-avx2" if avx2 else work / "llama/build"
    source = work / "llama/vendor/llama.cpp"
    if all((build / "bin" / program).exists() for program in PROGRAMS):
        return build / "bin"
    if not source.exists():
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama_cpp_python", "-d", work, LLAMA)
        (work / "llama").mkdir(exist_ok=True)
        run("tar", "xzf", next(work.glob("llama_cpp_python-*.tar.gz")), "-C", work / "llama", "--strip-components=1")
    which = [f"-DGGML_{part}=ON" for part in ("AVX", "AVX2", "FMA", "F16C", "BMI2")] + ["-DGGML_NATIVE=OFF"] if avx2 else ["-DGGML_NATIVE=ON"]
    if "amx_tile" in Path("/proc/cpuinfo").read_text():  # GCC 12 leaves out most of what configures tiles: llama.cpp would die of it
        which += ["-DCMAKE_C_COMPILER=clang-16", "-DCMAKE_CXX_COMPILER=clang++-16"]
    run("cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *which, "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF")
    run("cmake", "--build", build, "-j", os.cpu_count(), "--target", *PROGRAMS)
    return build / "bin"


def through(path):
    """The file, once it has been read: a model of many lies in memory when it is measured."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(16 << 20)
        while file.readinto(buffer):
            pass
    return path


def source(work, arch):
    """The directory that `revenant synth` makes, its weights included."""
    made, part = work / arch, work / f"{arch}.part"
    if not any(made.glob("*.safetensors")):
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)
        run(BIN / "revenant", "synth", "--arch", arch, "-o", part)
        part.rename(made)
    return made


def config(work, arch):
    """The directory; of large models its weights may be gone."""
    made = work / arch
    return made if (made / "config.json").exists() else source(work, arch)


def our_model(work, arch, type):
    model = work / f"{arch}-{type}.gguf"
    if not model.exists():
        made = source(work, arch)
        for one in TYPES.get(arch, (type,)):
            run(BIN / "revenant", "quantize", made, "--type", one, "-o", work / f"{arch}-{one}.gguf")
        if arch in TYPES:
            for weights in made.glob("*.safetensors"):
                weights.unlink()
    return through(model)


def made_gguf(work, part, arch, type, model):
    if not model.exists():
        run(python_of(work), HERE / "bench/peer_gguf.py", part, config(work, arch), type, model)
    return through(model)


def llama_model(work, arch, type):
    """The backbone alone."""
    kind = json.loads((config(work, arch) / "config.json").read_text())["llm_config"]["model_type"]
    return made_gguf(work, "backbone", arch, type, work / f"{kind}-{arch.split('-')[1]}-{type}.gguf")


def llama_tower(work, type):
    return made_gguf(work, "tower", SMALL, type, work / f"internvit-{type}.gguf")


def picture(work):
    """Of one tile."""
    path = work / "448.png"
    if not path.exists():
        path.write_bytes(png(448, 1))
    return path


def last_words(error: subprocess.CalledProcessError):
    """Why a program failed, in its own words."""
    lines = [line.strip() for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
    return f"{Path(error.cmd[0]).name}: {lines[-1] if lines else error.returncode}".replace("|", "/")
