"""Writes metrics in Prometheus' text format (OPS-4)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pikachu.core.metrics import Times
from pikachu.operations.metric_names import METRICS

if TYPE_CHECKING:
    from pikachu.operations.metrics import Samples

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


def metrics_text(samples: Samples) -> bytes:
    """Return the text; those of the process are added."""
    # Loaded when somebody asks for metrics first: most servers' commands never do.
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(samples))
    text: bytes = generate_latest(registry) + generate_latest(_process())
    return text


@cache
def _process() -> Any:
    """Return the registry of what the system knows of this process."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.process_collector import ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(namespace="pikachu", registry=registry)
    return registry


class _Collector:
    """Hands samples to prometheus_client."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Any]:
        """Return the families of samples; a metric without samples has none."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        families = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for name, metric in METRICS.items():
            if not self._samples[name]:
                continue
            family = families[metric.kind](name, metric.meaning, labels=metric.labels)
            for labels, value in self._samples[name]:
                if isinstance(value, Times):
                    family.add_metric(labels, value.cumulative(), value.total)
                else:
                    family.add_metric(labels, float(value))
            yield family
