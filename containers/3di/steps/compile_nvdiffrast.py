"""Compile nvdiffrast's plugin now, and let it be imported from then on instead of compiled.

nvdiffrast asks PyTorch to compile its sources whenever it is first used in a process, and keeps the
module in a dict by whether it draws with OpenGL. Compiled here, the module goes beside its package,
and two lines at the end of the package put it into that dict. No GPU is needed.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import torch.utils.cpp_extension
from nvdiffrast.torch import ops

archs = ";".join(os.environ["CUDA_ARCHS"].split())
load = torch.utils.cpp_extension.load


def load_for_archs(**how):
    """As `load`; nvdiffrast empties the list of architectures just before."""
    os.environ["TORCH_CUDA_ARCH_LIST"] = archs
    return load(**how)


torch.utils.cpp_extension.load = load_for_archs
package = Path(ops.__file__)
with tempfile.TemporaryDirectory() as folder:
    os.environ["TORCH_EXTENSIONS_DIR"] = folder
    with contextlib.suppress(ImportError):  # without a driver it may be made, and not be loaded
        ops._get_plugin()
    made = Path(folder) / "nvdiffrast_plugin" / "nvdiffrast_plugin.so"
    shutil.copy(str(made), str(package.parents[2]))
with package.open("a") as handle:
    handle.write("\nimport nvdiffrast_plugin\n_cached_plugin[False] = nvdiffrast_plugin\n")
