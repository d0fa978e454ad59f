from typing import get_args

from heedful.commandline.options import Dtype, Preset
from heedful.evaluation.registry import PRESETS
from heedful.loading.device import DTYPES


def test_the_words_of_the_command_line_are_those_of_the_rooms() -> None:
    assert get_args(Preset) == PRESETS
    assert set(get_args(Dtype)) == {"auto", *DTYPES}
