"""A running model in, its attention calls out; every hook undone. One file per way in."""

import sys

from heedful.capture.call_record import CallRecord
from heedful.capture.event import Answer, AttentionEvent
from heedful.capture.intercept import intercept, unwatched
from heedful.capture.own_work import own_work
from heedful.capture.part import Part, is_sharded
from heedful.capture.replace import replace
from heedful.capture.room import CallableRoom
from heedful.capture.session import Session, capture
from heedful.capture.uncompiled import original, plain_path, uncompiled
from heedful.capture.unrotated import Unrotated
from heedful.capture.verify import Proof, verify

__all__ = [
    "Answer",
    "AttentionEvent",
    "CallRecord",
    "Part",
    "Proof",
    "Session",
    "Unrotated",
    "capture",
    "intercept",
    "is_sharded",
    "original",
    "own_work",
    "plain_path",
    "replace",
    "uncompiled",
    "unwatched",
    "verify",
]

sys.modules[__name__].__class__ = CallableRoom
