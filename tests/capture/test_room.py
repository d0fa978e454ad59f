"""``heedful.capture`` can be called in whatever order the package was imported."""

import importlib
import subprocess
import sys

import pytest
import torch

USE = "with heedful.capture(torch.nn.Linear(2, 2)) as session: pass\nassert session.records == {}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import heedful",
        "import heedful; heedful.replace",
        "import heedful, heedful.capture",
        "import heedful.checks, heedful",
    ],
)
def test_any_order_of_imports(imports: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", f"import torch\n{imports}\n{USE}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def test_the_package_is_callable() -> None:
    room = importlib.import_module("heedful.capture")
    with room(torch.nn.Linear(2, 2)) as session:  # type: ignore[operator]
        pass
    assert session.records == {}
