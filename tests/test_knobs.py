"""Every key of the config is read by the code it is meant for; tests/training/test_fit.py and tests/models follow them further."""

import re

import pytest

from pipeline.config import leaves
from study_copy import ROOT

# Read at the door, as all of config.py is: what a study is called and made of, and what is in print.
AT_THE_DOOR = {"printed_on", "printed", "space"}
CODE = {path: path.read_text() for path in (ROOT / "pipeline").rglob("*.py") if path.name not in ("config.py", "limits.py")}


@pytest.mark.parametrize("key", [key for key, _ in leaves() if key not in AT_THE_DOOR])
def test_a_key_is_read_somewhere(key: str) -> None:
    name = key.rsplit(".", 1)[-1]
    # `config.train.epochs`, `train.epochs`, `self.config.train.epochs`; of a cell, of columns and of a search by their own names.
    if key in ("cell.reset_after", "cell.unit_forget_bias"):
        found = [path for path, text in CODE.items() if f'"{name}"' in text]
    else:
        found = [path for path, text in CODE.items() if re.search(rf"\.{name}\b", text)]
    if key.startswith("data."):
        found = [path for path in found if path.parent.name == "data"]
    assert found, key
