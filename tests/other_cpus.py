"""The numeric tests again, with the kernels that PyTorch, NumPy and OpenCV would choose on other CPUs: make test-cpus.

The libraries choose by the CPU's instructions, and by environment variables, which this sets. The results then differ
in their last digits, as from one machine to the next. Arguments go to pytest.
"""

import os
import platform
import subprocess
import sys

import numpy as np

from tests.conftest import ROOT

# Kernels by name: what a CPU must have for them, and the variables. NumPy's follow from its own list.
KERNELS = {
    "SSE4": (
        "SSE42",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",  # SSE2 alone; the one other kind of kernels that MKL has for an AMD CPU
            "OPENBLAS_CORETYPE": "Nehalem",
            "OPENCV_CPU_DISABLE": "AVX,AVX2,AVX512-SKX",
            "OMP_NUM_THREADS": "1",
        },
    ),
    "AVX2": (
        "AVX2",
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
            "OPENCV_CPU_DISABLE": "AVX512-SKX",
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait leave the CPU to the other test processes
        },
    ),
    "AVX-512": (
        "AVX512_SKX",
        {
            "ATEN_CPU_CAPABILITY": "avx512",
            "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
            "OPENBLAS_CORETYPE": "SkylakeX",
            "OMP_NUM_THREADS": "1",
        },
    ),
}
CHOSEN = """
import numpy, torch
from threadpoolctl import threadpool_info
blas = {pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}
print("PyTorch", torch.backends.cpu.get_cpu_capability(), "| OpenBLAS", *blas, "|", torch.get_num_threads(), "threads")
"""


def numpy_features(kernels: str) -> str:
    """The instructions of this CPU that NumPy has kernels for and that ``kernels`` does not use."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    beyond = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if kernels == "AVX-512":
        return ""
    return " ".join(name for name in beyond if kernels == "SSE4" or "AVX512" in name or name == "X86_V4")


def main(arguments: list[str]) -> int:
    """Run the tests once for each kind of kernels that this CPU can run; exit code 1 if one of them fails."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        print(f"no other kernels to choose on {platform.machine()}; make test has run the only ones")
        return 0
    features = np._core._multiarray_umath.__cpu_features__
    codes, pytest = {}, [sys.executable, "-m", "pytest", "-m", "numeric"]
    for name, (needed, variables) in KERNELS.items():
        if not features.get(needed):
            print(f"== {name}: this CPU does not have it")
            continue
        environment = os.environ | variables | {"NPY_DISABLE_CPU_FEATURES": numpy_features(name)}
        print(f"== {name}:", *(f"{key}={value}" for key, value in variables.items()), flush=True)
        run = {"cwd": ROOT, "env": environment, "check": False}
        subprocess.run([sys.executable, "-c", CHOSEN], **run)
        codes[name] = subprocess.run([*pytest, *arguments], **run).returncode
    failed = [name for name, code in codes.items() if code]
    print(f"{len(codes) - len(failed)} kinds of kernels passed, {len(failed)} failed", *failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
