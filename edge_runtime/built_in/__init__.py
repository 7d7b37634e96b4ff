"""What a wheel for boards brings compiled, so that a board needs no compiler; `packaging/board_wheel.py` puts it here.

``libfl_runtime.so`` is the native driver, ``tokenizers.abi3.so`` the compiled part of the tokenizers library. A
checkout and a wheel without a platform have neither: there the driver is compiled (`edge_runtime.native.build`), and
tokenizers is a package of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
LIBRARY: Final = FOLDER / "libfl_runtime.so"
TOKENIZERS: Final = FOLDER / "tokenizers.abi3.so"
