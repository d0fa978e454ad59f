"""Pytest fixture ``attention`` with heedful's assertions; the measured numbers appear in the terminal summary and in
the JUnit file.

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
    """The assertions of ``heedful.testing`` as methods; the numbers of passed assertions are recorded.

    Args:
        record: Called with the name of an assertion and what it found.
    """

    def __init__(self, record: Callable[[str, str], None]) -> None:
        self._record = record

    def causal(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert that no query sees a later key (``heedful.testing.assert_causal``)."""
        __tracebackhide__ = True
        return self._held("assert_causal", model, batches, **options)

    def rows_sum_to_one(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert that every row of weights sums to one (``heedful.testing.assert_rows_sum_to_one``)."""
        __tracebackhide__ = True
        return self._held("assert_rows_sum_to_one", model, batches, **options)

    def finite(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert that no parameter, logit or weight is NaN or infinite (``heedful.testing.assert_finite``)."""
        __tracebackhide__ = True
        return self._held("assert_finite", model, batches, **options)

    def gradients_reach(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert nonzero attention gradients (``heedful.testing.assert_gradients_reach_attention``)."""
        __tracebackhide__ = True
        return self._held("assert_gradients_reach_attention", model, batches, **options)

    def capture_matches(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert that captured calls reproduce the model's outputs (``heedful.testing.assert_capture_matches``)."""
        __tracebackhide__ = True
        return self._held("assert_capture_matches", model, batches, **options)

    def used(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert that replacing attention raises the loss (``heedful.testing.assert_attention_used``)."""
        __tracebackhide__ = True
        return self._held("assert_attention_used", model, batches, **options)

    def not_collapsed(self, model: Any, batches: Any, **options: Any) -> Finding:
        """Assert that few heads are near uniform (``heedful.testing.assert_not_collapsed``)."""
        __tracebackhide__ = True
        return self._held("assert_not_collapsed", model, batches, **options)

    def contract(self, model: Any, batch: Any = None, **options: Any) -> ContractReport:
        """Assert all testable promises of config and batch (``heedful.testing.assert_contract``)."""
        __tracebackhide__ = True
        return self._promised("assert_contract", model, batch, **options)

    def documents_isolated(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert that packed documents do not mix (``heedful.testing.assert_documents_isolated``)."""
        __tracebackhide__ = True
        return self._promised("assert_documents_isolated", model, batch, **options)

    def window(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert that each layer sees exactly its window (``heedful.testing.assert_window``)."""
        __tracebackhide__ = True
        return self._promised("assert_window", model, batch, **options)

    def attends_both_ways(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert that queries see keys on both sides (``heedful.testing.assert_attends_both_ways``)."""
        __tracebackhide__ = True
        return self._promised("assert_attends_both_ways", model, batch, **options)

    def padding_unseen(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert that no token sees padding (``heedful.testing.assert_padding_unseen``)."""
        __tracebackhide__ = True
        return self._promised("assert_padding_unseen", model, batch, **options)

    def rotary(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert rotary positions as promised (``heedful.testing.assert_rotary``)."""
        __tracebackhide__ = True
        return self._promised("assert_rotary", model, batch, **options)

    def scale(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert that logits are scaled and capped as promised (``heedful.testing.assert_scale``)."""
        __tracebackhide__ = True
        return self._promised("assert_scale", model, batch, **options)

    def grouped_heads(self, model: Any, batch: Any, **options: Any) -> ContractReport:
        """Assert that query heads use the promised key heads (``heedful.testing.assert_grouped_heads``)."""
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
    """Fixture with assertions on a model's attention, such as ``attention.causal(model, input_ids)``."""
    lines = request.config.stash.setdefault(_LINES, [])

    def record(name: str, message: str) -> None:
        record_property(name, message)
        lines.append(f"{request.node.nodeid} {name} {message}")

    return Attention(record)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add one summary line for each assertion, with its numbers."""
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("attention")
        for one in lines:
            terminalreporter.write_line(one)
