"""The pytest fixture ``attention``: heedful's assertions; their numbers go to the summary and the JUnit file.

Loading this plugin imports neither torch nor any room of heedful; that waits for the first test that asserts something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heedful.contract.record import ContractReport
    from heedful.evaluation.result import Finding

_LINES = pytest.StashKey[list[str]]()


class Attention:
    """The assertions of ``heedful.testing`` without their prefix; those that hold are recorded with their numbers.

    Args:
        record: Called with the name of an assertion and what it found.
    """

    def __init__(self, record: Callable[[str, str], None]) -> None:
        self._record = record

    def causal(self, model: Any, batches: Any, **options: Any) -> Finding:
        """No query sees a later key (``heedful.testing.assert_causal``)."""
        __tracebackhide__ = True
        return self._held("assert_causal", model, batches, **options)

    def rows_sum_to_one(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Every row of weights sums to one (``heedful.testing.assert_rows_sum_to_one``)."""
        __tracebackhide__ = True
        return self._held("assert_rows_sum_to_one", model, batches, **options)

    def finite(self, model: Any, batches: Any, **options: Any) -> Finding:
        """No parameter, logit or weight is NaN or infinite (``heedful.testing.assert_finite``)."""
        __tracebackhide__ = True
        return self._held("assert_finite", model, batches, **options)

    def gradients_reach(self, model: Any, batches: Any, **options: Any) -> Finding:
        """The loss reaches every attention parameter (``heedful.testing.assert_gradients_reach_attention``)."""
        __tracebackhide__ = True
        return self._held("assert_gradients_reach_attention", model, batches, **options)

    def capture_matches(self, model: Any, batches: Any, **options: Any) -> Finding:
        """What heedful captures is what the model computes (``heedful.testing.assert_capture_matches``)."""
        __tracebackhide__ = True
        return self._held("assert_capture_matches", model, batches, **options)

    def used(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Replacing attention raises the loss (``heedful.testing.assert_attention_used``)."""
        __tracebackhide__ = True
        return self._held("assert_attention_used", model, batches, **options)

    def not_collapsed(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Heads are not near uniform (``heedful.testing.assert_not_collapsed``)."""
        __tracebackhide__ = True
        return self._held("assert_not_collapsed", model, batches, **options)

    def contract(self, model: Any, batch: Any = None, **options: Any) -> ContractReport:
        """Every promise of config and batch holds (``heedful.testing.assert_contract``)."""
        __tracebackhide__ = True
        return self._promised("assert_contract", model, batch, **options)

    def documents_isolated(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """No document sees another one (``heedful.testing.assert_documents_isolated``)."""
        __tracebackhide__ = True
        return self._promised("assert_documents_isolated", model, batch, **options)

    def window(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Each layer sees exactly its window (``heedful.testing.assert_window``)."""
        __tracebackhide__ = True
        return self._promised("assert_window", model, batch, **options)

    def attends_both_ways(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Queries see keys on both sides (``heedful.testing.assert_attends_both_ways``)."""
        __tracebackhide__ = True
        return self._promised("assert_attends_both_ways", model, batch, **options)

    def padding_unseen(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """No token sees padding (``heedful.testing.assert_padding_unseen``)."""
        __tracebackhide__ = True
        return self._promised("assert_padding_unseen", model, batch, **options)

    def rotary(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Positions are rotated as promised (``heedful.testing.assert_rotary``)."""
        __tracebackhide__ = True
        return self._promised("assert_rotary", model, batch, **options)

    def scale(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Logits are scaled and capped as promised (``heedful.testing.assert_scale``)."""
        __tracebackhide__ = True
        return self._promised("assert_scale", model, batch, **options)

    def grouped_heads(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Query heads read the promised key heads (``heedful.testing.assert_grouped_heads``)."""
        __tracebackhide__ = True
        return self._promised("assert_grouped_heads", model, batch, **options)

    def _promised(self, name: str, model: Any, batch: Any, **options: Any) -> ContractReport:
        __tracebackhide__ = True
        import heedful.testing

        report: ContractReport = getattr(heedful.testing, name)(model, batch, **options)
        held = sum(one.status == "held" for one in report.judgements)
        self._record(name, f"held: {held} promises in {report.seconds:.2g} s")
        return report

    def _held(self, name: str, model: Any, batches: Any, **options: Any) -> Finding:
        __tracebackhide__ = True
        import heedful.testing

        found: Finding = getattr(heedful.testing, name)(model, batches, **options)
        size = "" if found.estimate is None else f": {found.estimate:.3g} {found.unit}"
        bounds = "" if found.interval is None else f" [{found.interval[0]:.3g}, {found.interval[1]:.3g}]"
        self._record(name, f"{found.verdict}{size}{bounds}")
        return found


@pytest.fixture
def attention(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Attention:
    """Assertions on the attention of a model: ``attention.causal(model, input_ids)`` and the others."""
    lines = request.config.stash.setdefault(_LINES, [])

    def record(name: str, message: str) -> None:
        record_property(name, message)
        lines.append(f"{request.node.nodeid} {name} {message}")

    return Attention(record)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what the assertions measured, one line each, if any was made."""
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("attention")
        for one in lines:
            terminalreporter.write_line(one)
