"""A running model in, its attention calls out; every hook undone. One file per way in."""

import sys

from heedful.capture.event import Answer, AttentionEvent
from heedful.capture.intercept import intercept, unwatched
from heedful.capture.replace import replace
from heedful.capture.room import CallableRoom
from heedful.capture.session import CallRecord, Session, capture

__all__ = ["Answer", "AttentionEvent", "CallRecord", "Session", "capture", "intercept", "replace", "unwatched"]

sys.modules[__name__].__class__ = CallableRoom
